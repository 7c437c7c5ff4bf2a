/* Synchronisation objects whose users are really killed at every planned point.
 *
 * The stories of sync_story.c on the Linux kernel: a child attaches, prepares, and dies by SIGKILL
 * at its n-th point, whose name it leaves behind; the parent buries it by the registry, or as a
 * waiter does, and judges. What a story lets the owner do is done by the child in its name.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/node/registry.h"
#include "check_main.h"
#include "sync_story.h"

static char cluster_name[32];
static struct {
  sync_world world; /* the handles in it are each process's own */
  char last[64];
} * shared;
static unsigned deaths, points_left;

static void nobody(uint32_t pid) {
  (void)pid;
}

static void count_down(const char *name) {
  if (--points_left) return;
  strncpy(shared->last, name, sizeof shared->last - 1);
  kill(getpid(), SIGKILL);
}

static void victim(const sync_story *story, unsigned at) {
  sync_world *world = &shared->world;
  /* A participant of its own on the mappings that it inherited, where world->sync points. */
  dsm_cluster self = *world->owner.cluster;
  world->victim = world->owner;
  world->victim.cluster = &self;
  world->victim.call = dsm_call_make(&self.space, 20000);
  fixture_require(dsm_registry_join(&world->victim.call, DSM_PARTICIPANT_CLIENT, -1,
                                    &self.space.participant) == DSM_OK,
                  "the victim joins");
  world->victim_pid = (uint32_t)getpid();
  if (story->prepare) story->prepare(world);
  points_left = at;
  dsm_crash_hook = count_down;
  story->act(world);
  kill(getpid(), SIGKILL);
}

/* Whether the child died at a point, and not at its end. */
static bool try_death(const sync_story *story, unsigned at, bool by_registry) {
  fixture_shape shape = {cluster_name, 1, 1, 1, 4ull << 20};
  sync_world *world = &shared->world;
  fixture owner = fixture_create(&shape);
  memset(shared, 0, sizeof *shared);
  world->owner = owner;
  world->sync = sync_story_open(story, &owner);
  pid_t child = fork();
  if (child == 0) victim(story, at);
  int status;
  waitpid(child, &status, 0);
  fixture_require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child is killed");
  const char *last = shared->last[0] ? shared->last : NULL;
  snprintf(fixture_story, sizeof fixture_story, "%s, killed at %s, buried by %s", story->name,
           last ? last : "the end", by_registry ? "the registry" : "a waiter");
  if (by_registry)
    fixture_retire_dead(&owner);
  else
    fixture_require(dsm_sync_watch(&owner.call, &world->sync) == DSM_OK, "a waiter buries");
  story->judge(world, &owner, last);
  fixture_close(&owner, true);
  deaths++;
  return last != NULL;
}

int main(void) {
  snprintf(cluster_name, sizeof cluster_name, "ctest.sync.%d", (int)getpid());
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  sync_story_run_as = nobody;
  for (unsigned i = 0; i < sync_story_count; i++) {
    bool killed = true;
    for (unsigned at = 1; killed; at++) killed = try_death(&sync_stories[i], at, at % 2);
  }
  CHECK(deaths > 50);
  printf("%u deaths\n", deaths);
  return check_result("crash_sync");
}
