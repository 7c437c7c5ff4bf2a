/* Comparing the header with what is known of it. */
#include "vigil.h"

#include "../base/crash.h"
#include "../mem/headers.h"
#include "../mem/nodes.h"

#define EPOCH_LEAP_MAX (1ull << 20) /* no heartbeat sees so many changes of the node table */
#define SLOT_WAIT_MS 1u

static bool configuration_mended(dsm_vigil *self, const dsm_space *space) {
  dsm_control_shm *control = dsm_space_control(space);
  bool holds = dsm_headers_control_holds(control) &&
               control->config_check == dsm_config_checksum(&space->config);
  if (holds) dsm_store_relaxed_u32(&self->revealed, 1);
  if (holds || dsm_load_relaxed_u32(&self->revealed) == 0) return false;
  dsm_headers_control_write(control, &space->config);
  return true;
}

dsm_cluster_state dsm_vigil_state(const dsm_vigil *vigil, const dsm_space *space) {
  dsm_atomic_u32 *word = &dsm_space_control(space)->state;
  uint32_t state = dsm_load_acquire_u32(word);
  if (state == DSM_STATE_RUNNING || state == DSM_STATE_STARTING || state == DSM_STATE_STOPPING)
    return (dsm_cluster_state)state;
  bool stopped = dsm_load_relaxed_u32(&vigil->stopped) == 1;
  dsm_cas_acq_rel_u32(word, &state, stopped ? DSM_STATE_STOPPING : DSM_STATE_RUNNING);
  return (dsm_cluster_state)dsm_load_acquire_u32(word);
}

bool dsm_vigil_detached(const dsm_vigil *vigil, const dsm_space *space) {
  uint32_t word = dsm_load_acquire_u32(&dsm_space_control(space)->detached);
  if (word != DSM_DETACHED && word != DSM_OWNED) word = dsm_load_relaxed_u32(&vigil->detached);
  return word != DSM_OWNED;
}

static void look_at_detached(dsm_vigil *self, const dsm_space *space) {
  dsm_atomic_u32 *word = &dsm_space_control(space)->detached;
  uint32_t seen = dsm_load_acquire_u32(word), known = dsm_load_relaxed_u32(&self->detached);
  if (seen == DSM_DETACHED || seen == DSM_OWNED)
    dsm_store_relaxed_u32(&self->detached, seen);
  else if (known)
    dsm_cas_acq_rel_u32(word, &seen, known);
}

/* It only grows, so that nobody takes a segment that was replaced for the one that he has mapped.
 */
static void look_at_epoch(dsm_vigil *self, const dsm_space *space) {
  dsm_atomic_u64 *word = &dsm_space_control(space)->epoch;
  uint64_t seen = dsm_load_acquire_u64(word), known = dsm_load_relaxed_u64(&self->epoch);
  if (known && (seen < known || seen - known > EPOCH_LEAP_MAX))
    dsm_cas_acq_rel_u64(word, &seen, known + 1);
  else
    dsm_store_relaxed_u64(&self->epoch, seen);
}

/* Slots from this index on are not looked at: everybody sees to it that his own is. */
static void look_at_high(const dsm_space *space) {
  dsm_atomic_u32 *word = &dsm_space_control(space)->participants_high;
  uint32_t seen = dsm_load_acquire_u32(word);
  if (seen > DSM_PARTICIPANTS_MAX)
    dsm_cas_acq_rel_u32(word, &seen, DSM_PARTICIPANTS_MAX);
  else if (seen <= space->participant)
    dsm_cas_acq_rel_u32(word, &seen, space->participant + 1);
}

static bool ours(const dsm_vigil *self, const dsm_participant_shm *slot) {
  return dsm_load_relaxed_u32(&slot->kind) == self->kind &&
         dsm_load_relaxed_u32(&slot->incarnation) == self->incarnation &&
         dsm_load_relaxed_u32(&slot->node) == self->node &&
         dsm_load_relaxed_u32(&slot->pid) == self->self.pid &&
         dsm_load_relaxed_u64(&slot->start_ticks) == self->self.start_ticks;
}

/* By a living process, after us: then the slot is no longer ours to write. */
static bool taken(const dsm_vigil *self, const dsm_participant_shm *slot) {
  dsm_os_process other = {.pid = dsm_load_relaxed_u32(&slot->pid),
                          .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  return kind >= DSM_PARTICIPANT_OWNER && kind <= DSM_PARTICIPANT_FORKING &&
         dsm_load_relaxed_u32(&slot->incarnation) != self->incarnation &&
         dsm_os_process_alive(&other);
}

static void look_at_slot(dsm_vigil *self, dsm_space *space) {
  dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  if (self->kind == DSM_PARTICIPANT_FREE) {
    dsm_os_process_self(&self->self);
    self->incarnation = dsm_load_relaxed_u32(&slot->incarnation);
    self->node = dsm_load_relaxed_u32(&slot->node);
    self->kind = dsm_load_acquire_u32(&slot->kind);
    return;
  }
  if (ours(self, slot)) return;
  dsm_call call = dsm_call_make(space, SLOT_WAIT_MS);
  if (dsm_registry_take(&call) != DSM_OK) return;
  if (!taken(self, slot)) {
    dsm_store_relaxed_u32(&slot->pid, self->self.pid);
    dsm_store_relaxed_u64(&slot->start_ticks, self->self.start_ticks);
    dsm_store_relaxed_u32(&slot->node, self->node);
    dsm_store_relaxed_u32(&slot->incarnation, self->incarnation);
    dsm_store_relaxed_u32(&slot->ready, 1);
    DSM_CRASH_POINT("vigil.slot");
    dsm_store_release_u32(&slot->kind, self->kind);
  }
  dsm_registry_drop(&call);
}

void dsm_vigil_look(dsm_vigil *vigil, dsm_space *space) {
  if (configuration_mended(vigil, space)) DSM_CRASH_POINT("vigil.configuration");
  if (dsm_load_relaxed_u32(&vigil->revealed) == 0) return;
  dsm_vigil_state(vigil, space);
  look_at_detached(vigil, space);
  look_at_epoch(vigil, space);
  look_at_slot(vigil, space);
  look_at_high(space);
}
