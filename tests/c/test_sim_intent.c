/* Intents: what a log shows before it is committed, what a recovery carries out, and the damage it
 * refuses. The words are those of a sub that nobody uses.
 */
#include <string.h>

#include "../../csrc/mem/intent.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"

static const fixture_shape shape = {"ctest-intent", 2, 1, 1, 1u << 20};

enum { WORDS = 5, NODE = 1, SEGMENT = NODE + 1, SALT = 0 };

static fixture self;

static dsm_atomic_u64 *word(unsigned index) {
  return &dsm_space_sub(self.call.space, NODE, 0)->reserved_words[index];
}

static dsm_log make_log(void) {
  return dsm_log_make(&self.call, dsm_space_intent(self.call.space, 0), SALT);
}

static void set_all(uint64_t base) {
  for (unsigned i = 0; i < WORDS; i++) dsm_store_relaxed_u64(word(i), base + i);
}

static void test_a_log_reads_its_own_stores(void) {
  set_all(100);
  dsm_log log = make_log();
  CHECK_EQUAL(dsm_log_get(&log, SEGMENT, word(0)), 100);
  dsm_log_set(&log, SEGMENT, word(0), 7);
  dsm_log_set(&log, SEGMENT, word(1), 8);
  dsm_log_set(&log, SEGMENT, word(0), 9);
  CHECK_EQUAL(log.count, 2);
  CHECK_EQUAL(dsm_log_get(&log, SEGMENT, word(0)), 9);
  CHECK_EQUAL(dsm_load_relaxed_u64(word(0)), 100);
  dsm_log_set_sealed(&log, SEGMENT, word(2), 12345);
  CHECK_EQUAL(dsm_log_get_sealed(&log, SEGMENT, word(2)), 12345);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  CHECK_EQUAL(dsm_load_relaxed_u64(word(0)), 9);
  CHECK_EQUAL(dsm_load_relaxed_u64(word(1)), 8);
  CHECK_EQUAL(dsm_load_relaxed_u64(&log.intent->armed), 0);
}

static void test_a_damaged_word_fails_the_log(void) {
  set_all(100);
  dsm_log log = make_log();
  dsm_log_set(&log, SEGMENT, word(0), 7);
  CHECK_EQUAL(dsm_log_get_sealed(&log, SEGMENT, word(1)), 0);
  CHECK_EQUAL(log.status, DSM_CORRUPT);
  CHECK_EQUAL(self.call.fault.node, NODE);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  CHECK_EQUAL(dsm_load_relaxed_u64(word(0)), 100);
}

static void commit_five(void *context) {
  (void)context;
  dsm_log log = make_log();
  for (unsigned i = 0; i < WORDS; i++) dsm_log_set(&log, SEGMENT, word(i), 900 + i);
  dsm_log_commit(&log);
}

static dsm_status recover(void) {
  return dsm_intent_recover(&self.call, dsm_space_intent(self.call.space, 0), SALT);
}

static void recover_action(void *context) {
  (void)context;
  CHECK_EQUAL(recover(), DSM_OK);
}

static uint64_t all_equal(uint64_t base) {
  uint64_t equal = 0;
  for (unsigned i = 0; i < WORDS; i++) equal += dsm_load_relaxed_u64(word(i)) == base + i;
  return equal;
}

/* Killed at each point of the commit, and at each point of any number of recoveries. */
static void test_all_or_nothing(void) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    set_all(100);
    dsm_store_release_u64(&dsm_space_intent(self.call.space, 0)->armed, 0);
    left = crash_jump(at, commit_five, NULL);
    bool decided = strcmp(crash_point_name(), "intent.filled") != 0;
    if (left && !decided) CHECK_EQUAL(all_equal(100), WORDS);
    for (unsigned again = 1; crash_jump(again, recover_action, NULL); again++) {
    }
    CHECK_EQUAL(all_equal(decided ? 900 : 100), WORDS);
    CHECK_EQUAL(dsm_load_relaxed_u64(&dsm_space_intent(self.call.space, 0)->armed), 0);
  }
}

static dsm_intent_shm *undecided(void) {
  dsm_intent_shm *intent = dsm_space_intent(self.call.space, 0);
  dsm_store_release_u64(&intent->armed, 0);
  dsm_store_relaxed_u64(&intent->decision, 0);
  dsm_store_relaxed_u64(&intent->decided, 0);
  return intent;
}

