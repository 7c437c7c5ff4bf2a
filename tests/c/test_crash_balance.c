/* A rebalance under SIGKILL, for real: who adds a node and removes another one is killed at its
 * planned crash points, so is every other time the one who goes on, and the parent comes to the end
 * that balance_story.h says.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balance_story.h"
#include "check_main.h"
#include "crash_child.h"
#include "leaks_ignored.h"

static char cluster_name[32];
static unsigned deaths, second_deaths;

static void act(void *context, fixture *self) {
  (void)context;
  balance_story_act(self);
}

static void go_on(void *context, fixture *self) {
  (void)context;
  balance_story_settle(self, true);
}

static bool try_death(uint32_t replicas, unsigned at) {
  snprintf(fixture_story, sizeof fixture_story, "replication %u, kill at point %u", replicas, at);
  fixture owner = balance_story_begin(cluster_name, replicas);
  bool killed = crash_child_killed(crash_child_start(at, cluster_name, act, NULL));
  crash_child_tell(0);
  deaths += killed;
  if (killed && at % 2) {
    unsigned second = 1 + at * 7919u % 900;
    second_deaths += crash_child_killed(crash_child_start(second, cluster_name, go_on, NULL));
    crash_child_tell(second);
  }
  balance_story_judge(&owner);
  fixture_close(&owner, true);
  crash_child_require_nothing_left(cluster_name);
  return killed;
}

int main(void) {
  static const char *const parts[] = {"birth.", "balance.", "move.", "nodes.", "remove.", "route."};
  snprintf(cluster_name, sizeof cluster_name, "ctest.balance.%d", (int)getpid());
  unsigned stride = rounds_all() ? 1 : 31;
  for (uint32_t replicas = 1; replicas <= 2; replicas++)
    for (unsigned at = 1; try_death(replicas, at); at += stride) {
    }
  for (unsigned i = 0; rounds_all() && i < sizeof parts / sizeof *parts; i++)
    CHECK(crash_child_deaths(parts[i]) > 0);
  CHECK(crash_child_deaths("") == deaths + second_deaths);
  CHECK(deaths > 20);
  CHECK(second_deaths > 5);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("crash_balance");
}
