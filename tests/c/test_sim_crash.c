/* Operations on one key killed at every planned crash point, in the simulated system: each story ×
 * replication × point, then a survivor; and the survivor killed at each point of its recovery, then
 * a second survivor.
 *
 * Without DSM_TEST_ROUNDS=all the points of the longest stories and the second deaths are thinned
 * by a stride; with it only the second deaths of the longest stories are.
 */
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_story.h"
#include "leaks_ignored.h"
#include "story.h"

#define CLUSTER "ctest-crash"
#define SECOND_STRIDE 71u

static const item rescue = {ITEM_VALUE, 333, 3003};

static void act(crash_story *self, fixture *victim) {
  story_act(self->context, victim);
}

/* What a survivor does that knows nothing: read, write. */
static void recover(crash_story *self, fixture *survivor) {
  (void)self;
  fixture_get(survivor, 0);
  fixture_require(fixture_put(survivor, 0, rescue.seed, rescue.bytes) == DSM_OK,
                  "the survivor writes");
  fixture_retire_dead(survivor);
}

static void judge(crash_story *self, fixture *survivor, bool rescued) {
  story_judge(self->context, survivor, rescued ? &rescue : NULL);
  fixture_retire_dead(survivor);
  story_judge_empty(self->context, survivor);
}

static void try_story(const story *story, uint32_t replicas) {
  unsigned stride = rounds_all() ? 1 : story->stride;
  crash_story self = {
      .cluster = CLUSTER,
      .name = story->name,
      .replicas = replicas,
      .context = (void *)story,
      .stride = stride,
      .second_stride = rounds_all() ? story->stride : SECOND_STRIDE * stride,
      .second_every = 1,
      .act = act,
      .recover = recover,
      .judge = judge,
  };
  dsm_sim_start(replicas);
  crash_story_tell(&self, story_begin(story, replicas, CLUSTER));
  dsm_sim_stop();
}

int main(int argc, char **argv) {
  for (unsigned i = 0; i < story_count; i++) {
    if (argc > 1 && strcmp(argv[1], stories[i].name) != 0) continue;
    for (uint32_t replicas = 1; replicas <= 3; replicas++) try_story(&stories[i], replicas);
  }
  CHECK(crash_deaths > 20);
  CHECK(crash_second_deaths > 20);
  printf("%u deaths, %u second deaths\n", crash_deaths, crash_second_deaths);
  return check_result("sim_crash");
}
