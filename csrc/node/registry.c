/* Joining, leaving and retiring participants. */
#include "registry.h"

#include "../base/crash.h"
#include "../mem/arena.h"
#include "../mem/nodes.h"
#include "../mem/pin.h"
#include "../mem/sync.h"
#include "../store/array_session.h"
#include "../store/bell.h"
#include "../store/claim.h"
#include "../store/cut.h"
#include "../store/route.h"
#include "../store/stripe.h"
#include "report.h"

static dsm_os_process identity(const dsm_participant_shm *slot) {
  return (dsm_os_process){.pid = dsm_load_relaxed_u32(&slot->pid),
                          .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
}

static dsm_status back_pins(dsm_call *call, uint32_t participant) {
  dsm_status status = dsm_os_segment_back(
      &call->space->control, call->space->layout.pins + (uint64_t)participant * DSM_PINS_MAX * 8,
      DSM_PINS_MAX * 8);
  return status == DSM_STORE_FULL
             ? dsm_fail(call, status, "no room for a pin table", -1, -1, DSM_PINS_MAX * 8, 0)
             : status;
}

static void fill(dsm_space *space, uint32_t participant, dsm_participant_kind kind, int node) {
  dsm_participant_shm *slot = dsm_space_participant(space, participant);
  dsm_os_process self;
  dsm_os_process_self(&self);
  dsm_store_relaxed_u32(&slot->pid, self.pid);
  dsm_store_relaxed_u64(&slot->start_ticks, self.start_ticks);
  dsm_store_relaxed_u32(&slot->node, node < 0 ? DSM_NOBODY : (uint32_t)node);
  dsm_store_relaxed_u32(&slot->ready, 0);
  dsm_store_relaxed_u32(&slot->beating, 0);
  dsm_store_relaxed_u32(&slot->struck_why, 0);
  dsm_store_relaxed_u32(&slot->repaired, 0);
  for (unsigned i = 0; i < 2; i++) dsm_store_relaxed_u32(&slot->threads[i], 0);
  dsm_store_relaxed_u64(&slot->beat_ns, dsm_os_monotonic_ns());
  dsm_fetch_add_relaxed_u32(&slot->incarnation, 1);
  DSM_CRASH_POINT("registry.filled");
  dsm_store_release_u32(&slot->kind, kind);
}

uint64_t dsm_registry_door(const dsm_space *space, uint32_t participant) {
  return space->config.cluster_id + participant * 0x9E3779B97F4A7C15ull;
}

void dsm_registry_knock(const dsm_space *space) {
  uint64_t doors[1 + DSM_NODES_MAX];
  unsigned count = 0;
  for (uint32_t i = 0; i <= DSM_NODES_MAX; i++) {
    uint32_t kind = dsm_load_acquire_u32(&dsm_space_participant(space, i)->kind);
    bool serves = kind == DSM_PARTICIPANT_OWNER || kind == DSM_PARTICIPANT_NODE;
    if (serves && i != space->participant) doors[count++] = dsm_registry_door(space, i);
  }
  dsm_os_door_knock(doors, count);
}

static void raise_high(dsm_space *space, uint32_t participant) {
  dsm_atomic_u32 *high = &dsm_space_control(space)->participants_high;
  if (dsm_load_relaxed_u32(high) < participant + 1) dsm_store_release_u32(high, participant + 1);
}

/* A free slot for a client; slots of the dead are freed on the way if there is no other. */
static dsm_status find_slot(dsm_call *call, uint32_t *participant) {
  for (uint32_t i = DSM_CLIENTS_FIRST; i < DSM_PARTICIPANTS_MAX; i++)
    if (dsm_load_acquire_u32(&dsm_space_participant(call->space, i)->kind) ==
        DSM_PARTICIPANT_FREE) {
      *participant = i;
      return DSM_OK;
    }
  return dsm_fail(call, DSM_TOO_MANY, "attached processes", -1, -1,
                  DSM_PARTICIPANTS_MAX - DSM_CLIENTS_FIRST, 0);
}

/* A node that is started again takes the slot of its dead process, whether somebody has retired it
 * or not: what that one pinned is let go, and no second process may live in it. */
static dsm_status take_over(dsm_call *call, uint32_t participant, int node) {
  const dsm_participant_shm *slot = dsm_space_participant(call->space, participant);
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  dsm_os_process process = identity(slot);
  if (kind == DSM_PARTICIPANT_FREE) return DSM_OK;
  if (kind != DSM_PARTICIPANT_DEAD && dsm_os_process_alive(&process))
    return dsm_fail(call, DSM_USAGE, "node has a living process", node, -1, process.pid, 0);
  dsm_report_death(call, participant, dsm_load_relaxed_u32(&slot->incarnation), 0);
  DSM_CRASH_POINT("registry.taking");
  dsm_pin_clear(call->space, participant);
  /* What cannot be taken from it now is taken by those who wait for it (dsm_sync_watch). */
  dsm_sync_bury_all(call, participant, dsm_load_relaxed_u32(&slot->incarnation), true);
  return DSM_OK;
}

dsm_status dsm_registry_join(dsm_call *call, dsm_participant_kind kind, int node,
                             uint32_t *participant) {
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = DSM_OK;
  if (kind == DSM_PARTICIPANT_OWNER)
    *participant = 0;
  else if (kind == DSM_PARTICIPANT_NODE)
    *participant = 1 + (uint32_t)node;
  else
    status = find_slot(call, participant);
  if (kind == DSM_PARTICIPANT_NODE) status = take_over(call, *participant, node);
  if (status == DSM_OK) status = back_pins(call, *participant);
  if (status == DSM_OK) {
    raise_high(call->space, *participant);
    fill(call->space, *participant, kind, node);
  }
  dsm_registry_drop(call);
  if (status == DSM_OK) dsm_registry_knock(call->space);
  return status;
}

void dsm_registry_adopt(dsm_space *space, uint32_t participant) {
  fill(space, participant, DSM_PARTICIPANT_CLIENT, -1);
}

/* A node that ends while the cluster wants it has failed, however orderly its process ends. */
static bool deserts(dsm_call *call, const dsm_participant_shm *slot) {
  dsm_node_entry entry;
  uint32_t node = dsm_load_relaxed_u32(&slot->node);
  if (dsm_load_relaxed_u32(&slot->kind) != DSM_PARTICIPANT_NODE ||
      dsm_load_relaxed_u32(&dsm_space_control(call->space)->state) != DSM_STATE_RUNNING)
    return false;
  return dsm_nodes_read(call, node, &entry) != DSM_OK ||
         (entry.state != DSM_NODE_LEAVING && entry.state != DSM_NODE_FREE);
}

dsm_status dsm_registry_leave(dsm_call *call) {
  uint32_t self = call->space->participant;
  const dsm_participant_shm *slot = dsm_space_participant(call->space, self);
  dsm_pin_clear(call->space, self);
  /* A slot that still holds something stays: whoever retires this process frees it. */
  DSM_TRY(dsm_sync_bury_all(call, self, dsm_load_relaxed_u32(&slot->incarnation), false));
  DSM_CRASH_POINT("registry.leave");
  bool failed = deserts(call, slot);
  if (failed) dsm_report_death(call, self, dsm_load_relaxed_u32(&slot->incarnation), 0);
  dsm_store_release_u32(&dsm_space_participant(call->space, self)->kind,
                        failed ? DSM_PARTICIPANT_DEAD : DSM_PARTICIPANT_FREE);
  return DSM_OK;
}

/* Repairs every lock whose latest owner was the dead participant and that is not held by others. */
static dsm_status repair_held(dsm_call *call, uint32_t participant) {
  dsm_space *space = call->space;
  dsm_status first = DSM_OK;
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    if (dsm_load_relaxed_u32(&dsm_space_lock(space, stripe)->owner) != participant + 1) continue;
    dsm_route route;
    dsm_status status = dsm_stripe_take(call, stripe, &route);
    if (status == DSM_OK) dsm_stripe_drop(call, stripe, &route);
    if (status != DSM_OK && first == DSM_OK) first = status;
  }
  for (uint32_t node = 0; node < space->node_count; node++) {
    if (!dsm_space_present(space, node)) continue;
    if (dsm_load_relaxed_u32(&dsm_space_node_lock(space, node)->owner) != participant + 1) continue;
    dsm_status status = dsm_arena_repair(call, node);
    if (status != DSM_OK && first == DSM_OK) first = status;
  }
  dsm_status status = dsm_claims_repair(call, participant);
  dsm_bell_ring_all(space); /* who waits for something that the dead one had looks at once */
  return first == DSM_OK ? status : first;
}

