/* The state of a node as others may see it, and the relations that hold in it between two inputs.
 *
 * Law: nothing here changes anything.
 */
#include "raft_state.h"

void dsm_raft_state_get(const dsm_raft *raft, dsm_raft_state *out) {
  *out = (dsm_raft_state){
      .term = raft->term,
      .commit = raft->commit,
      .applied = raft->applied,
      .first_index = raft->log.first,
      .last_index = raft->log.last,
      .last_term = dsm__raft_log_last_term(&raft->log),
      .election_at = raft->election_at,
      .membership = raft->membership,
      .vote = raft->vote,
      .leader = raft->leader,
      .role = raft->role,
      .transfer_target = raft->transfer_target,
  };
}

bool dsm_raft_entry_at(const dsm_raft *raft, uint64_t index, dsm_raft_entry *out) {
  return dsm__raft_log_entry(&raft->log, index, out);
}

bool dsm_raft_term_at(const dsm_raft *raft, uint64_t index, uint64_t *out) {
  return dsm__raft_log_term(&raft->log, index, out);
}

bool dsm_raft_peer_get(const dsm_raft *raft, uint8_t node, dsm_raft_peer *out) {
  if (raft->role != DSM_RAFT_LEADER || node >= DSM_RAFT_NODES_MAX) return false;
  if (!(dsm__raft_members(&raft->membership) & dsm__raft_bit(node))) return false;
  const dsm__raft_progress *p = &raft->progress[node];
  *out = (dsm_raft_peer){
      .match = p->match,
      .next = p->next,
      .inflight_count = p->inflight_count,
      .mode = p->mode,
      .recently_active = p->recently_active,
      .paused = dsm__raft_progress_is_paused(p),
  };
  return true;
}

static bool leader_valid(const dsm_raft *raft) {
  if (raft->leader != raft->config.node || raft->vote != raft->config.node) return false;
  for (uint32_t i = 0; i < DSM_RAFT_NODES_MAX; i++) {
    const dsm__raft_progress *p = &raft->progress[i];
    if (p->match >= p->next || p->match > raft->log.last) return false;
    if (p->inflight_count > raft->config.inflight_max) return false;
  }
  return dsm__raft_log_last_term(&raft->log) == raft->term;
}

bool dsm_raft_valid(const dsm_raft *raft) {
  if (!dsm__raft_log_valid(&raft->log) || !dsm__raft_sessions_valid(&raft->sessions)) return false;
  if (!dsm__raft_membership_valid(&raft->membership)) return false;
  if (raft->applied != raft->commit || raft->commit > raft->log.last) return false;
  if (raft->snapshot.index > raft->commit) return false;
  if (raft->log.first - 1 > raft->snapshot.index) return false;
  if (dsm__raft_log_last_term(&raft->log) > raft->term) return false;
  if (raft->role != DSM_RAFT_LEADER)
    return raft->read_count == 0 && raft->transfer_target == DSM_RAFT_NONE;
  return leader_valid(raft);
}
