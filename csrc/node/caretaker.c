/* The caretaker's rounds. */
#include "caretaker.h"

#include <stdlib.h>

#include "../mem/nodes.h"
#include "../store/heal.h"
#include "../store/scrub.h"
#include "array_watch.h"
#include "background.h"
#include "rebuild.h"
#include "report.h"

#define LOOK_NS 100000000u            /* between two looks at who asks */
#define SEGMENTS_NS 250000000u        /* between two looks at the names of segments */
#define ROUND_PAUSE_NS 10000000000ull /* between two rounds of scrubbing */
#define URGENT 16                     /* times as fast is what was just taken over */
#define URGENT_BYTES_MIN (16u << 20)  /* … at least of that, also where nothing is scrubbed */
#define LAG_NS_MAX 200000000u         /* pace that was not used is not saved for long */

struct dsm_caretaker {
  dsm_cluster *cluster;
  int node; /* or -1 */
  dsm_background background;
  dsm_atomic_u32 serves;
  uint32_t asked;       /* as last seen */
  bool deep;            /* damage was asked about since segments were last looked at */
  uint32_t next;        /* stripe to be scrubbed */
  bool urgent;          /* the segment was taken over, and its checksums are not all compared */
  uint64_t scrub_at_ns; /* when the pace allows to go on */
  uint64_t segments_ns; /* when to look at the segments again */
  uint64_t report_ns;   /* when to tell of damage again, so that failures are not drowned in it */
  dsm_array_watch arrays;
};

static dsm_space *space_of(const dsm_caretaker *self) {
  return &self->cluster->space;
}

static bool stopped(const dsm_caretaker *self) {
  return dsm_background_stopping(&self->background) || !dsm_cluster_running(self->cluster);
}

/* Mends what readers and writers had to leave. */
static void mend_asked(dsm_caretaker *self) {
  dsm_space *space = space_of(self);
  for (uint32_t stripe = 0; stripe < space->stripe_count && !stopped(self); stripe++) {
    if (!(dsm_load_relaxed_u32(&dsm_space_lock(space, stripe)->pending) & DSM_PENDING_MEND))
      continue;
    dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
    dsm_heal(&call, stripe);
  }
}

static void look_at_segments(dsm_caretaker *self) {
  dsm_space *space = space_of(self);
  bool deep = self->deep, whole = true;
  self->deep = false;
  for (uint32_t node = 0; node < space->node_count && !stopped(self); node++) {
    dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
    dsm_nodes_catch_up(&call);
    dsm_loss loss = dsm_loss_look(&call, node, deep);
    if (loss == DSM_LOSS_NONE || space->config.detection.recovery == DSM_RECOVERY_NONE) continue;
    whole = false;
    if (dsm_rebuild(&call, node, loss) != DSM_OK) self->deep |= deep; /* again at the next look */
    mend_asked(self);
  }
  dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
  if (whole && !stopped(self)) dsm_rebuild_dismiss(&call);
  dsm_array_watch_look(&self->arrays, self->cluster, deep, &self->background.stop);
}

/* Bytes a second of arrays that the keeper looks at; 0: none. */
static uint64_t pace(const dsm_caretaker *self) {
  return (uint64_t)space_of(self)->config.scrub_kib_per_s * 1024;
}

/* Bytes a second; 0: it does not scrub. Who takes a segment over verifies its structure first. */
static uint64_t rate_of(const dsm_caretaker *self) {
  const dsm_space *space = space_of(self);
  uint64_t rate = (uint64_t)space->config.scrub_kib_per_s * 1024;
  if (!self->urgent) return self->node < 0 ? 0 : rate;
  if (dsm_load_acquire_u32(&dsm_space_participant(space, space->participant)->ready) == 0) return 0;
  return (rate > URGENT_BYTES_MIN ? rate : URGENT_BYTES_MIN) * URGENT;
}

