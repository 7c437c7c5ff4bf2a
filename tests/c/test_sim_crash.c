/* Killed at every planned crash point, in the simulated system: each story × replication × point,
 * then a survivor; and the survivor killed at each point of its recovery, then a second survivor.
 *
 * Every other ending lets the survivor meet the dead owner's lock by itself; in the rest the dead
 * participant is retired first, as the service thread would. Without DSM_TEST_ROUNDS=all the points
 * of the longest stories and the second deaths are thinned by a stride; with it only the second
 * deaths of the longest stories are.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "story.h"

#define CLUSTER "ctest-crash"
#define SECOND_STRIDE 71u

/* A killed process's private memory is not freed by anybody: leaks are not looked for here. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0";
}

typedef struct trial {
  const story *story;
  uint32_t replicas;
  fixture owner, first, second; /* survivors, by the order in which they get a turn */
  uint32_t first_pid, second_pid, owner_pid;
  fixture victim;
  bool retire_first;
} trial;

static const item rescue = {ITEM_VALUE, 333, 3003};
static unsigned deaths, second_deaths;

static void act(void *context) {
  trial *self = context;
  story_act(self->story, &self->victim);
}

/* What a survivor does that knows nothing: maybe retire the dead, read, write. */
static void recover(void *context) {
  trial *self = context;
  if (self->retire_first) fixture_retire_dead(&self->first);
  fixture_get(&self->first, 0);
  if (fixture_put(&self->first, 0, rescue.seed, rescue.bytes) != DSM_OK) {
    fprintf(stderr, "%s: the survivor cannot write\n", fixture_story);
    exit(1);
  }
  fixture_retire_dead(&self->first);
}

static void judge(trial *self, fixture *by, uint32_t pid, const item *also) {
  dsm_sim_process_run(pid);
  story_judge(self->story, by, also);
  fixture_retire_dead(by);
  story_judge_empty(self->story, by);
}

/* The survivor dies at each point of its recovery, and the second one goes on. */
static void try_second_deaths(trial *self, unsigned stride, unsigned offset) {
  dsm_sim_picture *picture = dsm_sim_picture_take();
  size_t told = strlen(fixture_story);
  bool left = true;
  for (unsigned at = 1 + offset % stride; left; at += stride) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->first_pid);
    left = crash_jump(at, recover, self);
    snprintf(fixture_story + told, sizeof fixture_story - told, ", recovery %u %s", at,
             crash_point_name());
    if (left) dsm_sim_process_kill(self->first_pid);
    judge(self, &self->second, self->second_pid, &rescue);
    second_deaths += left;
  }
  fixture_story[told] = 0;
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
}

static void open_victim(trial *self) {
  dsm_sim_process_run(dsm_sim_process_new());
  self->victim = fixture_attach(CLUSTER);
}

static void try_deaths(trial *self, const dsm_sim_picture *picture) {
  unsigned stride = rounds_all() ? 1 : self->story->stride;
  bool left = true;
  for (unsigned at = 1; left; at += stride) {
    dsm_sim_picture_restore(picture);
    open_victim(self);
    uint32_t pid = dsm_sim_process_pid();
    left = crash_jump(at, act, self);
    snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, point %u %s",
             self->story->name, self->replicas, at, crash_point_name());
    dsm_sim_process_kill(pid);
    fixture_abandon(&self->victim);
    deaths += left;
    self->retire_first = at % 2;
    unsigned thin = rounds_all() ? self->story->stride : SECOND_STRIDE * stride;
    if (left) try_second_deaths(self, thin, at);
    judge(self, &self->first, self->first_pid, NULL);
  }
}

static void try_story(const story *story, uint32_t replicas) {
  dsm_sim_start(replicas);
  trial self = {.story = story, .replicas = replicas};
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u", story->name, replicas);
  self.owner_pid = dsm_sim_process_pid();
  self.owner = story_begin(story, replicas, CLUSTER);
  self.first_pid = dsm_sim_process_new();
  dsm_sim_process_run(self.first_pid);
  self.first = fixture_attach(CLUSTER);
  self.second_pid = dsm_sim_process_new();
  dsm_sim_process_run(self.second_pid);
  self.second = fixture_attach(CLUSTER);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  try_deaths(&self, picture);
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
  dsm_sim_process_run(self.first_pid);
  fixture_close(&self.first, false);
  dsm_sim_process_run(self.second_pid);
  fixture_close(&self.second, false);
  dsm_sim_process_run(self.owner_pid);
  fixture_close(&self.owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

int main(int argc, char **argv) {
  for (unsigned i = 0; i < story_count; i++) {
    if (argc > 1 && strcmp(argv[1], stories[i].name) != 0) continue;
    for (uint32_t replicas = 1; replicas <= 3; replicas++) {
      unsigned before = deaths, before_second = second_deaths;
      try_story(&stories[i], replicas);
      if (rounds_all())
        printf("%s, replication %u: %u deaths, %u second deaths\n", stories[i].name, replicas,
               deaths - before, second_deaths - before_second);
    }
  }
  CHECK(deaths > 20);
  CHECK(second_deaths > 20);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("sim_crash");
}
