/* A rebalance killed at planned crash points, in the simulated system (balance_story.h). The
 * survivor is killed as well, at points of its own, and a second one goes on.
 */
#include <stdio.h>

#include "../../csrc/os/os_sim.h"
#include "balance_story.h"
#include "check_main.h"
#include "crash_hook.h"
#include "crash_story.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-balance"

static unsigned deaths;

static void act(void *context) {
  balance_story_act(context);
}

static void go_on(void *context) {
  balance_story_settle(context, true);
}

static bool killed_at(uint32_t replicas, unsigned at, unsigned second) {
  dsm_sim_start(at);
  fixture owner = balance_story_begin(CLUSTER, replicas);
  uint32_t owner_pid = dsm_sim_process_pid(), victim_pid, first_pid;
  fixture victim = crash_attach(CLUSTER, &victim_pid);
  bool left = crash_jump(at, act, &victim);
  snprintf(fixture_story, sizeof fixture_story, "replication %u, point %u %s", replicas, at,
           crash_point_name());
  dsm_sim_process_kill(victim_pid);
  fixture_abandon(&victim);
  fixture first = crash_attach(CLUSTER, &first_pid);
  bool again = crash_jump(second, go_on, &first);
  dsm_sim_process_kill(first_pid);
  dsm_sim_process_run(owner_pid);
  fixture_abandon(&first);
  deaths += left + again;
  balance_story_judge(&owner);
  fixture_close(&owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  dsm_sim_stop();
  return left;
}

int main(void) {
  unsigned stride = rounds_all() ? 1 : 23;
  for (uint32_t replicas = 1; replicas <= 2; replicas++)
    for (unsigned at = 1; killed_at(replicas, at, 1 + at * 7919u % 2000u); at += stride) {
    }
  CHECK(deaths > 20);
  printf("%u deaths\n", deaths);
  return check_result("sim_balance_crash");
}