dsm_status dsm_registry_retire(dsm_call *call, uint32_t participant, bool *retired) {
  dsm_participant_shm *slot = dsm_space_participant(call->space, participant);
  *retired = false;
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  dsm_os_process process = identity(slot);
  if (kind == DSM_PARTICIPANT_FREE || kind == DSM_PARTICIPANT_DEAD ||
      dsm_os_process_alive(&process))
    return DSM_OK;
  dsm_report_death(call, participant, incarnation, 0);
  /* Before the registry lock: repairs may wait, and joining must not wait with them. A stripe that
   * cannot be repaired now is repaired by its next taker, so the outcome does not matter here. What
   * the dead held by name is taken from it first: somebody may be waiting. */
  dsm_status buried = dsm_sync_bury_all(call, participant, incarnation, true);
  DSM_CRASH_POINT("registry.buried");
  repair_held(call, participant);
  DSM_CRASH_POINT("registry.repaired");
  dsm_array_release_dead(call);
  dsm_cut_bury(call);
  dsm_report_repair(call, participant, incarnation);
  DSM_TRY(dsm_registry_take(call));
  /* A slot must not be taken anew while something is still held in its name. */
  if (buried == DSM_OK && dsm_load_acquire_u32(&slot->kind) == kind &&
      dsm_load_relaxed_u32(&slot->incarnation) == incarnation) {
    dsm_pin_clear(call->space, participant);
    DSM_CRASH_POINT("registry.unpinned");
    bool kept = kind == DSM_PARTICIPANT_NODE || kind == DSM_PARTICIPANT_OWNER;
    dsm_store_release_u32(&slot->kind, kept ? DSM_PARTICIPANT_DEAD : DSM_PARTICIPANT_FREE);
    *retired = true;
  }
  dsm_registry_drop(call);
  return DSM_OK;
}

