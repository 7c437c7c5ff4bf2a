/* What the second thread does, and how it is told. */
#include "duties.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "../store/settle.h"
#include "background.h"
#include "balance.h"
#include "registry.h"

#define NAP_US 10000000u /* it is rung; this is for a ring that was lost with nobody to miss it */
#define BALANCE_WAIT_MS DSM_LOCK_SLICE_MS /* for a stripe that is in use; then another one */
#define WORDS (DSM_PARTICIPANTS_MAX / 64)

struct dsm_duties {
  dsm_cluster *cluster;
  int node; /* or -1 */
  dsm_background background;
  dsm_atomic_u32 orphaned;
  dsm_atomic_u32 serving; /* 1: this process does the cluster's background work */
  dsm_balancer balancer;
  dsm_atomic_u64 dead[WORDS]; /* participants to be buried */
};

static bool orphan(const dsm_duties *self) {
  const dsm_space *space = &self->cluster->space;
  return dsm_load_relaxed_u32(&self->orphaned) == 0 &&
         dsm_load_acquire_u32(&dsm_space_participant(space, 0)->kind) == DSM_PARTICIPANT_DEAD &&
         !dsm_vigil_detached(&self->cluster->vigil, space);
}

/* Once per process, not once per cluster: who was first may have died half-way. By then the name
 * may be a later cluster's, so only our own segments lose theirs. */
static void handle_owner_death(dsm_duties *self) {
  dsm_store_relaxed_u32(&self->orphaned, 1);
  dsm_cluster_stop(self->cluster);
  dsm_cluster_unlink_own(self->cluster);
}

/* Whether the slot still stands for a process that has ended. */
static bool unburied(const dsm_space *space, uint32_t participant) {
  dsm_participant_info info;
  if (!dsm_participant_read(space, participant, &info)) return false;
  dsm_os_process process = {.pid = info.pid, .start_ticks = info.start_ticks};
  return info.kind != DSM_PARTICIPANT_DEAD && !dsm_os_process_alive(&process);
}

static void bury(dsm_duties *self, uint32_t participant) {
  dsm_space *space = &self->cluster->space;
  dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
  bool retired;
  dsm_registry_retire(&call, participant, &retired);
  DSM_CRASH_POINT("duties.retired");
  if (self->node < 0) dsm_doorbell_tell_death(&dsm_space_mailboxes(space)->bell);
  if (unburied(space, participant))
    dsm_fetch_or_acq_rel_u64(&self->dead[participant / 64], 1ull << (participant % 64));
}

/* One piece of the cluster's background work; how long to sleep before the next. */
static uint32_t serve(dsm_duties *self) {
  dsm_call call = dsm_call_make(&self->cluster->space, BALANCE_WAIT_MS);
  if (dsm_load_acquire_u32(&self->serving) == 0 || !dsm_cluster_running(self->cluster))
    return NAP_US;
  uint32_t pause = dsm_balancer_step(&call, &self->balancer);
  return pause < NAP_US ? pause : NAP_US;
}

static void run(void *argument) {
  dsm_duties *self = argument;
  bool last;
  dsm_os_thread_prompt();
  dsm_registry_lives(&self->cluster->space, 1);
  do {
    last = dsm_background_stopping(&self->background);
    uint32_t heard = dsm_background_listen(&self->background);
    for (uint32_t word = 0; word < WORDS; word++) {
      uint64_t dead = dsm_exchange_acq_rel_u64(&self->dead[word], 0);
      for (; dead; dead &= dead - 1) bury(self, word * 64 + (uint32_t)__builtin_ctzll(dead));
    }
    if (orphan(self)) handle_owner_death(self);
    dsm_call call = dsm_call_make(&self->cluster->space, 0);
    dsm_nodes_catch_up(&call);
    if (!last && self->node >= 0) dsm_settle_node(&call, (unsigned)self->node);
    uint32_t nap_us = last ? 0 : serve(self);
    if (nap_us) dsm_background_sleep(&self->background, heard, nap_us);
  } while (!last);
  dsm_registry_rests(&self->cluster->space, 1);
}

dsm_duties *dsm_duties_open(dsm_cluster *cluster, int node) {
  dsm_duties *self = calloc(1, sizeof *self);
  if (!self) return NULL;
  self->cluster = cluster;
  self->node = node;
  if (dsm_background_start(&self->background, run, self) == DSM_OK) return self;
  free(self);
  return NULL;
}

void dsm_duties_close(dsm_duties *duties) {
  if (!duties) return;
  dsm_background_stop(&duties->background);
  free(duties);
}

void dsm_duties_bury(dsm_duties *duties, uint32_t participant) {
  dsm_fetch_or_acq_rel_u64(&duties->dead[participant / 64], 1ull << (participant % 64));
  dsm_background_ring(&duties->background);
}

void dsm_duties_tick(dsm_duties *duties, bool serves) {
  uint64_t dead = 0;
  for (uint32_t word = 0; word < WORDS; word++) dead |= dsm_load_relaxed_u64(&duties->dead[word]);
  const dsm_space *space = &duties->cluster->space;
  bool unsettled = duties->node >= 0 && dsm_settle_due(space, (unsigned)duties->node);
  bool behind = !dsm_space_current(space, dsm_space_epoch(space));
  dsm_store_release_u32(&duties->serving, serves);
  if (dead || unsettled || behind || orphan(duties) || (serves && dsm_balance_due(space)))
    dsm_background_ring(&duties->background);
}
