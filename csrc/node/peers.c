/* Feeding the detector with the beats of the slots. */
#include "peers.h"

#include <float.h>
#include <stdlib.h>

/* Beats are seen in memory however late we look, so our lateness only hints that the others may be
 * starved like us: it doubles the patience, and is a stall from a tenth of a second on. */
#define HEALTH_MAX 1u
#define OBSERVER_PERIOD_US_MIN 50000u
#define SAMPLES 64u
#define PEERS (1 + DSM_NODES_MAX)

typedef struct peer {
  dsm_detector missed;  /* counts beats: what accuses at the latest */
  dsm_detector accrual; /* learns the intervals, if chosen, and so may accuse earlier */
  uint64_t beat_ns;     /* latest that the detector was told */
} peer;

struct dsm_peers {
  dsm_observer observer;
  dsm_detector_options options;
  bool accrues;
  uint64_t patience_ns; /* silence that nobody needs to judge */
  uint32_t calm[PEERS]; /* incarnation that was alive at the latest judgement; 0: none */
  peer *known[PEERS];   /* made when first seen */
};

static uint32_t beats_of(uint32_t silence_ms, uint32_t heartbeat_ms) {
  return (silence_ms + heartbeat_ms - 1) / heartbeat_ms;
}

dsm_peers *dsm_peers_open(const dsm_space *space, uint64_t now_ns) {
  const dsm_detection_shm *chosen = &space->config.detection;
  dsm_peers *self = calloc(1, sizeof *self);
  if (!self) return NULL;
  uint64_t period_us = (uint64_t)chosen->heartbeat_ms * 1000u;
  uint64_t observer_us = period_us > OBSERVER_PERIOD_US_MIN ? period_us : OBSERVER_PERIOD_US_MIN;
  dsm_observer_init(&self->observer, observer_us, HEALTH_MAX, now_ns / 1000u);
  self->options = (dsm_detector_options){
      .interval_us = period_us,
      .missed_suspected = beats_of(chosen->suspect_ms, chosen->heartbeat_ms),
      .missed_dead = beats_of(chosen->timeout_ms, chosen->heartbeat_ms),
      .phi_suspected = chosen->phi_suspect_milli / 1000.0,
      .phi_dead = chosen->phi_dead_milli / 1000.0,
      .deviation_min_us = period_us / 2,
      .pause_us = (uint64_t)chosen->pause_ms * 1000u,
      .samples = SAMPLES,
  };
  self->accrues = chosen->accrual == 1;
  self->patience_ns = period_us * 2000u;
  /* Where deaths are only reported, nobody is given up: a silence may still end. */
  if (chosen->recovery == DSM_RECOVERY_NONE) {
    self->options.missed_dead = UINT32_MAX;
    self->options.phi_dead = DBL_MAX;
  }
  return self;
}

void dsm_peers_close(dsm_peers *peers) {
  if (!peers) return;
  for (uint32_t i = 0; i < PEERS; i++) free(peers->known[i]);
  free(peers);
}

/* False for settings that the detector refuses: then nobody is judged. */
static bool begin(const dsm_peers *self, peer *out, uint32_t incarnation, uint64_t now_us) {
  dsm_detector_options options = self->options;
  options.accrual = self->accrues;
  out->beat_ns = 0;
  return dsm_detector_init(&out->missed, incarnation, &self->options, now_us) == DSM_OK &&
         dsm_detector_init(&out->accrual, incarnation, &options, now_us) == DSM_OK;
}

/* The peer of a slot that has one to beat; NULL if there is none, or no memory to judge it. A node
 * owes its first beat from its joining on, which is one: it may hang before its thread has begun.
 * An owner starts its thread when all nodes are there. */
static peer *peer_of(dsm_peers *self, const dsm_participant_shm *slot, uint32_t participant,
                     uint64_t now_us) {
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  if (kind != DSM_PARTICIPANT_OWNER && kind != DSM_PARTICIPANT_NODE) return NULL;
  if (kind == DSM_PARTICIPANT_OWNER && dsm_load_acquire_u32(&slot->beating) != 1) return NULL;
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  peer *found = self->known[participant];
  if (found && found->missed.incarnation == incarnation) return found;
  if (!found) found = self->known[participant] = malloc(sizeof *found);
  if (!found || begin(self, found, incarnation, now_us)) return found;
  free(found);
  self->known[participant] = NULL;
  return NULL;
}

static void judge(dsm_detector *detector, const dsm_local_health *health, bool beaten,
                  uint64_t beat_us, uint64_t stall_us, uint64_t now_us) {
  if (beaten) dsm_detector_beat(detector, detector->incarnation, beat_us);
  if (stall_us) dsm_detector_forgive(detector, stall_us, now_us);
  dsm_detector_check(detector, health, now_us);
}

/* The usual case, which touches one line of the slot and one word of ours: it was well, and has
 * beaten just now. The detector hears of its latest beat when it is next asked. */
static bool well(const dsm_peers *self, const dsm_participant_shm *slot, uint32_t participant,
                 uint64_t now_ns) {
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  return self->calm[participant] == incarnation && incarnation != 0 && !self->accrues &&
         now_ns < dsm_load_relaxed_u64(&slot->beat_ns) + self->patience_ns;
}

void dsm_peers_look(dsm_peers *peers, const dsm_space *space, uint64_t now_ns) {
  uint64_t now_us = now_ns / 1000u;
  uint64_t stall_us = dsm_observer_tick(&peers->observer, now_us);
  const dsm_local_health *health = &peers->observer.health;
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  for (uint32_t i = 0; i < PEERS && i < high; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    if (i == space->participant || (!stall_us && well(peers, slot, i, now_ns))) continue;
    peer *found = peer_of(peers, slot, i, now_us);
    peers->calm[i] = 0;
    if (!found) continue;
    /* A beat that is stored just now is seen at the next look: nobody is that close to dying. */
    uint64_t beat_ns = dsm_load_relaxed_u64(&slot->beat_ns);
    bool beaten = beat_ns != found->beat_ns;
    found->beat_ns = beat_ns;
    judge(&found->missed, health, beaten, beat_ns / 1000u, stall_us, now_us);
    if (peers->accrues) judge(&found->accrual, health, beaten, beat_ns / 1000u, stall_us, now_us);
    if (found->missed.state == DSM_PEER_ALIVE) peers->calm[i] = (uint32_t)found->missed.incarnation;
  }
}

dsm_peer_state dsm_peers_verdict(const dsm_peers *peers, uint32_t participant,
                                 uint32_t incarnation) {
  const peer *found = participant < PEERS ? peers->known[participant] : NULL;
  if (!found || found->missed.incarnation != incarnation) return DSM_PEER_ALIVE;
  dsm_peer_state missed = found->missed.state, accrual = found->accrual.state;
  return missed > accrual ? missed : accrual;
}
