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

#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/transaction.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"

#define CLUSTER "ctest-transaction"
#define KEYS 6u
#define VALUE_BYTES_MAX 32768u
#define SECOND_STRIDE 97u

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0"; /* a killed process's private memory is not freed by anybody */
}

#define ABSENT                                                                                     \
  { ITEM_ABSENT, 0, 0 }
#define OLD(bytes)                                                                                 \
  { ITEM_VALUE, bytes, 1001 }
#define NEW(bytes)                                                                                 \
  { ITEM_VALUE, bytes, 2002 }

typedef struct tale {
  const char *name;
  item before[KEYS], after[KEYS];
  uint64_t others; /* keys beside, never touched */
} tale;

static const tale tales[] = {
    {"four overwritten",
     {OLD(64), OLD(64), OLD(64), OLD(64), OLD(64), OLD(64)},
     {NEW(64), NEW(64), NEW(64), NEW(64), OLD(64), OLD(64)},
     2},
    {"all new, tables made",
     {ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT},
     {NEW(64), NEW(700), NEW(64), NEW(16), NEW(64), NEW(64)},
     0},
    {"all deleted, tables given up",
     {OLD(64), OLD(700), OLD(64), OLD(5000), OLD(64), OLD(900)},
     {ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT},
     0},
    {"new, gone, longer, large, small",
     {ABSENT, OLD(64), OLD(64), OLD(64), OLD(9000), OLD(20000)},
     {NEW(64), ABSENT, NEW(700), NEW(9000), NEW(64), ABSENT},
     5},
    {"large to large, tables grow",
     {OLD(9000), OLD(9000), OLD(9000), ABSENT, ABSENT, ABSENT},
     {NEW(20000), NEW(5000), NEW(3000), NEW(64), NEW(64), NEW(2000)},
     7},
};
#define TALE_COUNT (sizeof tales / sizeof *tales)

/* What a transaction works with; static, since a death jumps out of it. */
typedef struct workspace {
  fixture_key keys[KEYS];
  dsm_access accesses[KEYS];
  dsm_access *order[KEYS];
  dsm_part parts[KEYS];
  uint8_t bytes[KEYS][VALUE_BYTES_MAX];
} workspace;

static workspace space_of[3];
static unsigned deaths, second_deaths;

static uint64_t version_of(fixture *by, const dsm_key *key) {
  dsm_read read;
  dsm_status status = dsm_read_begin(&by->call, key, &read);
  fixture_require(status == DSM_OK || status == DSM_NOT_FOUND, "the key can be looked up");
  return status == DSM_OK ? read.header.version : 0;
}

static void fill_access(fixture *by, workspace *work, uint32_t at, item wanted) {
  dsm_access *access = &work->accesses[at];
  fixture_key_make(by, &work->keys[at], at);
  *access = (dsm_access){.key = work->keys[at].key, .replicas = by->replicas};
  access->expected = version_of(by, &access->key);
  access->kind = DSM_ACCESS_READ;
  work->order[at] = access;
  if (item_equal(fixture_get(by, at), wanted)) return;
  access->kind = wanted.kind == ITEM_ABSENT ? DSM_ACCESS_DELETE : DSM_ACCESS_PUT;
  if (access->kind == DSM_ACCESS_DELETE) return;
  pattern_fill(work->bytes[at], wanted.bytes, wanted.seed);
  work->parts[at] = (dsm_part){work->bytes[at], wanted.bytes};
  access->value = (dsm_value){&work->parts[at], 1, 7, wanted.bytes};
}

/* Brings all keys to the wanted items, in one transaction. */
static dsm_status bring(fixture *by, workspace *work, const item *wanted) {
  dsm_access *culprit;
  for (uint32_t at = 0; at < KEYS; at++) fill_access(by, work, at, wanted[at]);
  return dsm_transaction_commit(&by->call, work->order, KEYS, &culprit);
}

static bool holds_all(fixture *by, const item *wanted) {
  for (uint32_t at = 0; at < KEYS; at++)
    if (!item_equal(fixture_get(by, at), wanted[at])) return false;
  return true;
}

typedef struct trial {
  const tale *tale;
  fixture owner, victim, first, second;
  uint32_t owner_pid, first_pid, second_pid;
  bool retire_first;
} trial;

static void act(void *context) {
  trial *self = context;
  fixture_require(bring(&self->victim, &space_of[0], self->tale->after) == DSM_OK, "commit");
}

/* What a survivor does that knows nothing: retires the dead or not, and commits where they died. */
static void recover(void *context) {
  trial *self = context;
  if (self->retire_first) fixture_retire_dead(&self->first);
  for (uint32_t at = 0; at < KEYS; at++) fixture_check_replicas(&self->first, at);
  dsm_status status = bring(&self->first, &space_of[1], self->tale->before);
  fixture_require(status == DSM_OK, "the survivor commits");
  fixture_retire_dead(&self->first);
}

