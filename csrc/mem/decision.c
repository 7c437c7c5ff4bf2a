/* Arming, deciding, carrying out and recovering the stripes of a transaction. */
#include "decision.h"

#include "../base/crash.h"

#define ELSEWHERE (1ull << 32) /* in an intent's count: the entries are in a decision's log */

static uint64_t fold(uint64_t left, uint64_t right) {
  __uint128_t product = (__uint128_t)left * right;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t entries_checksum(const dsm_intent_entry_shm *entries, uint64_t count) {
  uint64_t sum = fold(count ^ 0xA24BAED4963EE407ull, 0x9FB21C651E98DF25ull);
  for (uint64_t i = 0; i < count; i++)
    sum += fold(dsm_load_relaxed_u64(&entries[i].locator) ^ 0x8EBC6AF09C88C6E3ull,
                dsm_load_relaxed_u64(&entries[i].value) ^
                    (0x589965CC75374CC3ull + i * 0x9E3779B97F4A7C15ull));
  return sum;
}

/* Of the intent itself; never 0. Other constants than those of an ordinary intent. */
static uint64_t intent_checksum(const dsm_intent_shm *intent, uint64_t salt) {
  uint64_t sum = fold(dsm_load_relaxed_u64(&intent->count) ^ 0xD1B54A32D192ED03ull,
                      salt ^ 0x8CB92BA72F3D8DD7ull);
  sum += fold(dsm_load_relaxed_u64(&intent->decision) ^ 0xAEF17502108EF2D9ull,
              dsm_load_relaxed_u64(&intent->decided) ^ 0xC2B2AE3D27D4EB4Full);
  sum += fold(dsm_load_relaxed_u64(&intent->entries[0].locator) ^ 0xE7037ED1A0B428DBull,
              dsm_load_relaxed_u64(&intent->entries[0].value) ^ 0x165667919E3779F9ull);
  return sum | 1;
}

static dsm_locator control_locator(const dsm_space *space, const void *word) {
  return dsm_space_locator(space, DSM_CONTROL_SEGMENT, word);
}

dsm_status dsm_decision_word(dsm_call *call, const dsm_atomic_u64 *word, uint64_t *value) {
  bool ok;
  uint64_t raw = dsm_load_acquire_u64(word);
  *value = dsm_unseal(raw, control_locator(call->space, word), &ok);
  if (DSM_LIKELY(ok)) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "word of a decision record does not verify", -1, -1, raw, 0);
}

void dsm_decision_word_set(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value) {
  dsm_store_release_u64(word, dsm_seal(value, control_locator(space, word)));
}

dsm_status dsm_decision_init(const dsm_space *space) {
  for (uint32_t i = 0; i < DSM_DECISIONS_MAX; i++) {
    dsm_decision_shm *record = dsm_space_decision(space, i);
    DSM_TRY(dsm_os_mutex_init(&record->lock.mutex));
    dsm_decision_word_set(space, &record->decision, 0);
    dsm_decision_word_set(space, &record->number, 0);
    dsm_decision_word_set(space, &record->hold_count, 0);
    dsm_decision_word_set(space, &record->backed, 0);
  }
  return DSM_OK;
}

void dsm_decision_arm(dsm_call *call, const dsm_decision_part *part, uint64_t number) {
  const dsm_space *space = call->space;
  const dsm_atomic_u64 *decision = &dsm_space_decision(space, part->record)->decision;
  const dsm_intent_entry_shm *entries = dsm_space_decision_log(space, part->record) + part->first;
  dsm_intent_shm *intent = dsm_space_intent(space, part->stripe);
  /* The count first: by it a repair knows that the decision words must be cleared. */
  dsm_store_relaxed_u64(&intent->count, part->count | ELSEWHERE);
  DSM_CRASH_POINT("decision.counted");
  dsm_store_release_u64(&intent->decision, control_locator(space, decision));
  dsm_store_release_u64(&intent->decided, dsm_seal(number, control_locator(space, decision)));
  dsm_store_relaxed_u64(&intent->entries[0].locator, control_locator(space, entries));
  dsm_store_relaxed_u64(&intent->entries[0].value, entries_checksum(entries, part->count));
  DSM_CRASH_POINT("decision.filled");
  dsm_store_release_u64(&intent->armed, intent_checksum(intent, part->stripe));
  DSM_CRASH_POINT("decision.armed");
}

