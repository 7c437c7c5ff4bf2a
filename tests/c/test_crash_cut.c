/* Checkpoints under SIGKILL, for real: who takes one, and who writes beside it, killed at their
 * planned crash points while the other one is at work in a process of its own.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <unistd.h>

#include "check_main.h"
#include "crash_child.h"
#include "cut_story.h"
#include "leaks_ignored.h"

#define STEPS 14u

static char cluster_name[32];
static cut_taker taken;
static unsigned taker_deaths, second_deaths, writer_deaths;

static void take(void *context, fixture *self) {
  (void)context;
  cut_take(&taken, self);
}

static void write_all(void *context, fixture *self) {
  (void)context;
  for (uint32_t step = 1; step < STEPS; step++) cut_story_change(self, step);
}

/* The parent writes meanwhile; after every other death another one begins, who finds what the first
 * has left, and is killed as well. */
static bool try_taker(fixture *by, unsigned at) {
  snprintf(fixture_story, sizeof fixture_story, "replication %u, taker killed at point %u",
           by->replicas, at);
  cut_story_fill(by);
  pid_t child = crash_child_start(at, cluster_name, take, NULL);
  write_all(NULL, by);
  bool killed = crash_child_killed(child);
  crash_child_tell(0);
  taker_deaths += killed;
  if (killed && at % 2) {
    unsigned second = 1 + at * 7919u % 40;
    second_deaths += crash_child_killed(crash_child_start(second, cluster_name, take, NULL));
    crash_child_tell(second);
  }
  cut_story_change(by, at % STEPS);
  cut_story_judge(by, at % 3 == 0);
  return killed;
}

/* The parent walks meanwhile. */
static bool try_writer(fixture *by, unsigned at) {
  item expected[CUT_KEYS];
  snprintf(fixture_story, sizeof fixture_story, "replication %u, writer killed at point %u",
           by->replicas, at);
  cut_story_fill(by);
  cut_story_look(by, expected);
  cut_open(&taken, by);
  cut_step(&taken, by);
  pid_t child = crash_child_start(at, cluster_name, write_all, NULL);
  if (at % 2) crash_child_dies(child); /* else they are at work at once */
  while (!taken.done) cut_step(&taken, by);
  bool killed = crash_child_killed(child);
  crash_child_tell(0);
  writer_deaths += killed;
  cut_close(&taken, by);
  cut_story_require_same(taken.sink.items, expected, "the checkpoint is the instant of its cut");
  cut_story_judge(by, at % 3 == 0);
  return killed;
}

static void try_replication(uint32_t replicas) {
  fixture_shape shape = {cluster_name, CUT_NODES, replicas, CUT_STRIPES, 4u << 20};
  fixture owner = fixture_create(&shape);
  for (unsigned at = 1; try_taker(&owner, at); at += rounds_all() ? 1 : 3) {
  }
  for (unsigned at = 1; try_writer(&owner, at); at += rounds_all() ? 1 : 77) {
  }
  fixture_close(&owner, true);
  crash_child_require_nothing_left(cluster_name);
}

int main(void) {
  static const char *const parts[] = {"cut.claimed", "cut.open",   "cut.walked", "cut.ended",
                                      "cut.saved",   "cut.pinned", "cut.kept",   "walk."};
  snprintf(cluster_name, sizeof cluster_name, "ctest.cut.%d", (int)getpid());
  for (uint32_t replicas = 1; replicas <= 3; replicas++) try_replication(replicas);
  for (unsigned i = 0; rounds_all() && i < sizeof parts / sizeof *parts; i++)
    CHECK(crash_child_deaths(parts[i]) > 0);
  CHECK(crash_child_deaths("cut.") > 0);
  CHECK(taker_deaths > 20);
  CHECK(second_deaths > 5);
  CHECK(writer_deaths > 20);
  printf("%u deaths of takers, %u second ones, %u of writers\n", taker_deaths, second_deaths,
         writer_deaths);
  return check_result("crash_cut");
}
