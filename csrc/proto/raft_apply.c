/* What committing means: entries take effect, in log order, on membership and sessions (section 6).
 *
 * Law: effects depend on the log alone. Membership changes as its entry is committed, and a change
 * is proposed only when the one before it has taken effect; hence a node whose log holds two of
 * them knows that the earlier is committed (dsm_raft_load_entry uses that), and no two majorities
 * that do not overlap can ever be asked.
 */
#include "raft_state.h"

static void leave_joint(dsm_raft *raft) {
  dsm_raft_change leave = {.transition = DSM_RAFT_LEAVE_JOINT};
  if (raft->role != DSM_RAFT_LEADER || !raft->membership.auto_leave) return;
  if (raft->applied < raft->change_index) return;
  /* Finding no room, it is tried again after the next commit. */
  (void)dsm__raft_propose_change_now(raft, &leave);
}

static void membership_switched(dsm_raft *raft) {
  if (raft->role == DSM_RAFT_FOLLOWER) return;
  if (!dsm__raft_promotable(raft)) {
    /* It led until the entry that removed it was committed (section 6), and has sent that out. */
    dsm__raft_become_follower(raft, raft->term, DSM_RAFT_NONE);
    return;
  }
  uint8_t target = raft->transfer_target;
  if (target != DSM_RAFT_NONE && !(dsm__raft_voters(&raft->membership) & dsm__raft_bit(target)))
    raft->transfer_target = DSM_RAFT_NONE;
}

static void forget_unless_member(dsm_raft *raft, uint64_t before) {
  uint64_t after = dsm__raft_members(&raft->membership);
  for (uint64_t rest = before ^ after; rest != 0; rest &= rest - 1) {
    uint32_t node = (uint32_t)__builtin_ctzll(rest);
    dsm__raft_progress_reset(&raft->progress[node], 0, raft->log.last + 1);
    raft->round_confirmed[node] = 0;
    /* A newcomer has had no chance to be heard yet. */
    raft->progress[node].recently_active = true;
  }
}

static dsm_raft_verdict apply_change(dsm_raft *raft, const dsm_raft_entry *entry) {
  dsm_raft_change change;
  if (dsm_raft_change_decode(entry->payload, entry->payload_bytes, &change) != DSM_OK)
    return DSM_RAFT_REFUSED;
  uint64_t before = dsm__raft_members(&raft->membership);
  if (dsm_raft_membership_apply(&raft->membership, &change) != DSM_OK) return DSM_RAFT_REFUSED;
  if (raft->role == DSM_RAFT_LEADER) forget_unless_member(raft, before);
  return DSM_RAFT_APPLY;
}

static bool apply_next(dsm_raft *raft) {
  dsm_raft_entry entry;
  bool there = dsm__raft_log_entry(&raft->log, raft->applied + 1, &entry);
  DSM_ASSERT(there);
  raft->applied = entry.index;
  raft->apply_last = entry.index;
  bool is_change = entry.kind == DSM_RAFT_CONFIG;
  dsm_raft_verdict verdict =
      is_change ? apply_change(raft, &entry) : dsm__raft_sessions_apply(&raft->sessions, &entry);
  dsm__raft_log_slot(&raft->log, entry.index)->verdict = (uint8_t)verdict;
  return is_change && verdict == DSM_RAFT_APPLY;
}

static bool commits_change(const dsm_raft *raft) {
  for (uint64_t at = raft->applied + 1; at <= raft->commit; at++)
    if (dsm__raft_log_slot(&raft->log, at)->kind == DSM_RAFT_CONFIG) return true;
  return false;
}

void dsm__raft_commit_to(dsm_raft *raft, uint64_t index) {
  if (index <= raft->commit) return;
  DSM_ASSERT(index <= raft->log.last);
  raft->commit = index;
  raft->commit_changed = true;
  /* Also those whom a change removes learn of the commit that lets them go. */
  if (raft->role == DSM_RAFT_LEADER && commits_change(raft))
    dsm__raft_leader_broadcast_append(raft);
  bool switched = false;
  while (raft->applied < raft->commit) switched |= apply_next(raft);
  if (switched) membership_switched(raft);
  leave_joint(raft);
}

dsm_status dsm__raft_propose_change_now(dsm_raft *raft, const dsm_raft_change *change) {
  uint8_t bytes[DSM__RAFT_CHANGE_BYTES_MAX];
  dsm_raft_entry entry = {.kind = DSM_RAFT_CONFIG, .payload = bytes};
  entry.payload_bytes = dsm_raft_change_encode(change, bytes);
  if (!dsm__raft_leader_append(raft, &entry, 1)) return DSM_STORE_FULL;
  raft->change_index = raft->log.last;
  dsm__raft_leader_broadcast_append(raft);
  return DSM_OK;
}

dsm_status dsm_raft_propose_change(dsm_raft *raft, const dsm_raft_change *change, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (raft->role != DSM_RAFT_LEADER || raft->transfer_target != DSM_RAFT_NONE) return DSM_RETRY;
  if (change->count > DSM_RAFT_CHANGES_MAX || change->transition > DSM_RAFT_LEAVE_JOINT)
    return DSM_USAGE;
  for (uint32_t i = 0; i < change->count; i++)
    if (change->steps[i].op > DSM_RAFT_REMOVE || change->steps[i].node >= DSM_RAFT_NODES_MAX)
      return DSM_USAGE;
  if (raft->applied < raft->change_index) return DSM_RETRY;
  dsm_raft_membership next = raft->membership;
  DSM_TRY(dsm_raft_membership_apply(&next, change));
  return dsm__raft_propose_change_now(raft, change);
}
