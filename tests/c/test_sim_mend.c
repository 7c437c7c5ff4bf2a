/* Deaths within mending and rebuilding, in the simulated system: whoever comes next has every value
 * that a replica has.
 *
 * Damage of one kind is done to one node's segment; a process that mends it, or rebuilds the
 * segment, is killed at each planned crash point; another one goes on.
 */
#include <stdio.h>

#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "crash_story.h"
#include "leaks_ignored.h"
#include "mend_story.h"

#define CLUSTER "ctest-mend"

static unsigned deaths;

typedef struct trial {
  const mend_story *story;
  uint32_t replicas;
  fixture *by;
} trial;

static void mend(void *context) {
  const trial *self = context;
  mend_story_mend(self->story, self->by);
}

/* What stands in for the control segment's table is what that says. */
static void require_copies(const fixture *by) {
  const dsm_space *space = by->call.space;
  for (uint32_t node = 0; node < space->node_count; node++) {
    if (!dsm_space_present(space, node)) continue; /* it was lent, and has gone */
    const dsm_node_table_shm *copy = dsm_space_node_table_copy(space, node);
    fixture_require(dsm_load_relaxed_u64(&copy->epoch) == dsm_nodes_epoch(space),
                    "the copy of the node table is up to date");
  }
}

static bool try_death(void *context, unsigned at) {
  trial *self = context;
  uint32_t next_pid, victim_pid;
  /* Both are there before the damage: an unlinked segment cannot be opened. */
  fixture next = crash_attach(CLUSTER, &next_pid), victim = crash_attach(CLUSTER, &victim_pid);
  self->by = &victim;
  self->story->damage(&victim);
  bool left = crash_jump(at, mend, self);
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, point %u %s",
           self->story->name, self->replicas, at, crash_point_name());
  if (!left) require_copies(&victim);
  dsm_sim_process_kill(victim_pid);
  fixture_abandon(&victim);
  dsm_sim_process_run(next_pid);
  mend_story_judge(self->story, &next);
  dsm_sim_process_kill(next_pid);
  fixture_abandon(&next);
  return left;
}

static void try_story(const mend_story *story, uint32_t replicas) {
  dsm_sim_start(replicas);
  fixture owner = mend_story_begin(story, CLUSTER, replicas);
  trial self = {story, replicas, NULL};
  deaths += crash_each(1, rounds_all() ? 1 : 3, try_death, &self);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

int main(void) {
  for (unsigned i = 0; i < mend_story_count; i++)
    for (uint32_t replicas = mend_stories[i].replicas;
         replicas <= 3 && replicas <= mend_stories[i].nodes; replicas++)
      try_story(&mend_stories[i], replicas);
  CHECK(deaths > 100);
  printf("%u deaths\n", deaths);
  return check_result("sim_mend");
}
