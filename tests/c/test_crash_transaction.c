/* Transactions killed with SIGKILL, for real, at every planned crash point. The parent commits to
 * the same stripes at once, not even waiting for the child's end.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "check_main.h"
#include "crash_child.h"
#include "leaks_ignored.h"
#include "tale.h"

static char cluster_name[32];
static workspace work;
static unsigned deaths;

static void act(void *context, fixture *self) {
  const tale *tale = context;
  fixture_require(tale_bring(self, &work, tale->after) == DSM_OK, "commit");
}

static bool try_death(const tale *tale, fixture *by, unsigned at) {
  pid_t child = crash_child_start(at, cluster_name, act, (void *)tale);
  crash_child_dies(child);
  if (at % 2) fixture_retire_dead(by);
  tale_judge(tale, by, &work);
  bool killed = crash_child_killed(child);
  fixture_retire_dead(by);
  fixture_require(tale_bring(by, &work, tale->before) == DSM_OK, "go back");
  deaths += killed;
  return killed;
}

int main(void) {
  snprintf(cluster_name, sizeof cluster_name, "ctest.tkill.%d", (int)getpid());
  for (unsigned i = 0; i < tale_count; i++)
    for (uint32_t replicas = 1; replicas <= 3; replicas++) {
      fixture_shape shape = {cluster_name, 3, replicas, 2, 4ull << 20};
      fixture owner = fixture_create(&shape);
      tale_begin(&tales[i], &owner, &work);
      bool killed = true;
      for (unsigned at = 1; killed; at += rounds_all() ? 1 : 7) {
        snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, kill at point %u",
                 tales[i].name, replicas, at);
        killed = try_death(&tales[i], &owner, at);
      }
      tale_judge_empty(&tales[i], &owner);
      fixture_close(&owner, true);
    }
  CHECK(deaths > 100);
  printf("%u deaths\n", deaths);
  return check_result("crash_transaction");
}
