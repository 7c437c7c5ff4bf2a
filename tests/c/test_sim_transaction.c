/* Transactions killed at every planned crash point, in the simulated system: each story ×
 * replication × point, then a survivor, killed itself at points of its recovery, then a second one.
 *
 * A story is six keys over two stripes: what they hold before, and after. Whatever instant a
 * process dies at, all keys are as before or all as after, at every replica, no page is lost, and
 * the survivors can commit through the same stripes and records. Without DSM_TEST_ROUNDS=all the
 * second deaths are thinned.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "tale.h"

#define CLUSTER "ctest-transaction"
#define SECOND_STRIDE 97u

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0"; /* a killed process's private memory is not freed by anybody */
}

static workspace space_of[3];
static unsigned deaths, second_deaths;

typedef struct trial {
  const tale *tale;
  fixture owner, victim, first, second;
  uint32_t owner_pid, first_pid, second_pid;
  bool retire_first;
} trial;

static void act(void *context) {
  trial *self = context;
  fixture_require(tale_bring(&self->victim, &space_of[0], self->tale->after) == DSM_OK, "commit");
}

/* What a survivor does that knows nothing: retires the dead or not, and commits where they died. */
static void recover(void *context) {
  trial *self = context;
  if (self->retire_first) fixture_retire_dead(&self->first);
  for (uint32_t at = 0; at < TALE_KEYS; at++) fixture_check_replicas(&self->first, at);
  dsm_status status = tale_bring(&self->first, &space_of[1], self->tale->before);
  fixture_require(status == DSM_OK, "the survivor commits");
  fixture_retire_dead(&self->first);
}

static void judge(trial *self, fixture *by, uint32_t pid) {
  dsm_sim_process_run(pid);
  tale_judge(self->tale, by, &space_of[2]);
  fixture_retire_dead(by);
  tale_judge_empty(self->tale, by);
}

static void try_second_deaths(trial *self, unsigned stride, unsigned offset) {
  dsm_sim_picture *picture = dsm_sim_picture_take();
  size_t told = strlen(fixture_story);
  bool left = true;
  for (unsigned at = 1 + offset % stride; left; at += stride) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->first_pid);
    left = crash_jump(at, recover, self);
    snprintf(fixture_story + told, sizeof fixture_story - told, ", recovery %u %s", at,
             crash_point_name());
    if (left) dsm_sim_process_kill(self->first_pid);
    judge(self, &self->second, self->second_pid);
    second_deaths += left;
  }
  fixture_story[told] = 0;
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
}

static void try_deaths(trial *self, uint32_t replicas, const dsm_sim_picture *picture) {
  bool left = true;
  unsigned stride = rounds_all() || replicas == 1 ? 1 : 3;
  for (unsigned at = 1; left; at += stride) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(dsm_sim_process_new());
    self->victim = fixture_attach(CLUSTER);
    uint32_t pid = dsm_sim_process_pid();
    left = crash_jump(at, act, self);
    snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, point %u %s",
             self->tale->name, replicas, at, crash_point_name());
    dsm_sim_process_kill(pid);
    fixture_abandon(&self->victim);
    deaths += left;
    self->retire_first = at % 2;
    if (left) try_second_deaths(self, rounds_all() ? 7 : SECOND_STRIDE * stride, at);
    judge(self, &self->first, self->first_pid);
  }
}

static fixture attach_other(uint32_t *pid) {
  *pid = dsm_sim_process_new();
  dsm_sim_process_run(*pid);
  return fixture_attach(CLUSTER);
}

static void try_tale(const tale *tale, uint32_t replicas) {
  fixture_shape shape = {CLUSTER, 3, replicas, 2, 4ull << 20};
  dsm_sim_start(replicas);
  trial self = {.tale = tale, .owner_pid = dsm_sim_process_pid()};
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u", tale->name, replicas);
  self.owner = fixture_create(&shape);
  tale_begin(tale, &self.owner, &space_of[0]);
  self.first = attach_other(&self.first_pid);
  self.second = attach_other(&self.second_pid);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  try_deaths(&self, replicas, picture);
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
  dsm_sim_process_run(self.first_pid);
  fixture_close(&self.first, false);
  dsm_sim_process_run(self.second_pid);
  fixture_close(&self.second, false);
  dsm_sim_process_run(self.owner_pid);
  fixture_close(&self.owner, true);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

/* Commits one key beside, twice, through the record that the dead one had. */
static void commit_through(fixture *by, uint32_t record, uint64_t number) {
  workspace *work = &space_of[1];
  uint32_t own = by->call.space->participant;
  dsm_access *culprit;
  for (int round = 0; round < 2; round++) {
    fixture_key_make(by, &work->keys[0], number);
    pattern_fill(work->bytes[0], 64, 100 + number);
    work->parts[0] = (dsm_part){work->bytes[0], 64};
    work->accesses[0] = (dsm_access){.key = work->keys[0].key,
                                     .kind = DSM_ACCESS_PUT,
                                     .replicas = by->replicas,
                                     .expected = DSM_ANY_VERSION,
                                     .value = {&work->parts[0], 1, 7, 64}};
    work->order[0] = &work->accesses[0];
    by->call.space->participant = record; /* which record is tried first follows from it */
    dsm_status status = dsm_transaction_commit(&by->call, work->order, 1, &culprit);
    by->call.space->participant = own;
    fixture_require(status == DSM_OK, "a commit through the dead one's record");
  }
}

/* Nobody has met the dead one's stripes when its record is used again. */
static void test_record_is_not_reused_early(void) {
  const tale *tale = &tales[0];
  fixture_shape shape = {CLUSTER, 3, 2, 2, 4ull << 20};
  dsm_sim_start(9);
  trial self = {.tale = tale, .owner_pid = dsm_sim_process_pid()};
  self.owner = fixture_create(&shape);
  tale_begin(tale, &self.owner, &space_of[0]);
  self.first = attach_other(&self.first_pid);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(dsm_sim_process_new());
    self.victim = fixture_attach(CLUSTER);
    uint32_t pid = dsm_sim_process_pid(), record = self.victim.call.space->participant;
    left = crash_jump(at, act, &self);
    snprintf(fixture_story, sizeof fixture_story, "record reused, point %u %s", at,
             crash_point_name());
    dsm_sim_process_kill(pid);
    fixture_abandon(&self.victim);
    dsm_sim_process_run(self.first_pid);
    commit_through(&self.first, record, TALE_KEYS + at % tale->others);
    judge(&self, &self.first, self.first_pid);
  }
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
  dsm_sim_process_run(self.first_pid);
  fixture_close(&self.first, false);
  dsm_sim_process_run(self.owner_pid);
  fixture_close(&self.owner, true);
  dsm_sim_stop();
}

