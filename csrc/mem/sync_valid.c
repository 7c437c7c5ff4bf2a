/* Verifying a record, kind by kind. */
#include "sync_valid.h"

#include "sync_condition.h"
#include "sync_kind.h"
#include "sync_queue_ring.h"

#define SEMAPHORE_COUNT_MASK ((1ull << 24) - 1)

/* How many words of a record are sealed, and how many words its heap begins with. */
static const struct {
  uint32_t words, far_words, heap_words;
} sealed[DSM_SYNC_ATOMIC + 1] = {
    [DSM_SYNC_SEMAPHORE] = {2, 0, DSM_PARTICIPANTS_MAX},
    [DSM_SYNC_BARRIER] = {2, 0, DSM_PARTICIPANTS_MAX},
    [DSM_SYNC_EVENT] = {1, 0, 0},
    [DSM_SYNC_CONDITION] = {1, 0, DSM_SYNC_WAITERS_MAX},
    [DSM_SYNC_QUEUE] = {4, 1, 0},
};

static dsm_status verify(dsm_call *call, const dsm_sync *sync, const dsm_atomic_u64 *words,
                         uint32_t count, const char *what) {
  bool ok = true;
  for (uint32_t i = 0; i < count && ok; i++) dsm_sync_get(call->space, &words[i], &ok);
  return ok ? DSM_OK : dsm_sync_damaged(call, sync, what);
}

static dsm_status permits_add_up(dsm_call *call, const dsm_sync *sync) {
  bool ok;
  const dsm_atomic_u64 *cells = (const dsm_atomic_u64 *)(void *)sync->heap;
  uint64_t total = dsm_sync_get(call->space, &sync->record->words[0], &ok), held = 0;
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++)
    held += dsm_sync_get(call->space, &cells[i], &ok) & SEMAPHORE_COUNT_MASK;
  uint64_t available = dsm_sync_get(call->space, &sync->record->words[1], &ok);
  return held + available == total ? DSM_OK : dsm_sync_damaged(call, sync, "permits do not add up");
}

static dsm_status items_hold(dsm_call *call, const dsm_sync *sync) {
  uint64_t head, tail;
  dsm_sync_item item;
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_HEAD], &head));
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->far_words[DSM__QUEUE_TAIL], &tail));
  uint64_t items = (tail - head) & DSM_SEAL_VALUE_MASK;
  if (items > dsm__queue_maxsize(sync)) return dsm_sync_damaged(call, sync, "ends of a queue");
  for (uint64_t i = 0; i < items; i++) {
    uint64_t at = (head + i) & DSM_SEAL_VALUE_MASK;
    DSM_TRY(dsm__queue_slot_read(call, sync, dsm__queue_slot(sync, at), at, &item));
  }
  for (uint32_t i = 0; dsm__queue_acknowledges(sync) && i < dsm__queue_maxsize(sync); i++) {
    const dsm_sync_place_shm *place = dsm__queue_place(sync, i);
    DSM_TRY(verify(call, sync, &place->state, 1, "place of a queue"));
    DSM_TRY(verify(call, sync, &place->position, 1, "place of a queue"));
    DSM_TRY(verify(call, sync, &place->times, 1, "place of a queue"));
  }
  return DSM_OK;
}

static dsm_status verify_locked(dsm_call *call, const dsm_sync *sync) {
  const dsm_sync_shm *record = sync->record;
  uint32_t heap_words = sealed[sync->kind].heap_words;
  DSM_TRY(verify(call, sync, record->words, sealed[sync->kind].words, "word of the record"));
  DSM_TRY(verify(call, sync, record->far_words, sealed[sync->kind].far_words,
                 "far word of the record"));
  if (heap_words)
    DSM_TRY(verify(call, sync, (const dsm_atomic_u64 *)(void *)sync->heap, heap_words,
                   "what a process has of it"));
  if (sync->kind == DSM_SYNC_SEMAPHORE) return permits_add_up(call, sync);
  return sync->kind == DSM_SYNC_QUEUE ? items_hold(call, sync) : DSM_OK;
}

dsm_status dsm_sync_valid(dsm_call *call, const dsm_sync *sync) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = verify_locked(call, sync);
  dsm_lock_drop(&sync->record->lock);
  return status;
}

dsm_status dsm_sync_mend(dsm_call *call, const dsm_sync *sync) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = dsm_sync_kind_repair(call, sync);
  if (status == DSM_OK) status = verify_locked(call, sync);
  dsm_lock_drop(&sync->record->lock);
  return status;
}