void dsm_decision_make(dsm_call *call, uint32_t record, uint64_t number) {
  dsm_decision_word_set(call->space, &dsm_space_decision(call->space, record)->decision, number);
  dsm_fence_release();
  DSM_CRASH_POINT("decision.made");
}

static void carry_out(const dsm_space *space, const dsm_intent_entry_shm *entries, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    dsm_locator locator = dsm_load_relaxed_u64(&entries[i].locator);
    uint8_t *base = dsm_space_base(space, dsm_locator_segment(locator));
    dsm_atomic_u64 *word = (dsm_atomic_u64 *)(void *)(base + dsm_locator_offset(locator));
    dsm_store_release_u64(word, dsm_load_relaxed_u64(&entries[i].value));
    DSM_CRASH_POINT("decision.effect");
  }
}

/* First not armed, then no longer referring: an intent that is armed must verify with all words. */
static void clear(dsm_intent_shm *intent) {
  dsm_store_release_u64(&intent->armed, 0);
  DSM_CRASH_POINT("decision.cleared");
  dsm_store_release_u64(&intent->decision, 0);
  dsm_store_release_u64(&intent->decided, 0);
  DSM_CRASH_POINT("decision.forgotten");
  dsm_store_release_u64(&intent->count, 0);
}

void dsm_decision_carry(dsm_call *call, const dsm_decision_part *part) {
  const dsm_space *space = call->space;
  carry_out(space, dsm_space_decision_log(space, part->record) + part->first, part->count);
  clear(dsm_space_intent(space, part->stripe));
}

/* The record whose decision word that is, or DSM_DECISIONS_MAX. */
static uint32_t record_of(const dsm_space *space, dsm_locator decision) {
  for (uint32_t i = 0; i < DSM_DECISIONS_MAX; i++)
    if (control_locator(space, &dsm_space_decision(space, i)->decision) == decision) return i;
  return DSM_DECISIONS_MAX;
}

static dsm_status damaged(dsm_call *call, const char *what, uint64_t left, uint64_t right) {
  return dsm_fail(call, DSM_CORRUPT, what, -1, -1, left, right);
}

static dsm_status verify_entries(dsm_call *call, const dsm_intent_entry_shm *entries,
                                 uint64_t count, uint64_t checksum) {
  uint64_t found = entries_checksum(entries, count);
  if (found != checksum) return damaged(call, "log of a decision does not verify", found, checksum);
  for (uint64_t i = 0; i < count; i++) {
    dsm_locator locator = dsm_load_relaxed_u64(&entries[i].locator);
    if (!dsm_intent_word_fits(call->space, locator))
      return damaged(call, "log of a decision points outside", locator, count);
  }
  return DSM_OK;
}

dsm_status dsm_decision_recover(dsm_call *call, dsm_intent_shm *intent, uint64_t salt) {
  const dsm_space *space = call->space;
  uint64_t armed = dsm_load_acquire_u64(&intent->armed);
  if (armed == 0) {
    clear(intent);
    return DSM_OK;
  }
  uint64_t count = dsm_load_relaxed_u64(&intent->count) & (ELSEWHERE - 1);
  uint64_t decided = dsm_load_relaxed_u64(&intent->decided);
  if (intent_checksum(intent, salt) != armed)
    return damaged(call, "intent record does not verify", armed, count);
  uint32_t record = record_of(space, dsm_load_relaxed_u64(&intent->decision));
  if (record == DSM_DECISIONS_MAX)
    return damaged(call, "decision points outside", dsm_load_relaxed_u64(&intent->decision), 0);
  const dsm_atomic_u64 *decision = &dsm_space_decision(space, record)->decision;
  uint64_t number;
  DSM_TRY(dsm_decision_word(call, decision, &number));
  if (dsm_seal(number, control_locator(space, decision)) == decided) {
    const dsm_intent_entry_shm *log = dsm_space_decision_log(space, record);
    dsm_locator start = control_locator(space, log);
    uint64_t first = (dsm_load_relaxed_u64(&intent->entries[0].locator) - start) / sizeof *log;
    if (dsm_load_relaxed_u64(&intent->entries[0].locator) < start ||
        first > DSM_DECISION_ENTRIES_MAX || count > DSM_DECISION_ENTRIES_MAX - first)
      return damaged(call, "decision's entries are not in its log", first, count);
    DSM_TRY(
        verify_entries(call, log + first, count, dsm_load_relaxed_u64(&intent->entries[0].value)));
    DSM_CRASH_POINT("decision.verified");
    carry_out(space, log + first, count);
  }
  clear(intent);
  return DSM_OK;
}