static void scrub(dsm_caretaker *self, uint64_t now_ns) {
  dsm_space *space = space_of(self);
  uint64_t rate = rate_of(self);
  unsigned node = (unsigned)self->node;
  dsm_scrub_shm *record = &dsm_space_recovery(space)->scrubs[node];
  if (!dsm_space_present(space, node)) return;
  dsm_call call = dsm_call_make(space, 0);
  bool damaged;
  uint64_t bytes = dsm_scrub_stripe(&call, node, self->next, &damaged);
  dsm_fetch_add_relaxed_u64(&record->bytes, bytes);
  if (damaged) dsm_fetch_add_relaxed_u64(&record->found, 1);
  if (self->scrub_at_ns + LAG_NS_MAX < now_ns) self->scrub_at_ns = now_ns;
  self->scrub_at_ns += bytes * 1000000000u / rate;
  self->next++;
  if (self->urgent) dsm_store_relaxed_u32(&record->adopt_left, space->stripe_count - self->next);
  if (self->next < space->stripe_count) return;
  self->urgent = false;
  self->next = 0;
  self->scrub_at_ns = now_ns + ROUND_PAUSE_NS;
  dsm_fetch_add_relaxed_u64(&record->rounds, 1);
  /* The arena belongs to no stripe; the keeper replaces what is beyond mending. */
  if (dsm_loss_look(&call, node, true) == DSM_LOSS_DAMAGED)
    dsm_fetch_add_relaxed_u32(&dsm_space_recovery(space)->asked, 1);
}

/* Who asks, and what is to be done for it; then what is due by the clock. */
static void attend(dsm_caretaker *self, bool scrubs) {
  uint32_t asked = dsm_load_acquire_u32(&dsm_space_recovery(space_of(self))->asked);
  uint64_t now_ns = dsm_os_monotonic_ns();
  if (asked != self->asked) {
    self->asked = asked;
    self->deep = true;
    self->segments_ns = now_ns;
    mend_asked(self);
  }
  if (dsm_load_relaxed_u32(&self->serves) && now_ns >= self->segments_ns) {
    look_at_segments(self);
    self->segments_ns = dsm_os_monotonic_ns() + SEGMENTS_NS;
  }
  uint64_t rate = pace(self);
  if (rate && dsm_load_relaxed_u32(&self->serves))
    dsm_array_watch_scrub(&self->arrays, self->cluster, rate);
  else
    dsm_array_watch_close(&self->arrays);
  if (now_ns >= self->report_ns) {
    dsm_call call = dsm_call_make(space_of(self), DSM_LOCK_SLICE_MS);
    dsm_report_recovery(&call, self->node);
    self->report_ns = now_ns + LOOK_NS;
  }
  if (scrubs && now_ns >= self->scrub_at_ns) scrub(self, now_ns);
}

static void run(void *argument) {
  dsm_caretaker *self = argument;
  self->arrays.scrub_at_ns = dsm_os_monotonic_ns() + ROUND_PAUSE_NS / 10;
  self->scrub_at_ns = dsm_os_monotonic_ns() + (self->urgent ? 0 : ROUND_PAUSE_NS / 10);
  while (!dsm_background_stopping(&self->background)) {
    uint32_t heard = dsm_background_listen(&self->background);
    bool scrubs = rate_of(self) > 0;
    if (!stopped(self)) attend(self, scrubs);
    uint64_t now_ns = dsm_os_monotonic_ns(), wait_ns = LOOK_NS;
    if (rate_of(self) && self->scrub_at_ns < now_ns + wait_ns)
      wait_ns = self->scrub_at_ns > now_ns ? self->scrub_at_ns - now_ns : 0;
    if (self->arrays.mapped && self->arrays.scrub_at_ns < now_ns + wait_ns)
      wait_ns = self->arrays.scrub_at_ns > now_ns ? self->arrays.scrub_at_ns - now_ns : 0;
    if (wait_ns >= 1000) dsm_background_sleep(&self->background, heard, (uint32_t)(wait_ns / 1000));
  }
}

dsm_caretaker *dsm_caretaker_open(dsm_cluster *cluster, int node) {
  dsm_caretaker *self = calloc(1, sizeof *self);
  if (!self) return NULL;
  self->cluster = cluster;
  self->node = node;
  /* A new incarnation looks at what its predecessor may have left (I-7). */
  self->asked = dsm_load_relaxed_u32(&dsm_space_recovery(&cluster->space)->asked) - 1;
  const dsm_space *space = &cluster->space;
  self->urgent =
      node >= 0 &&
      dsm_load_relaxed_u32(&dsm_space_participant(space, space->participant)->incarnation) > 1;
  if (self->urgent)
    dsm_store_relaxed_u32(&dsm_space_recovery(space)->scrubs[node].adopt_left, space->stripe_count);
  if (dsm_background_start(&self->background, run, self) == DSM_OK) return self;
  free(self);
  return NULL;
}

void dsm_caretaker_close(dsm_caretaker *caretaker) {
  if (!caretaker) return;
  dsm_background_stop(&caretaker->background);
  dsm_array_watch_close(&caretaker->arrays);
  free(caretaker);
}

void dsm_caretaker_serves(dsm_caretaker *caretaker, bool serves) {
  dsm_store_relaxed_u32(&caretaker->serves, serves);
}
