/* The service thread. */
#include "service.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "../store/settle.h"
#include "registry.h"

typedef struct watch {
  uint32_t incarnation;
  int descriptor;
} watch;

struct dsm_service {
  dsm_cluster *cluster;
  int node; /* or -1 */
  int stop, stopping;
  bool told, orphaned;
  dsm_os_thread *thread;
  watch watched[DSM_PARTICIPANTS_MAX];
};

/* Once per service, not once per cluster: who was first may have died half-way. By then the name
 * may be a later cluster's, so only our own segments lose theirs. */
static void handle_owner_death(struct dsm_service *self) {
  dsm_cluster *cluster = self->cluster;
  dsm_control_shm *control = dsm_space_control(&cluster->space);
  if (self->orphaned || dsm_load_acquire_u32(&control->detached) == DSM_DETACHED) return;
  self->orphaned = true;
  dsm_store_release_u32(&control->state, DSM_STATE_STOPPING);
  dsm_cluster_unlink_own(cluster);
}

static void handle_death(struct dsm_service *self, uint32_t participant) {
  dsm_call call = dsm_call_make(&self->cluster->space, DSM_LOCK_SLICE_MS);
  bool retired;
  dsm_registry_retire(&call, participant, &retired);
  DSM_CRASH_POINT("service.retired");
  if (self->node < 0) dsm_doorbell_tell_death(&dsm_space_mailboxes(&self->cluster->space)->bell);
  if (participant == 0) handle_owner_death(self);
}

/* Opens a descriptor for who joined since the last round; handles who is dead already. */
static void refresh(struct dsm_service *self) {
  dsm_space *space = &self->cluster->space;
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  for (uint32_t i = 0; i < high && i < DSM_PARTICIPANTS_MAX; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    watch *entry = &self->watched[i];
    uint32_t kind = dsm_load_acquire_u32(&slot->kind);
    uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
    if (i == 0 && kind == DSM_PARTICIPANT_DEAD) handle_owner_death(self);
    bool wanted =
        i != space->participant && kind != DSM_PARTICIPANT_FREE && kind != DSM_PARTICIPANT_DEAD;
    if (entry->descriptor >= 0 && wanted && entry->incarnation == incarnation) continue;
    dsm_os_process_unwatch(entry->descriptor);
    entry->descriptor = -1;
    if (!wanted) continue;
    dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                              .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
    entry->descriptor = dsm_os_process_watch(&process);
    entry->incarnation = incarnation;
    if (entry->descriptor < 0) handle_death(self, i);
  }
}

static bool wait_for_news(struct dsm_service *self) {
  int descriptors[DSM_PARTICIPANTS_MAX + 1];
  bool ready[DSM_PARTICIPANTS_MAX + 1];
  dsm_space *space = &self->cluster->space;
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  if (high > DSM_PARTICIPANTS_MAX) high = DSM_PARTICIPANTS_MAX;
  for (uint32_t i = 0; i < high; i++) descriptors[i] = self->watched[i].descriptor;
  descriptors[high] = self->stop;
  dsm_os_poll(descriptors, ready, high + 1, DSM_SERVICE_SLICE_MS);
  for (uint32_t i = 0; i < high; i++) {
    if (!ready[i]) continue;
    handle_death(self, i);
    dsm_os_process_unwatch(self->watched[i].descriptor);
    self->watched[i].descriptor = -1;
  }
  return !ready[high];
}

static void settle(struct dsm_service *self) {
  dsm_call call = dsm_call_make(&self->cluster->space, 0);
  if (self->node >= 0) dsm_settle_node(&call, (unsigned)self->node);
}

static void run(void *argument) {
  struct dsm_service *self = argument;
  dsm_space *space = &self->cluster->space;
  dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  do {
    dsm_store_relaxed_u64(&slot->beat_ns, dsm_os_monotonic_ns());
    refresh(self);
    settle(self);
    if (!self->told && dsm_cluster_stopping(self->cluster)) {
      self->told = true;
      dsm_os_event_set(self->stopping);
    }
  } while (wait_for_news(self));
}

dsm_status dsm_service_start(dsm_cluster *cluster, int node, int *stopping) {
  struct dsm_service *self = calloc(1, sizeof *self);
  if (!self) return DSM_OS;
  self->cluster = cluster;
  self->node = node;
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) self->watched[i].descriptor = -1;
  self->stop = dsm_os_event_open();
  self->stopping = dsm_os_event_open();
  dsm_status status = self->stop >= 0 && self->stopping >= 0 ? DSM_OK : DSM_OS;
  if (status == DSM_OK) status = dsm_os_thread_start(run, self, &self->thread);
  if (status != DSM_OK) {
    dsm_os_event_close(self->stop);
    dsm_os_event_close(self->stopping);
    free(self);
    return status;
  }
  cluster->service = self;
  if (stopping) *stopping = self->stopping;
  return DSM_OK;
}

void dsm_service_stop(dsm_cluster *cluster) {
  struct dsm_service *self = cluster->service;
  if (!self || dsm_cluster_forked(cluster)) return;
  cluster->service = NULL;
  dsm_os_event_set(self->stop);
  dsm_os_thread_join(self->thread);
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++)
    dsm_os_process_unwatch(self->watched[i].descriptor);
  dsm_os_event_close(self->stop);
  dsm_os_event_close(self->stopping);
  free(self);
}
