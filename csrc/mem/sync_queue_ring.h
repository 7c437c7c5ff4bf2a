/* The parts of a queue in memory: words, ring, places. For sync_queue.c and sync_queue_taken.c.
 *
 * The heap of a queue: ring of slots (a power of two of them, at least maxsize); with
 * acknowledgement, maxsize places and behind them maxsize slots.
 */
#ifndef DSM_MEM_SYNC_QUEUE_RING_H
#define DSM_MEM_SYNC_QUEUE_RING_H

#include "lock.h"
#include "sync_queue.h"

#define DSM__QUEUE_HEAD 0  /* words of the record: what takers store */
#define DSM__QUEUE_TAKEN 1 /* derived: places in use */
#define DSM__QUEUE_AGAIN 2 /* derived: places whose item is to be delivered again */
#define DSM__QUEUE_DONE 3
#define DSM__QUEUE_HINT 4 /* where a free place may be; nothing depends on it */
#define DSM__QUEUE_TAIL 0 /* far words: what putters store */

#define DSM__PLACE_FREE 0u
#define DSM__PLACE_TAKEN 1u
#define DSM__PLACE_BACK 2u
#define DSM__PLACE_SERIAL_SHIFT 24

static inline uint32_t dsm__queue_maxsize(const dsm_sync *sync) {
  return (uint32_t)sync->settings[DSM_SYNC_QUEUE_MAXSIZE];
}

static inline bool dsm__queue_acknowledges(const dsm_sync *sync) {
  return sync->settings[DSM_SYNC_QUEUE_ACKNOWLEDGE];
}

static inline uint64_t dsm__queue_capacity(uint64_t maxsize) {
  return maxsize <= 1 ? 1 : 1ull << (64 - __builtin_clzll(maxsize - 1));
}

static inline dsm_sync_slot_shm *dsm__queue_slot(const dsm_sync *sync, uint64_t position) {
  uint64_t capacity = dsm__queue_capacity(dsm__queue_maxsize(sync));
  return (dsm_sync_slot_shm *)(void *)sync->heap + (position & (capacity - 1));
}

static inline dsm_sync_place_shm *dsm__queue_place(const dsm_sync *sync, uint32_t place) {
  uint64_t capacity = dsm__queue_capacity(dsm__queue_maxsize(sync));
  return (dsm_sync_place_shm *)(void *)(sync->heap + capacity * sizeof(dsm_sync_slot_shm)) + place;
}

static inline dsm_sync_slot_shm *dsm__queue_place_slot(const dsm_sync *sync, uint32_t place) {
  return (dsm_sync_slot_shm *)(void *)dsm__queue_place(sync, dsm__queue_maxsize(sync)) + place;
}

static inline dsm_status dsm__queue_read(dsm_call *call, const dsm_sync *sync,
                                         const dsm_atomic_u64 *word, uint64_t *value) {
  bool ok;
  *value = dsm_sync_get(call->space, word, &ok);
  return DSM_LIKELY(ok) ? DSM_OK : dsm_sync_damaged(call, sync, "word of a queue");
}

/* Bytes and codec of a slot if they verify for that position. */
dsm_status dsm__queue_slot_read(dsm_call *call, const dsm_sync *sync, const dsm_sync_slot_shm *slot,
                                uint64_t position, dsm_sync_item *out);

/* Taking with acknowledgement, under the lock. */
dsm_status dsm__queue_take(dsm_call *call, const dsm_sync *sync, uint64_t head, uint64_t tail,
                           dsm_sync_item *out);
/* Recomputes the derived words; frees places that the head has not passed. */
dsm_status dsm__queue_count_places(dsm_call *call, const dsm_sync *sync);

#endif
