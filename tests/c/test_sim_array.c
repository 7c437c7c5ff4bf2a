/* Arrays in the simulated system: a process is killed at every planned crash point of making,
 * writing, publishing, restoring, replacing and removing one, then a survivor goes on; and the
 * survivor is killed at each point of its recovery, then a second one goes on.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "array_story.h"
#include "check_main.h"
#include "crash_hook.h"

#define CLUSTER "ctest-array"
#define NODES 3u

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0"; /* a killed process's private memory is freed by nobody */
}

typedef struct trial {
  array_story story;
  bool retire_first;
  fixture owner, victim, first, second;
  uint32_t owner_pid, first_pid, second_pid;
} trial;

static unsigned deaths, second_deaths;

static void act(void *context) {
  trial *self = context;
  array_story_act(&self->story, &self->victim);
}

static void recover(void *context) {
  trial *self = context;
  if (self->retire_first) fixture_retire_dead(&self->first);
  array_story_recover(&self->story, &self->first);
}

static void judge(trial *self, fixture *by, uint32_t pid, bool rescued) {
  dsm_sim_process_run(pid);
  uint32_t segments = array_story_judge(&self->story, by, rescued);
  CHECK_EQUAL(dsm_sim_named_segments(), 1 + NODES + segments);
}

static void try_second_deaths(trial *self) {
  dsm_sim_picture *picture = dsm_sim_picture_take();
  size_t told = strlen(fixture_story);
  bool left = true;
  unsigned stride = rounds_all() ? 1 : 5;
  for (unsigned at = 1 + deaths % stride; left; at += stride) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->first_pid);
    left = crash_jump(at, recover, self);
    snprintf(fixture_story + told, sizeof fixture_story - told, ", recovery %u %s", at,
             crash_point_name());
    if (left) dsm_sim_process_kill(self->first_pid);
    judge(self, &self->second, self->second_pid, true);
    second_deaths += left;
  }
  fixture_story[told] = 0;
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
}

static void try_deaths(trial *self, const dsm_sim_picture *picture) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(dsm_sim_process_new());
    self->victim = fixture_attach(CLUSTER);
    uint32_t pid = dsm_sim_process_pid();
    left = crash_jump(at, act, self);
    snprintf(fixture_story, sizeof fixture_story, "%s, point %u %s", array_story_name(&self->story),
             at, crash_point_name());
    dsm_sim_process_kill(pid);
    fixture_abandon(&self->victim);
    deaths += left;
    self->retire_first = at % 2;
    if (left) try_second_deaths(self);
    judge(self, &self->first, self->first_pid, false);
  }
}

static fixture attach_new(uint32_t *pid) {
  *pid = dsm_sim_process_new();
  dsm_sim_process_run(*pid);
  return fixture_attach(CLUSTER);
}

static void try_story(const array_story *story) {
  dsm_sim_start(story->replicas);
  fixture_shape shape = {CLUSTER, NODES, 3, 2, 1ull << 20};
  trial self = {.story = *story};
  snprintf(fixture_story, sizeof fixture_story, "%s", array_story_name(story));
  self.owner_pid = dsm_sim_process_pid();
  self.owner = fixture_create(&shape);
  array_story_begin(&self.story, &self.owner);
  self.first = attach_new(&self.first_pid);
  self.second = attach_new(&self.second_pid);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  try_deaths(&self, picture);
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
  dsm_sim_process_run(self.first_pid);
  fixture_close(&self.first, false);
  dsm_sim_process_run(self.second_pid);
  fixture_close(&self.second, false);
  dsm_sim_process_run(self.owner_pid);
  dsm_cluster_unlink_own(self.owner.cluster);
  fixture_close(&self.owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

int main(void) {
  array_story story;
  for (unsigned i = 0; array_story_take(i, &story); i++) try_story(&story);
  CHECK(deaths > 300);
  CHECK(second_deaths > 300);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("sim_array");
}
