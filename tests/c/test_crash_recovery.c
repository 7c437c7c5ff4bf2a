/* Recovery under SIGKILL, for real: a process that mends a damaged segment, verifies it as the next
 * process of its node would, or puts another one in its place, is killed at its planned crash
 * points; every other time a second process goes on and is killed as well, at a point of its own.
 * The parent makes everything good in the end: no value is lost, nothing is left behind.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_main.h"
#include "crash_child.h"
#include "leaks_ignored.h"
#include "mend_story.h"

static char cluster_name[32];
static unsigned deaths, second_deaths;

/* The damage is done by who then finds it. */
static void act(void *context, fixture *self) {
  const mend_story *story = context;
  story->damage(self);
  mend_story_mend(story, self);
}

static void go_on(void *context, fixture *self) {
  mend_story_mend(context, self);
}

static bool try_death(const mend_story *story, uint32_t replicas, unsigned at) {
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, kill at point %u", story->name,
           replicas, at);
  fixture owner = mend_story_begin(story, cluster_name, replicas);
  bool killed = crash_child_killed(crash_child_start(at, cluster_name, act, (void *)story));
  crash_child_tell(0);
  deaths += killed;
  if (killed && at % 2 == 0) {
    unsigned second = 1 + at * 7919u % 150;
    second_deaths += crash_child_killed(crash_child_fork(second, &owner, go_on, (void *)story));
    crash_child_tell(second);
  }
  mend_story_judge(story, &owner);
  fixture_close(&owner, true);
  crash_child_require_nothing_left(cluster_name);
  return killed;
}

/* The points around the making of a node for the time being are few. */
static void try_story(const mend_story *story, uint32_t replicas) {
  for (unsigned at = 1; try_death(story, replicas, at);)
    at += rounds_all() ? 1 : story->nodes == 1 && at < 80 ? 3 : 23;
}

int main(void) {
  static const char *const parts[] = {"mend.",  "move.",  "rebuild.", "replace.",     "birth.",
                                      "nodes.", "adopt.", "balance.", "arena.rebuild"};
  snprintf(cluster_name, sizeof cluster_name, "ctest.recovery.%d", (int)getpid());
  for (unsigned i = 0; i < mend_story_count; i++)
    for (uint32_t replicas = mend_stories[i].replicas;
         replicas <= 3 && replicas <= mend_stories[i].nodes; replicas++)
      try_story(&mend_stories[i], replicas);
  for (unsigned i = 0; rounds_all() && i < sizeof parts / sizeof *parts; i++)
    CHECK(crash_child_deaths(parts[i]) > 0);
  CHECK(crash_child_deaths("") == deaths + second_deaths);
  CHECK(deaths > 100);
  CHECK(second_deaths > 20);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("crash_recovery");
}
