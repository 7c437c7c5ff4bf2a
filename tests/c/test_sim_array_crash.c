/* Arrays in the simulated system: a process is killed at every planned crash point of making,
 * writing, publishing, restoring, replacing and removing one, then a survivor goes on; and the
 * survivor is killed at points of its recovery, then a second one goes on.
 */
#include "../../csrc/os/os_sim.h"
#include "array_story.h"
#include "check_main.h"
#include "crash_story.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-array"
#define NODES 3u

static void act(crash_story *self, fixture *victim) {
  array_story_act(self->context, victim);
}

static void recover(crash_story *self, fixture *survivor) {
  array_story_recover(self->context, survivor);
}

static void judge(crash_story *self, fixture *survivor, bool rescued) {
  uint32_t segments = array_story_judge(self->context, survivor, rescued);
  CHECK_EQUAL(dsm_sim_named_segments(), 1 + NODES + segments);
}

static void try_story(array_story *story) {
  fixture_shape shape = {CLUSTER, NODES, 3, 2, 1ull << 20};
  crash_story self = {
      .cluster = CLUSTER,
      .name = array_story_name(story),
      .replicas = story->replicas,
      .context = story,
      .stride = 1,
      .second_stride = rounds_all() ? 1 : 5,
      .second_every = 1,
      .act = act,
      .recover = recover,
      .judge = judge,
  };
  dsm_sim_start(story->replicas);
  fixture owner = fixture_create(&shape);
  array_story_begin(story, &owner);
  crash_story_tell(&self, owner);
  dsm_sim_stop();
}

int main(void) {
  array_story story;
  for (unsigned i = 0; array_story_take(i, &story); i++) try_story(&story);
  CHECK(crash_deaths > 300);
  CHECK(crash_second_deaths > 300);
  printf("%u deaths, %u second deaths\n", crash_deaths, crash_second_deaths);
  return check_result("sim_array_crash");
}
