/* Arrays under SIGKILL, for real: a process is killed at every planned crash point of making,
 * writing, publishing, restoring, replacing and removing an array, and the parent goes on.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "array_story.h"
#include "check_main.h"
#include "crash_child.h"
#include "leaks_ignored.h"

#define NODES 3u

static char cluster_name[32];
static unsigned deaths;

static void act(void *context, fixture *self) {
  array_story_act(context, self);
}

static void try_story(array_story *story) {
  fixture_shape shape = {cluster_name, NODES, 3, 2, 1ull << 20};
  fixture owner = fixture_create(&shape);
  bool killed = true;
  unsigned stride = rounds_all() ? 1 : 3;
  for (unsigned at = 1; killed; at += stride) {
    snprintf(fixture_story, sizeof fixture_story, "%s, kill at point %u", array_story_name(story),
             at);
    array_story_begin(story, &owner);
    killed = crash_child_killed(crash_child_start(at, cluster_name, act, story));
    deaths += killed;
    if (at % 2) fixture_retire_dead(&owner);
    array_story_judge(story, &owner, false);
    array_story_end(&owner);
    fixture_retire_dead(&owner);
  }
  dsm_cluster_unlink_own(owner.cluster);
  fixture_close(&owner, true);
}

int main(void) {
  array_story story;
  snprintf(cluster_name, sizeof cluster_name, "ctest.array.%d", (int)getpid());
  for (unsigned i = 0; array_story_take(i, &story); i++) try_story(&story);
  CHECK(deaths > 100);
  printf("%u deaths\n", deaths);
  return check_result("crash_array");
}
