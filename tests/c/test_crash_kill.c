/* Killed with SIGKILL, for real: at every planned crash point of every story, and at random
 * instants of a busy loop. The parent is the survivor. It reads and writes the same stripe at once,
 * not even waiting for the child's end, and the time from the kill to its finished write is
 * measured.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check_main.h"
#include "crash_child.h"
#include "leaks_ignored.h"
#include "story.h"

#define SURVIVE_NS_MAX 10000000000u /* a bound against hanging; the figures are printed */
#define DEATHS_MAX 20000u
#define BUSY_KEYS 6u

/* Shared with the children. */
typedef struct notes {
  dsm_atomic_u64 started;
  dsm_atomic_u64 begun[BUSY_KEYS], done[BUSY_KEYS]; /* seeds of the busy loop's operations */
} notes;

static char cluster_name[32];
static notes *shared;
static uint64_t survived_ns[DEATHS_MAX];
static unsigned deaths;

static const item rescue = {ITEM_VALUE, 333, 3003};

static void act(void *context, fixture *self) {
  story_act(context, self);
}

/* Reads and writes as soon as the victim is about to die. */
static void survive(const story *story, fixture *by, uint64_t killed_ns) {
  item present = fixture_get(by, 0);
  fixture_require(item_equal(present, story->before) || item_equal(present, story->after),
                  "the value is the old or the new one");
  fixture_require(fixture_put(by, 0, rescue.seed, rescue.bytes) == DSM_OK, "the survivor writes");
  uint64_t took_ns = dsm_os_monotonic_ns() - killed_ns;
  fixture_require(took_ns < SURVIVE_NS_MAX, "the survivor goes on within the bound");
  if (deaths < DEATHS_MAX) survived_ns[deaths++] = took_ns;
}

static bool try_death(const story *story, fixture *by, unsigned at) {
  pid_t child = crash_child_start(at, cluster_name, act, (void *)story);
  uint64_t killed_ns = crash_child_dies(child);
  if (killed_ns) survive(story, by, killed_ns);
  bool killed = crash_child_killed(child);
  if (at % 3 == 0) fixture_retire_dead(by);
  story_judge(story, by, &rescue);
  fixture_retire_dead(by);
  story_rewind(story, by);
  return killed;
}

static void try_story(const story *story, uint32_t replicas) {
  fixture owner = story_begin(story, replicas, cluster_name);
  bool killed = true;
  for (unsigned at = 1; killed; at += rounds_all() ? 1 : story->stride * 2 + 1) {
    snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, kill at point %u",
             story->name, replicas, at);
    killed = try_death(story, &owner, at);
  }
  story_judge_empty(story, &owner);
  fixture_close(&owner, true);
}

static void create(void *context, fixture *self) {
  const fixture_shape *shape = context;
  dsm_options options = {
      shape->name, shape->nodes, shape->replicas, shape->stripes, shape->node_bytes, {0}, 0, 0};
  fixture_require(dsm_cluster_create(&options, &self->cluster, &self->call.fault) == DSM_OK,
                  "create");
}

/* A cluster's creator is killed at each point: nobody sees half a cluster, and the name is free. */
static void try_creation(void) {
  fixture_shape shape = {cluster_name, 2, 2, 4, 2ull << 20};
  bool killed = true;
  for (unsigned at = 1; killed; at += at < 64 && !rounds_all() ? 9 : 1) {
    dsm_cluster *seen;
    dsm_fault fault;
    snprintf(fixture_story, sizeof fixture_story, "creation, kill at point %u", at);
    killed = crash_child_killed(crash_child_start(at, NULL, create, &shape));
    dsm_status status = dsm_cluster_attach(cluster_name, -1, &seen, &fault);
    fixture_require(killed ? status == DSM_NO_CLUSTER : status == DSM_OK,
                    "a cluster is there as a whole or not at all");
    if (status == DSM_OK) dsm_cluster_drop(seen);
    fixture again = fixture_create(&shape);
    fixture_require(fixture_put(&again, 1, 1, 100) == DSM_OK, "the name can be used again");
    fixture_close(&again, true);
  }
}

