/* Arrays under SIGKILL, for real: a process is killed at every planned crash point of making,
 * writing, publishing, restoring, replacing and removing an array, and the parent goes on.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "array_story.h"
#include "check_main.h"
#include "crash_hook.h"
#include "leaks_ignored.h"

#define NODES 3u

static char cluster_name[32];
static dsm_atomic_u64 *died_ns;
static unsigned deaths;

/* True if the child was killed, false if it finished; any other end fails the test. */
static bool try_death(array_story *story, unsigned at) {
  int status;
  fflush(NULL);
  pid_t child = fork();
  fixture_require(child >= 0, "fork");
  if (child == 0) {
    fixture self = fixture_attach(cluster_name);
    crash_kill_at(at, died_ns);
    array_story_act(story, &self);
    _exit(0);
  }
  waitpid(child, &status, 0);
  bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  fixture_require(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
                  "the child was killed or finished");
  return killed;
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
    killed = try_death(story, at);
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
  died_ns = mmap(NULL, sizeof *died_ns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (unsigned i = 0; array_story_take(i, &story); i++) try_story(&story);
  CHECK(deaths > 100);
  printf("%u deaths\n", deaths);
  return check_result("crash_array");
}