/* Leaves an armed intent behind, of which nothing is carried out yet. */
static dsm_intent_shm *armed_intent(void) {
  set_all(100);
  dsm_intent_shm *intent = undecided();
  CHECK(crash_jump(2, commit_five, NULL));
  CHECK(strcmp(crash_point_name(), "intent.armed") == 0);
  return intent;
}

static void test_every_flipped_bit_is_refused(void) {
  uint64_t refused = 0, bits = 0;
  size_t words = (offsetof(dsm_intent_shm, entries) + WORDS * sizeof(dsm_intent_entry_shm)) / 8;
  for (size_t at = 0; at < words; at++) {
    for (unsigned bit = 0; bit < 64; bit += 7, bits++) {
      dsm_atomic_u64 *damaged = (dsm_atomic_u64 *)(void *)armed_intent() + at;
      dsm_store_relaxed_u64(damaged, dsm_load_relaxed_u64(damaged) ^ 1ull << bit);
      refused += recover() == DSM_CORRUPT;
      CHECK_EQUAL(all_equal(100), WORDS);
    }
  }
  CHECK_EQUAL(refused, bits);
}

static void test_another_records_intent_is_refused(void) {
  dsm_intent_shm *intent = armed_intent();
  CHECK_EQUAL(dsm_intent_recover(&self.call, intent, SALT + 1), DSM_CORRUPT);
  CHECK_EQUAL(recover(), DSM_OK);
  CHECK_EQUAL(all_equal(900), WORDS);
}

typedef struct aim {
  dsm_locator target;
  dsm_atomic_u64 *decision;
  uint64_t decided;
} aim;

static void commit_aimed(void *context) {
  const aim *at = context;
  dsm_log log = make_log();
  dsm_log_append(&log, at->target, 900);
  if (at->decision)
    dsm_store_relaxed_u64(&log.intent->decision,
                          dsm_space_locator(self.call.space, SEGMENT, at->decision));
  dsm_store_relaxed_u64(&log.intent->decided, at->decided);
  dsm_log_commit(&log);
}

/* Arms an intent with one entry as the commit does, and dies before carrying it out. */
static dsm_intent_shm *arm(aim *at) {
  dsm_intent_shm *intent = undecided();
  CHECK(crash_jump(2, commit_aimed, at));
  CHECK(strcmp(crash_point_name(), "intent.armed") == 0);
  return intent;
}

/* The record verifies, but aims at a lock, at an intent, or outside: it is never stored. */
static void test_targets_are_bounded(void) {
  const dsm_space *space = self.call.space;
  const dsm_locator targets[] = {
      dsm_locator_make(0, space->layout.locks),
      dsm_locator_make(0, space->layout.intents + 8),
      dsm_locator_make(0, space->layout.pins),
      dsm_locator_make(SEGMENT, space->layout.node_bytes),
      dsm_locator_make(SEGMENT, space->layout.subs + 4),
      dsm_locator_make(SEGMENT, 0),
      dsm_locator_make(SEGMENT, offsetof(dsm_node_shm, arena) + 4),
      dsm_locator_make(space->node_count + 1, space->layout.subs),
      dsm_locator_make(space->node_count + 1, offsetof(dsm_node_shm, arena)),
      dsm_locator_make(255, space->layout.subs),
  };
  for (unsigned i = 0; i < sizeof targets / sizeof *targets; i++) {
    aim at = {.target = targets[i]};
    dsm_intent_shm *intent = arm(&at);
    CHECK_EQUAL(recover(), DSM_CORRUPT);
    CHECK(dsm_load_relaxed_u64(&intent->armed) != 0);
  }
}

/* A commit arms for no decision: decision words that hold anything are damage, whether the word
 * that they name agrees or not, and steer nothing. */
static void test_stray_decisions_are_refused(void) {
  for (uint64_t held = 54; held <= 55; held++) {
    set_all(100);
    dsm_store_relaxed_u64(word(4), held);
    aim at = {dsm_space_locator(self.call.space, SEGMENT, word(0)), word(4), 55};
    arm(&at);
    CHECK_EQUAL(recover(), DSM_CORRUPT);
    CHECK_EQUAL(dsm_load_relaxed_u64(word(0)), 100);
  }
  undecided();
}

int main(void) {
  dsm_sim_start(12);
  self = fixture_create(&shape);
  test_a_log_reads_its_own_stores();
  test_a_damaged_word_fails_the_log();
  test_all_or_nothing();
  test_every_flipped_bit_is_refused();
  test_another_records_intent_is_refused();
  test_targets_are_bounded();
  test_stray_decisions_are_refused();
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_intent");
}
