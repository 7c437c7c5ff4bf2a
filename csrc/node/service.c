/* The service thread's round. */
#include "service.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "caretaker.h"
#include "duties.h"
#include "keeper.h"
#include "registry.h"
#include "report.h"
#include "starter.h"

#define POST_WAIT_MS 1u

struct dsm_service {
  dsm_cluster *cluster;
  int node; /* or -1 */
  int stopping;
  bool told;
  uint64_t period_ns, look_at_ns;
  dsm_os_thread *thread;
  dsm_duties *duties;
  dsm_caretaker *caretaker;
  dsm_peers *peers;
  dsm_watch watch;
};

static dsm_call brief(const struct dsm_service *self) {
  return dsm_call_make(&self->cluster->space, POST_WAIT_MS);
}

static void handle_death(void *context, uint32_t participant, uint32_t incarnation,
                         dsm_ending ending, uint64_t noticed_ns) {
  struct dsm_service *self = context;
  dsm_call call = brief(self);
  /* If the ring is busy, the second thread records it. */
  if (!dsm_cluster_stopping(self->cluster))
    dsm_report_death(&call, participant, incarnation, noticed_ns);
  DSM_CRASH_POINT("service.reported");
  if (ending == DSM_ENDING_OVER) dsm_duties_bury(self->duties, participant);
}

static void beat(struct dsm_service *self, uint64_t now_ns) {
  dsm_space *space = &self->cluster->space;
  dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  dsm_store_relaxed_u64(&slot->beat_ns, now_ns);
  if (dsm_load_relaxed_u32(&slot->beating) != 1) dsm_store_release_u32(&slot->beating, 1);
}

static void look(struct dsm_service *self, uint64_t now_ns) {
  dsm_space *space = &self->cluster->space;
  dsm_call call = brief(self);
  self->look_at_ns = now_ns + self->period_ns;
  dsm_vigil_look(&self->cluster->vigil, space);
  dsm_peers_look(self->peers, space, now_ns);
  if (dsm_keeper_judges(space, self->peers))
    dsm_keeper_judge(&call, self->peers, &self->watch);
  else
    dsm_keeper_hear(&call);
  bool serves = dsm_keeper_serves(space, self->peers);
  dsm_duties_tick(self->duties, serves);
  dsm_caretaker_serves(self->caretaker, serves);
}

static void replace(struct dsm_service *self, uint64_t now_ns) {
  dsm_space *space = &self->cluster->space;
  if (self->node < 0 || !dsm_cluster_running(self->cluster) ||
      !dsm_keeper_serves(space, self->peers))
    return;
  dsm_call call = brief(self);
  dsm_starter_replace(&call, self->cluster, now_ns);
}

static bool wait_for_news(struct dsm_service *self) {
  uint64_t now_ns = dsm_os_monotonic_ns();
  uint64_t left_ns = self->look_at_ns > now_ns ? self->look_at_ns - now_ns : 0;
  uint32_t wait_ms = (uint32_t)((left_ns + 999999) / 1000000);
  return dsm_watch_wait(&self->watch, &self->cluster->space, wait_ms, handle_death, self);
}

/* A node that has left ends by itself where no owner is there to end it. */
static bool dismissed(const struct dsm_service *self) {
  dsm_space *space = &self->cluster->space;
  dsm_call call = dsm_call_make(space, 0);
  dsm_node_entry entry;
  if (self->node < 0 || dsm_nodes_read(&call, (unsigned)self->node, &entry) != DSM_OK) return false;
  return (entry.state == DSM_NODE_LEAVING || entry.state == DSM_NODE_FREE) &&
         dsm_load_acquire_u32(&dsm_space_participant(space, 0)->kind) == DSM_PARTICIPANT_DEAD;
}

static void run(void *argument) {
  struct dsm_service *self = argument;
  dsm_space *space = &self->cluster->space;
  dsm_os_thread_prompt();
  dsm_registry_lives(space, 0);
  dsm_registry_knock(space);
  do {
    uint64_t now_ns = dsm_os_monotonic_ns();
    beat(self, now_ns);
    dsm_watch_refresh(&self->watch, space, handle_death, self);
    if (now_ns >= self->look_at_ns) look(self, now_ns);
    replace(self, now_ns);
    if (!self->told && (dsm_cluster_stopping(self->cluster) || dismissed(self))) {
      self->told = true;
      dsm_os_event_set(self->stopping);
    }
    /* Our own Python may sleep at its mailbox: it is to see that there will be no more tasks. */
    if (self->told && self->node >= 0)
      dsm_doorbell_ring(&dsm_space_mailboxes(space)->nodes[self->node].bell);
  } while (wait_for_news(self));
  dsm_registry_rests(space, 0);
}

static void dispose(struct dsm_service *self) {
  dsm_caretaker_close(self->caretaker);
  dsm_duties_close(self->duties);
  dsm_watch_close(&self->watch);
  dsm_peers_close(self->peers);
  dsm_os_event_close(self->stopping);
  free(self);
}

dsm_status dsm_service_start(dsm_cluster *cluster, int node, int *stopping) {
  struct dsm_service *self = calloc(1, sizeof *self);
  if (!self) return DSM_OS;
  dsm_space *space = &cluster->space;
  self->cluster = cluster;
  self->node = node;
  self->period_ns = (uint64_t)space->config.detection.heartbeat_ms * 1000000u;
  self->peers = dsm_peers_open(space, dsm_os_monotonic_ns());
  self->stopping = dsm_os_event_open();
  dsm_status status = dsm_watch_open(&self->watch, space);
  self->duties = dsm_duties_open(cluster, node);
  self->caretaker = dsm_caretaker_open(cluster, node);
  if (!self->peers || self->stopping < 0 || !self->duties || !self->caretaker) status = DSM_OS;
  /* From here on our silence means something, be it that the thread never comes to run. */
  if (status == DSM_OK) beat(self, dsm_os_monotonic_ns());
  if (status == DSM_OK) status = dsm_os_thread_start(run, self, &self->thread);
  if (status != DSM_OK) {
    dispose(self);
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
  dsm_os_event_set(self->watch.stop);
  dsm_os_thread_join(self->thread);
  dispose(self);
}
