/* Queue: the ring. Taken items are in sync_queue_taken.c. */
#include "sync_queue.h"

#include <string.h>

#include "../base/crash.h"
#include "../base/hash.h"
#include "sync_kind.h"
#include "sync_queue_ring.h"

#define POSITION_MASK DSM_SEAL_VALUE_MASK
#define SLOT_POSITION_MASK ((1ull << 28) - 1)
#define CHECK_SEED 0x51554555ull

_Static_assert(DSM_SYNC_ITEM_BYTES <= 255, "the length fits eight bits");

uint64_t dsm_sync_queue_bytes(uint64_t maxsize, bool acknowledge) {
  uint64_t bytes = dsm__queue_capacity(maxsize) * sizeof(dsm_sync_slot_shm);
  /* Rounded up, so that the slots behind the places begin a line. */
  if (acknowledge)
    bytes += maxsize * (sizeof(dsm_sync_place_shm) + sizeof(dsm_sync_slot_shm)) + DSM_LINE_BYTES;
  return bytes;
}

void dsm__sync_queue_init(const dsm_space *space, const dsm_sync *sync) {
  dsm_sync_shm *record = sync->record;
  dsm_sync_set(space, &record->words[DSM__QUEUE_HEAD], 0);
  dsm_sync_set(space, &record->words[DSM__QUEUE_TAKEN], 0);
  dsm_sync_set(space, &record->words[DSM__QUEUE_AGAIN], 0);
  dsm_sync_set(space, &record->words[DSM__QUEUE_DONE], 0);
  dsm_sync_set(space, &record->far_words[DSM__QUEUE_TAIL], 0);
  if (!dsm__queue_acknowledges(sync)) return;
  for (uint32_t i = 0; i < dsm__queue_maxsize(sync); i++) {
    dsm_sync_place_shm *place = dsm__queue_place(sync, i);
    dsm_sync_set(space, &place->state, DSM__PLACE_FREE);
    dsm_sync_set(space, &place->position, 0);
    dsm_sync_set(space, &place->times, 0);
  }
}

dsm_status dsm__sync_queue_repair(dsm_call *call, const dsm_sync *sync) {
  return dsm__queue_acknowledges(sync) ? dsm__queue_count_places(call, sync) : DSM_OK;
}

static void slot_write(const dsm_space *space, dsm_sync_slot_shm *slot, uint64_t position,
                       uint8_t codec, const void *bytes, uint32_t length) {
  memcpy(slot->bytes, bytes, length);
  dsm_store_relaxed_u64(&slot->check, dsm_hash64(bytes, length, CHECK_SEED + position));
  dsm_sync_set(space, &slot->head,
               (uint64_t)length << 36 | (uint64_t)codec << 28 | (position & SLOT_POSITION_MASK));
}

dsm_status dsm__queue_slot_read(dsm_call *call, const dsm_sync *sync, const dsm_sync_slot_shm *slot,
                                uint64_t position, dsm_sync_item *out) {
  uint64_t head;
  DSM_TRY(dsm__queue_read(call, sync, &slot->head, &head));
  uint64_t length = head >> 36;
  if (length > DSM_SYNC_ITEM_BYTES ||
      (head & SLOT_POSITION_MASK) != (position & SLOT_POSITION_MASK))
    return dsm_sync_damaged(call, sync, "item of a queue");
  memcpy(out->bytes, slot->bytes, length);
  if (dsm_hash64(out->bytes, length, CHECK_SEED + position) != dsm_load_relaxed_u64(&slot->check))
    return dsm_sync_damaged(call, sync, "bytes of an item of a queue");
  out->length = (uint8_t)length;
  out->codec = (uint8_t)(head >> 28);
  out->position = position;
  return DSM_OK;
}

static dsm_status read_ends(dsm_call *call, const dsm_sync *sync, uint64_t *head, uint64_t *tail) {
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_HEAD], head));
  return dsm__queue_read(call, sync, &sync->record->far_words[DSM__QUEUE_TAIL], tail);
}

static dsm_status put_locked(dsm_call *call, const dsm_sync *sync, uint8_t codec, const void *bytes,
                             uint32_t length, bool *more) {
  uint64_t head, tail;
  DSM_TRY(read_ends(call, sync, &head, &tail));
  uint64_t used = (tail - head) & POSITION_MASK;
  if (used >= dsm__queue_maxsize(sync)) return DSM_RETRY;
  slot_write(call->space, dsm__queue_slot(sync, tail), tail, codec, bytes, length);
  DSM_CRASH_POINT("sync.queue.filled");
  dsm_sync_set(call->space, &sync->record->far_words[DSM__QUEUE_TAIL], tail + 1);
  *more = used + 1 < dsm__queue_maxsize(sync);
  return DSM_OK;
}