void dsm_registry_lives(const dsm_space *space, unsigned thread) {
  dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  dsm_store_release_u32(&slot->threads[thread], dsm_os_thread_number());
}

void dsm_registry_rests(const dsm_space *space, unsigned thread) {
  dsm_store_release_u32(&dsm_space_participant(space, space->participant)->threads[thread], 0);
}

bool dsm_registry_ended(const dsm_space *space, uint32_t participant) {
  dsm_os_process process = identity(dsm_space_participant(space, participant));
  return !dsm_os_process_alive(&process);
}

bool dsm_participant_read(const dsm_space *space, uint32_t index, dsm_participant_info *out) {
  if (index >= DSM_PARTICIPANTS_MAX) return false;
  const dsm_participant_shm *slot = dsm_space_participant(space, index);
  *out = (dsm_participant_info){.kind = dsm_load_acquire_u32(&slot->kind),
                                .incarnation = dsm_load_relaxed_u32(&slot->incarnation),
                                .pid = dsm_load_relaxed_u32(&slot->pid),
                                .node = dsm_load_relaxed_u32(&slot->node),
                                .ready = dsm_load_relaxed_u32(&slot->ready),
                                .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks),
                                .beat_ns = dsm_load_relaxed_u64(&slot->beat_ns),
                                .died_ns = dsm_load_relaxed_u64(&slot->died_ns)};
  if (out->kind == DSM_PARTICIPANT_FREE) return false;
  out->pins = dsm_pin_count(space, index);
  return true;
}

uint64_t dsm_node_objects(const dsm_space *space, unsigned node) {
  uint64_t objects = 0;
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    bool ok;
    dsm_route route;
    uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, stripe));
    /* Parts of a move under way are not the node's yet, or not any more. */
    if (dsm_strays_read(space, stripe) >> node & 1 && dsm_route_decode(word, stripe, &route) &&
        !dsm_route_names(&route, node))
      continue;
    const dsm_atomic_u64 *used = &dsm_space_sub(space, node, stripe)->used;
    objects +=
        dsm_unseal(dsm_load_relaxed_u64(used), dsm_space_locator(space, node + 1, used), &ok) >> 22;
  }
  return objects;
}
