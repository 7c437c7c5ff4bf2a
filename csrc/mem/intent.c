/* Arming, carrying out and recovering intents. */
#include "intent.h"

#include "../base/crash.h"
#include "decision.h"

static uint64_t fold(uint64_t left, uint64_t right) {
  __uint128_t product = (__uint128_t)left * right;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Sum of independent products, so that the processor overlaps them; never 0. */
static inline uint64_t checksum(const dsm_intent_shm *intent, uint64_t count, uint64_t salt,
                                uint64_t decision, uint64_t decided) {
  uint64_t sum = fold(count ^ 0x9FB21C651E98DF25ull, salt ^ 0x165667919E3779F9ull);
  sum += fold(decision ^ 0xA0761D6478BD642Full, decided ^ 0xE7037ED1A0B428DBull);
  for (uint64_t i = 0; i < count; i++)
    sum += fold(dsm_load_relaxed_u64(&intent->entries[i].locator) ^ 0x8EBC6AF09C88C6E3ull,
                dsm_load_relaxed_u64(&intent->entries[i].value) ^
                    (0x589965CC75374CC3ull + i * 0x9E3779B97F4A7C16ull));
  return sum | 1;
}

static void carry_out(const dsm_space *space, const dsm_intent_shm *intent, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    dsm_locator locator = dsm_load_relaxed_u64(&intent->entries[i].locator);
    uint8_t *base = dsm_space_base(space, dsm_locator_segment(locator));
    dsm_atomic_u64 *word = (dsm_atomic_u64 *)(void *)(base + dsm_locator_offset(locator));
    dsm_store_release_u64(word, dsm_load_relaxed_u64(&intent->entries[i].value));
    DSM_CRASH_POINT("intent.effect");
  }
}

dsm_status dsm_log_commit(dsm_log *log) {
  if (DSM_UNLIKELY(log->status != DSM_OK)) return log->status;
  dsm_intent_shm *intent = log->intent;
  dsm_store_relaxed_u64(&intent->count, log->count);
  DSM_CRASH_POINT("intent.filled");
  /* For no decision, whatever the words say: if they are damaged, the record does not verify. */
  dsm_store_release_u64(&intent->armed, checksum(intent, log->count, log->salt, 0, 0));
  dsm_fence_release();
  DSM_CRASH_POINT("intent.armed");
  carry_out(log->call->space, intent, log->count);
  dsm_store_release_u64(&intent->armed, 0);
  DSM_CRASH_POINT("intent.cleared");
  log->count = log->first = 0;
  return DSM_OK;
}

/* An intent's words are 8-byte words inside a mapped segment, and never a lock or an intent. */
bool dsm_intent_word_fits(const dsm_space *space, dsm_locator locator) {
  unsigned segment = dsm_locator_segment(locator);
  uint64_t offset = dsm_locator_offset(locator);
  if (offset % 8 != 0) return false;
  if (segment == DSM_CONTROL_SEGMENT)
    return offset >= space->layout.region_counts && offset < space->layout.decision_logs;
  if (segment > DSM_NODES_MAX || !dsm_space_present(space, segment - 1)) return false;
  bool arena = offset >= offsetof(dsm_node_shm, arena) && offset < sizeof(dsm_node_shm);
  return arena || (offset >= space->layout.subs && offset + 8 <= space->layout.node_bytes);
}

dsm_status dsm_intent_recover(dsm_call *call, dsm_intent_shm *intent, uint64_t salt) {
  uint64_t armed = dsm_load_acquire_u64(&intent->armed);
  if (dsm_decision_refers(intent)) return dsm_decision_recover(call, intent, salt);
  if (armed == 0) return DSM_OK;
  const dsm_space *space = call->space;
  uint64_t count = dsm_load_relaxed_u64(&intent->count);
  dsm_locator decision = dsm_load_relaxed_u64(&intent->decision);
  uint64_t decided = dsm_load_relaxed_u64(&intent->decided);
  if (count > DSM_INTENT_ENTRIES_MAX || checksum(intent, count, salt, decision, decided) != armed)
    return dsm_fail(call, DSM_CORRUPT, "intent record does not verify", -1, -1, armed, count);
  for (uint64_t i = 0; i < count; i++) {
    dsm_locator locator = dsm_load_relaxed_u64(&intent->entries[i].locator);
    if (!dsm_intent_word_fits(space, locator))
      return dsm_fail(call, DSM_CORRUPT, "intent points outside", -1, -1, locator, count);
  }
  bool carried = decision == 0;
  if (!carried) {
    unsigned segment = dsm_locator_segment(decision);
    if (segment > DSM_NODES_MAX || (segment && !dsm_space_present(space, segment - 1)) ||
        dsm_locator_offset(decision) % 8 != 0 ||
        dsm_locator_offset(decision) + 8 >
            (segment == 0 ? space->control.bytes : space->layout.node_bytes))
      return dsm_fail(call, DSM_CORRUPT, "decision points outside", -1, -1, decision, 0);
    const uint8_t *base = dsm_space_base(space, segment);
    carried =
        dsm_load_acquire_u64(
            (const dsm_atomic_u64 *)(const void *)(base + dsm_locator_offset(decision))) == decided;
  }
  DSM_CRASH_POINT("recover.verified");
  if (carried) carry_out(space, intent, count);
  dsm_store_release_u64(&intent->armed, 0);
  DSM_CRASH_POINT("recover.cleared");
  return DSM_OK;
}

void dsm_intent_give_up(dsm_intent_shm *intent) {
  dsm_store_release_u64(&intent->armed, 0);
  dsm_store_release_u64(&intent->decision, 0);
  dsm_store_release_u64(&intent->decided, 0);
  dsm_store_release_u64(&intent->count, 0);
}