/* Someone else's put between the reads and the commit: nothing changes, and the key is named. */
static void test_conflict_is_named(void) {
  fixture_shape shape = {CLUSTER, 3, 2, 2, 4ull << 20};
  dsm_sim_start(7);
  fixture owner = fixture_create(&shape);
  workspace *work = &space_of[0];
  dsm_access *culprit;
  const tale *tale = &tales[0];
  CHECK_EQUAL(tale_bring(&owner, work, tale->before), DSM_OK);
  for (uint32_t at = 0; at < TALE_KEYS; at++) tale_access(&owner, work, at, tale->after[at]);
  CHECK_EQUAL(fixture_put(&owner, 5, 77, 64), DSM_OK);
  uint64_t present = tale_version(&owner, &work->keys[5].key);
  CHECK_EQUAL(dsm_transaction_commit(&owner.call, work->order, TALE_KEYS, &culprit), DSM_ABORTED);
  CHECK(culprit == &work->accesses[5]);
  CHECK_EQUAL(culprit->version, present);
  CHECK(culprit->expected < present);
  for (uint32_t at = 0; at < 4; at++) CHECK(item_equal(fixture_get(&owner, at), tale->before[at]));
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

/* A full node: every try fails without a change, and nothing is lost. */
static void test_full_store_changes_nothing(void) {
  fixture_shape shape = {CLUSTER, 2, 2, 2, 1ull << 20};
  dsm_sim_start(8);
  fixture owner = fixture_create(&shape);
  const item *small = tales[0].before;
  item large[TALE_KEYS];
  for (uint32_t at = 0; at < TALE_KEYS; at++) large[at] = (item){ITEM_VALUE, TALE_BYTES_MAX, 5};
  CHECK_EQUAL(tale_bring(&owner, &space_of[0], small), DSM_OK);
  uint64_t filler = TALE_KEYS;
  while (fixture_put(&owner, filler, filler, 60000) == DSM_OK) filler++;
  CHECK_EQUAL(tale_bring(&owner, &space_of[0], large), DSM_STORE_FULL);
  CHECK(tale_holds(&owner, small));
  fixture_check_clean(&owner);
  for (uint64_t key = TALE_KEYS; key < filler; key++)
    CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  CHECK_EQUAL(tale_bring(&owner, &space_of[0], large), DSM_OK);
  CHECK(tale_holds(&owner, large));
  for (uint64_t key = 0; key < TALE_KEYS; key++) CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  CHECK_EQUAL(fixture_used_pages(&owner), 0);
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

/* More new keys than the table has free slots, for many orders of the same keys in it. */
static void test_more_insertions_than_free_slots(void) {
  for (uint64_t seed = 1; seed <= 40; seed++) {
    fixture_shape shape = {CLUSTER, 2, 1, 1, 1ull << 20};
    dsm_sim_start(seed);
    fixture owner = fixture_create(&shape);
    for (uint64_t key = TALE_KEYS; key < TALE_KEYS + seed % 5; key++)
      CHECK_EQUAL(fixture_put(&owner, key, 100 + key, 64), DSM_OK);
    CHECK_EQUAL(tale_bring(&owner, &space_of[0], tales[1].after), DSM_OK);
    CHECK(tale_holds(&owner, tales[1].after));
    fixture_check_clean(&owner);
    fixture_close(&owner, true);
    dsm_sim_stop();
  }
}

int main(void) {
  test_more_insertions_than_free_slots();
  test_conflict_is_named();
  test_full_store_changes_nothing();
  test_record_is_not_reused_early();
  for (unsigned i = 0; i < tale_count; i++)
    for (uint32_t replicas = 1; replicas <= 3; replicas++) try_tale(&tales[i], replicas);
  CHECK(deaths > 100);
  CHECK(second_deaths > 100);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("sim_transaction");
}