static void judge(trial *self, fixture *by, uint32_t pid) {
  const tale *tale = self->tale;
  uint64_t length, expected = tale->others;
  dsm_sim_process_run(pid);
  /* Locks first: readers may see a commit half-way until its stripes are repaired. */
  for (uint32_t at = 0; at < KEYS; at++) fixture_check_replicas(by, at);
  bool before = holds_all(by, tale->before), after = holds_all(by, tale->after);
  if (!before && !after)
    for (uint32_t at = 0; at < KEYS; at++) {
      item found = fixture_get(by, at);
      fprintf(stderr, "key %u: kind %d, %llu bytes, seed %llu\n", at, (int)found.kind,
              (unsigned long long)found.bytes, (unsigned long long)found.seed);
    }
  fixture_require(before || after, "all keys are as before or all as after");
  for (uint32_t at = 0; at < KEYS; at++)
    expected += (before ? tale->before : tale->after)[at].kind != ITEM_ABSENT;
  fixture_require(dsm_region_length(&by->call, by->region, &length) == DSM_OK, "length");
  fixture_require(length == expected, "the region counts its keys");
  fixture_check_clean(by);
  fixture_require(bring(by, &space_of[2], tale->after) == DSM_OK, "a commit afterwards");
  fixture_require(holds_all(by, tale->after), "what is committed afterwards is read");
  fixture_retire_dead(by);
  for (uint64_t key = KEYS; key < KEYS + tale->others; key++)
    fixture_require(item_equal(fixture_get(by, key), (item){ITEM_VALUE, 64, 100 + key}),
                    "the other keys are untouched");
  for (uint64_t key = 0; key < KEYS + tale->others; key++) fixture_delete(by, key);
  fixture_require(fixture_limbo_pages(by) == 0, "nothing stays in limbo");
  fixture_require(fixture_used_pages(by) == 0, "no page is lost");
  fixture_check_clean(by);
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
  for (uint64_t key = KEYS; key < KEYS + tale->others; key++)
    CHECK_EQUAL(fixture_put(&self.owner, key, 100 + key, 64), DSM_OK);
  CHECK_EQUAL(bring(&self.owner, &space_of[0], tale->before), DSM_OK);
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
  for (uint64_t key = KEYS; key < KEYS + tale->others; key++)
    CHECK_EQUAL(fixture_put(&self.owner, key, 100 + key, 64), DSM_OK);
  CHECK_EQUAL(bring(&self.owner, &space_of[0], tale->before), DSM_OK);
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
    commit_through(&self.first, record, KEYS + at % tale->others);
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
  CHECK_EQUAL(bring(&owner, work, tale->before), DSM_OK);
  for (uint32_t at = 0; at < KEYS; at++) fill_access(&owner, work, at, tale->after[at]);
  CHECK_EQUAL(fixture_put(&owner, 5, 77, 64), DSM_OK);
  uint64_t present = version_of(&owner, &work->keys[5].key);
  CHECK_EQUAL(dsm_transaction_commit(&owner.call, work->order, KEYS, &culprit), DSM_ABORTED);
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
  const item small[KEYS] = {OLD(64), OLD(64), OLD(64), OLD(64), OLD(64), OLD(64)};
  item large[KEYS];
  for (uint32_t at = 0; at < KEYS; at++) large[at] = (item){ITEM_VALUE, VALUE_BYTES_MAX, 5};
  CHECK_EQUAL(bring(&owner, &space_of[0], small), DSM_OK);
  uint64_t filler = KEYS;
  while (fixture_put(&owner, filler, filler, 60000) == DSM_OK) filler++;
  CHECK_EQUAL(bring(&owner, &space_of[0], large), DSM_STORE_FULL);
  CHECK(holds_all(&owner, small));
  fixture_check_clean(&owner);
  for (uint64_t key = KEYS; key < filler; key++) CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  CHECK_EQUAL(bring(&owner, &space_of[0], large), DSM_OK);
  CHECK(holds_all(&owner, large));
  for (uint64_t key = 0; key < KEYS; key++) CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  CHECK_EQUAL(fixture_used_pages(&owner), 0);
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

int main(void) {
  test_conflict_is_named();
  test_full_store_changes_nothing();
  test_record_is_not_reused_early();
  for (unsigned i = 0; i < TALE_COUNT; i++)
    for (uint32_t replicas = 1; replicas <= 3; replicas++) try_tale(&tales[i], replicas);
  CHECK(deaths > 100);
  CHECK(second_deaths > 100);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("sim_transaction");
}
