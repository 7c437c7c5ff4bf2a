/* The deaths of a story, and those of its survivors. */
#include "crash_story.h"

#include <stdio.h>
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "crash_hook.h"

unsigned crash_deaths, crash_second_deaths;

unsigned crash_each(unsigned from, unsigned stride, bool (*once)(void *context, unsigned at),
                    void *context) {
  dsm_sim_picture *picture = dsm_sim_picture_take();
  unsigned count = 0;
  for (unsigned at = from; once(context, at); at += stride, count++)
    dsm_sim_picture_restore(picture);
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
  return count;
}

static void act(void *context) {
  crash_story *self = context;
  self->act(self, &self->victim);
}

static void recover(void *context) {
  crash_story *self = context;
  if (self->at % 2) fixture_retire_dead(&self->first);
  self->recover(self, &self->first);
}

static bool try_second_death(void *context, unsigned at) {
  crash_story *self = context;
  size_t told = strlen(fixture_story);
  dsm_sim_process_run(self->first_pid);
  bool left = crash_jump(at, recover, self);
  snprintf(fixture_story + told, sizeof fixture_story - told, ", recovery %u %s", at,
           crash_point_name());
  if (left) dsm_sim_process_kill(self->first_pid);
  dsm_sim_process_run(self->second_pid);
  self->judge(self, &self->second, true);
  fixture_story[told] = 0;
  return left;
}

static bool try_death(void *context, unsigned at) {
  crash_story *self = context;
  uint32_t pid;
  self->at = at;
  self->victim = crash_attach(self->cluster, &pid);
  self->victim_slot = self->victim.call.space->participant;
  bool left = crash_jump(at, act, self);
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, point %u %s", self->name,
           self->replicas, at, crash_point_name());
  dsm_sim_process_kill(pid);
  fixture_abandon(&self->victim);
  if (left && self->second_every && at % self->second_every == 0)
    crash_second_deaths +=
        crash_each(1 + at % self->second_stride, self->second_stride, try_second_death, self);
  dsm_sim_process_run(self->first_pid);
  self->judge(self, &self->first, false);
  return left;
}

fixture crash_attach(const char *cluster, uint32_t *pid) {
  *pid = dsm_sim_process_new();
  dsm_sim_process_run(*pid);
  return fixture_attach(cluster);
}

static void leave(fixture *by, uint32_t pid) {
  dsm_sim_process_run(pid);
  fixture_close(by, false);
}

void crash_story_tell(crash_story *self, fixture owner) {
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u", self->name, self->replicas);
  self->owner = owner;
  self->owner_pid = dsm_sim_process_pid();
  self->first = crash_attach(self->cluster, &self->first_pid);
  self->second = crash_attach(self->cluster, &self->second_pid);
  unsigned second_before = crash_second_deaths;
  unsigned deaths = crash_each(1, self->stride, try_death, self);
  crash_deaths += deaths;
  if (rounds_all())
    printf("%s, replication %u: %u deaths, %u second deaths\n", self->name, self->replicas, deaths,
           crash_second_deaths - second_before);
  leave(&self->first, self->first_pid);
  leave(&self->second, self->second_pid);
  dsm_cluster_unlink_own(self->owner.cluster);
  leave(&self->owner, self->owner_pid);
  fixture_require(dsm_sim_named_segments() == 0, "no segment keeps its name");
  fixture_require(dsm_sim_backed_bytes() == 0, "no memory stays backed");
}