dsm_status dsm_sync_queue_put(dsm_call *call, const dsm_sync *sync, uint8_t codec,
                              const void *bytes, uint32_t length, bool *more) {
  DSM_ASSERT(length <= DSM_SYNC_ITEM_BYTES);
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = put_locked(call, sync, codec, bytes, length, more);
  dsm_lock_drop(&sync->record->lock);
  if (status == DSM_OK) dsm_sync_wake(sync, 0, 1);
  return status;
}

/* A damaged item is passed over, so that it is told once and those behind it can be taken. */
static dsm_status get_locked(dsm_call *call, const dsm_sync *sync, dsm_sync_item *out) {
  uint64_t head, tail;
  DSM_TRY(read_ends(call, sync, &head, &tail));
  if (dsm__queue_acknowledges(sync)) return dsm__queue_take(call, sync, head, tail, out);
  if (head == tail) return DSM_RETRY;
  dsm_status status = dsm__queue_slot_read(call, sync, dsm__queue_slot(sync, head), head, out);
  DSM_CRASH_POINT("sync.queue.copied");
  if (status == DSM_OK && out->codec == DSM_SYNC_REFERENCE) return DSM_OK;
  dsm_sync_set(call->space, &sync->record->words[DSM__QUEUE_HEAD], head + 1);
  out->times = 1;
  out->more = ((head + 1) & POSITION_MASK) != tail;
  return status;
}

dsm_status dsm_sync_queue_get(dsm_call *call, const dsm_sync *sync, dsm_sync_item *out) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = get_locked(call, sync, out);
  dsm_lock_drop(&sync->record->lock);
  if (status == DSM_OK || status == DSM_CORRUPT) dsm_sync_wake(sync, 1, 1);
  return status;
}

static dsm_status pass_locked(dsm_call *call, const dsm_sync *sync, uint64_t position) {
  uint64_t head, tail;
  DSM_TRY(read_ends(call, sync, &head, &tail));
  if (head != position || head == tail) return DSM_RETRY;
  dsm_sync_set(call->space, &sync->record->words[DSM__QUEUE_HEAD], head + 1);
  return DSM_OK;
}

dsm_status dsm_sync_queue_pass(dsm_call *call, const dsm_sync *sync, uint64_t position) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = pass_locked(call, sync, position);
  dsm_lock_drop(&sync->record->lock);
  if (status == DSM_OK) dsm_sync_wake(sync, 1, 1);
  return status;
}

static dsm_status count_locked(dsm_call *call, const dsm_sync *sync, dsm_sync_queue_counts *out) {
  uint64_t head, tail, taken, again, done;
  DSM_TRY(read_ends(call, sync, &head, &tail));
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_TAKEN], &taken));
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_AGAIN], &again));
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_DONE], &done));
  uint64_t inside = (tail - head) & POSITION_MASK;
  out->waiting = inside + again;
  out->unfinished = dsm__queue_acknowledges(sync) ? inside + taken : (tail - done) & POSITION_MASK;
  return DSM_OK;
}

dsm_status dsm_sync_queue_count(dsm_call *call, const dsm_sync *sync, dsm_sync_queue_counts *out) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = count_locked(call, sync, out);
  dsm_lock_drop(&sync->record->lock);
  return status;
}

static dsm_status done_locked(dsm_call *call, const dsm_sync *sync, uint64_t *left) {
  uint64_t tail, done;
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->far_words[DSM__QUEUE_TAIL], &tail));
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_DONE], &done));
  *left = (tail - done) & POSITION_MASK;
  if (*left == 0) return dsm_fail(call, DSM_USAGE, "items put and not done", -1, -1, 1, 0);
  dsm_sync_set(call->space, &sync->record->words[DSM__QUEUE_DONE], done + 1);
  --*left;
  return DSM_OK;
}

dsm_status dsm_sync_queue_done(dsm_call *call, const dsm_sync *sync) {
  uint64_t left = 1;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = done_locked(call, sync, &left);
  dsm_lock_drop(&sync->record->lock);
  if (left == 0) dsm_sync_wake(sync, 1, DSM_SYNC_EVERYONE);
  return status;
}
