/* Events and counters. */
#include "sync_event.h"

#include "../base/atomic_ordered.h"
#include "../base/crash.h"
#include "sync_kind.h"

void dsm__sync_event_init(const dsm_space *space, const dsm_sync *sync) {
  dsm_sync_set(space, &sync->record->words[0], 0);
}

dsm_status dsm_sync_event_read(dsm_call *call, const dsm_sync *sync, uint64_t *word) {
  bool ok;
  *word = dsm_sync_get(call->space, &sync->record->words[0], &ok);
  return ok ? DSM_OK : dsm_sync_damaged(call, sync, "word of an event");
}

dsm_status dsm_sync_event_change(dsm_call *call, const dsm_sync *sync, bool flag) {
  dsm_atomic_u64 *word = &sync->record->words[0];
  uint64_t salt = dsm_space_locator(call->space, DSM_CONTROL_SEGMENT, word);
  uint64_t raw = dsm_load_relaxed_u64(word), wanted;
  do {
    bool ok;
    uint64_t value = dsm_unseal(raw, salt, &ok);
    if (!ok) return dsm_sync_damaged(call, sync, "word of an event");
    if ((value & 1) == flag) return DSM_OK;
    uint64_t times = (value >> 1) + flag;
    wanted = dsm_seal((times << 1 | flag) & DSM_SEAL_VALUE_MASK, salt);
  } while (!dsm_cas_u64(word, &raw, wanted, DSM_ORDER_SEQ_CST, DSM_ORDER_RELAXED));
  DSM_CRASH_POINT("sync.event.changed");
  if (flag) dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  return DSM_OK;
}

dsm_status dsm_sync_counter_add(dsm_call *call, const dsm_sync *sync, int64_t difference,
                                int64_t *result) {
  dsm_atomic_u64 *word = &sync->record->words[0];
  uint64_t now = dsm_load_relaxed_u64(word);
  do
    if (__builtin_add_overflow((int64_t)now, difference, result))
      return dsm_fail(call, DSM_OVERFLOW, "counter", -1, -1, now, (uint64_t)difference);
  while (!dsm_cas_u64(word, &now, (uint64_t)*result, DSM_ORDER_ACQ_REL, DSM_ORDER_RELAXED));
  return DSM_OK;
}

int64_t dsm_sync_counter_exchange(const dsm_sync *sync, int64_t value) {
  return (int64_t)dsm_exchange_u64(&sync->record->words[0], (uint64_t)value, DSM_ORDER_ACQ_REL);
}

int64_t dsm_sync_counter_read(const dsm_sync *sync) {
  return (int64_t)dsm_load_acquire_u64(&sync->record->words[0]);
}
