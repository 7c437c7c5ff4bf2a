/* Who is keeper, and what a verdict leads to. */
#include "keeper.h"

#include "../base/crash.h"
#include "report.h"

bool dsm_keeper_absent(const dsm_space *space, uint32_t node) {
  const dsm_participant_shm *slot = dsm_space_participant(space, 1 + node);
  return dsm_load_acquire_u32(&slot->kind) != DSM_PARTICIPANT_NODE ||
         dsm_report_dead(space, 1 + node, dsm_load_relaxed_u32(&slot->incarnation));
}

static bool silent(const dsm_space *space, const dsm_peers *peers, uint32_t participant) {
  const dsm_participant_shm *slot = dsm_space_participant(space, participant);
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  return dsm_peers_verdict(peers, participant, incarnation) != DSM_PEER_ALIVE;
}

static bool owned(const dsm_space *space) {
  return dsm_load_acquire_u32(&dsm_space_participant(space, 0)->kind) == DSM_PARTICIPANT_OWNER;
}

static bool lowest(const dsm_space *space, const dsm_peers *peers) {
  for (uint32_t node = 0; node < DSM_NODES_MAX; node++) {
    if (1 + node == space->participant) return true;
    if (!dsm_keeper_absent(space, node) && !silent(space, peers, 1 + node)) return false;
  }
  return false;
}

bool dsm_keeper_judges(const dsm_space *space, const dsm_peers *peers) {
  if (space->participant == 0) return true;
  return (!owned(space) || silent(space, peers, 0)) && lowest(space, peers);
}

bool dsm_keeper_serves(const dsm_space *space, const dsm_peers *peers) {
  if (space->participant == 0) return true;
  return !owned(space) && lowest(space, peers);
}

/* A beat that is this fresh is nobody's opinion: all observers will agree. */
static bool heard(const dsm_space *space, const dsm_participant_shm *slot) {
  uint64_t beat_ns = dsm_load_relaxed_u64(&slot->beat_ns), now_ns = dsm_os_monotonic_ns();
  return now_ns < beat_ns + space->config.detection.heartbeat_ms * 2000000ull;
}

void dsm_keeper_hear(dsm_call *call) {
  const dsm_space *space = call->space;
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  for (uint32_t i = 1; i <= DSM_NODES_MAX && i < high; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
    if (dsm_load_acquire_u32(&slot->kind) == DSM_PARTICIPANT_NODE &&
        dsm_report_suspected(space, i, incarnation) && heard(space, slot))
      dsm_report_suspicion(call, i, incarnation, false);
  }
}

static bool traced(const dsm_participant_shm *slot) {
  dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                            .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
  return dsm_os_process_state(&process) == 't';
}

/* A record that cannot be made now (the hung one may have the ring's lock) must not save it. */
static void fence(dsm_call *call, uint32_t participant, uint32_t incarnation, int descriptor) {
  dsm_report_fence(call, participant, incarnation);
  DSM_CRASH_POINT("keeper.recorded");
  dsm_report_strike(call->space, participant, DSM_FINDING_HEARTBEAT);
  DSM_CRASH_POINT("keeper.striking");
  dsm_os_process_signal(descriptor, DSM_OS_SIGNAL_KILL);
  DSM_CRASH_POINT("keeper.struck");
}

void dsm_keeper_judge(dsm_call *call, const dsm_peers *peers, const dsm_watch *watch) {
  dsm_space *space = call->space;
  for (uint32_t i = 1; i <= DSM_NODES_MAX; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    const dsm_watched *watched = &watch->participants[i];
    uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
    if (i == space->participant || watched->descriptor < 0 || watched->incarnation != incarnation)
      continue;
    dsm_peer_state verdict = dsm_peers_verdict(peers, i, incarnation);
    dsm_report_suspicion(call, i, incarnation, verdict != DSM_PEER_ALIVE);
    if (verdict == DSM_PEER_DEAD && !traced(slot)) fence(call, i, incarnation, watched->descriptor);
  }
}