/* Operations without end: key k holds the seed of the last one that was done, or of the one begun.
 */
static void busy_loop(void *context, fixture *self) {
  uint64_t random = *(const uint64_t *)context;
  dsm_store_release_u64(&shared->started, 1);
  for (uint64_t seed = random_below(&random, 1u << 30) << 20;; seed++) {
    uint64_t key = random_below(&random, BUSY_KEYS);
    uint64_t bytes = 8 + random_below(&random, seed % 4 ? 200 : 20000);
    dsm_store_release_u64(&shared->begun[key], seed);
    if (fixture_put(self, key, seed, bytes) != DSM_OK) _exit(1);
    dsm_store_release_u64(&shared->done[key], seed);
  }
}

static void try_random_kills(uint32_t replicas, unsigned rounds, uint64_t *random) {
  fixture_shape shape = {cluster_name, 3, replicas, 2, 8ull << 20};
  fixture owner = fixture_create(&shape);
  memset(shared, 0, sizeof *shared);
  for (unsigned round = 0; round < rounds; round++) {
    snprintf(fixture_story, sizeof fixture_story, "random kill %u, replication %u", round,
             replicas);
    dsm_store_release_u64(&shared->started, 0);
    uint64_t seed = random_next(random);
    pid_t child = crash_child_start(0, cluster_name, busy_loop, &seed);
    while (dsm_load_acquire_u64(&shared->started) == 0) sched_yield();
    usleep((useconds_t)random_below(random, 2000));
    kill(child, SIGKILL);
    fixture_require(crash_child_killed(child), "the child is killed");
    for (uint64_t key = 0; key < BUSY_KEYS; key++) {
      uint64_t begun = dsm_load_acquire_u64(&shared->begun[key]);
      uint64_t done = dsm_load_acquire_u64(&shared->done[key]);
      fixture_check_replicas(&owner, key);
      item present = fixture_get(&owner, key);
      fixture_require(present.kind == ITEM_ABSENT ? done == 0
                                                  : present.seed == done || present.seed == begun,
                      "what was acknowledged is there");
      if (present.kind == ITEM_VALUE) dsm_store_release_u64(&shared->done[key], present.seed);
      dsm_store_release_u64(&shared->begun[key], present.seed);
    }
    fixture_retire_dead(&owner);
    if (round % 8 == 0) fixture_check_clean(&owner);
  }
  for (uint64_t key = 0; key < BUSY_KEYS; key++) fixture_delete(&owner, key);
  CHECK_EQUAL(fixture_limbo_pages(&owner), 0);
  CHECK_EQUAL(fixture_used_pages(&owner), 0);
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
}

static int by_value(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

int main(int argc, char **argv) {
  uint64_t random = argc > 1 ? strtoull(argv[1], NULL, 0) : 20261123;
  printf("seed %" PRIu64 "\n", random);
  snprintf(cluster_name, sizeof cluster_name, "ctest.kill.%d", (int)getpid());
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  try_creation();
  for (unsigned i = 0; i < story_count; i++)
    for (uint32_t replicas = 1; replicas <= 3; replicas++) try_story(&stories[i], replicas);
  for (uint32_t replicas = 1; replicas <= 3; replicas++)
    try_random_kills(replicas, rounds_all() ? 200 : 20, &random);
  qsort(survived_ns, deaths, sizeof *survived_ns, by_value);
  CHECK(deaths > 100);
  printf("%u deaths; from the kill to the survivor's finished write: p50 %.0f us, p99 %.0f us, "
         "max %.0f us\n",
         deaths, (double)survived_ns[deaths / 2] / 1e3,
         (double)survived_ns[deaths * 99 / 100] / 1e3, (double)survived_ns[deaths - 1] / 1e3);
  return check_result("crash_kill");
}
