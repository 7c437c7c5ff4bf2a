/* Snapshots: taking one, compacting the log behind it, sending and receiving it (section 7).
 *
 * A snapshot here is what the core owns of it: index, term, membership, sessions. The application's
 * state at the same index belongs to the driver, who sends it along and stores it with it.
 *
 * Law: snapshot.index <= commit, and log.first - 1 <= snapshot.index, so that whatever is compacted
 * can be had from the snapshot.
 */
#include "raft_state.h"

#include <string.h>

const dsm_raft_snapshot *dsm_raft_last_snapshot(const dsm_raft *raft) {
  return &raft->snapshot;
}

static void keep(dsm_raft *raft, const dsm_raft_snapshot *snapshot) {
  raft->snapshot = *snapshot;
  raft->snapshot.sessions = raft->snapshot_sessions;
  if (snapshot->session_count > 0)
    memmove(raft->snapshot_sessions, snapshot->sessions,
            snapshot->session_count * sizeof *snapshot->sessions);
}

dsm_status dsm_raft_take_snapshot(dsm_raft *raft, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (raft->applied <= raft->snapshot.index) return DSM_OK;
  dsm_raft_snapshot taken = {
      .index = raft->applied,
      .membership = raft->membership,
      .sessions = raft->sessions.table,
      .session_count = raft->sessions.count,
  };
  bool there = dsm__raft_log_term(&raft->log, raft->applied, &taken.term);
  DSM_ASSERT(there);
  keep(raft, &taken);
  raft->snapshot_changed = true;
  return DSM_OK;
}

dsm_status dsm_raft_compact(dsm_raft *raft, uint64_t index) {
  if (index > raft->snapshot.index) return DSM_USAGE;
  dsm__raft_log_compact(&raft->log, index);
  return DSM_OK;
}

bool dsm__raft_snapshot_send(dsm_raft *raft, uint8_t node) {
  dsm__raft_progress *p = &raft->progress[node];
  if (!p->recently_active || raft->snapshot.index == 0) return false;
  dsm_raft_message message = {
      .kind = DSM_RAFT_SNAPSHOT,
      .target = node,
      .term = raft->term,
      .index = raft->snapshot.index,
      .log_term = raft->snapshot.term,
      .snapshot = &raft->snapshot,
  };
  /* Others may install it, so it must be one that this node cannot lose. */
  if (!dsm__raft_send_durable(raft, &message)) return false;
  dsm__raft_progress_snapshot(p, raft->snapshot.index, raft->now);
  return true;
}

dsm_status dsm_raft_report_snapshot(dsm_raft *raft, uint8_t node, bool arrived, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (node >= DSM_RAFT_NODES_MAX) return DSM_USAGE;
  if (raft->role != DSM_RAFT_LEADER) return DSM_OK;
  dsm__raft_progress *p = &raft->progress[node];
  if (p->mode != DSM_RAFT_SENDING_SNAPSHOT) return DSM_OK;
  if (!arrived) p->snapshot_index = 0;
  dsm__raft_progress_probe(p);
  /* Its acknowledgement, or the next heartbeat's, starts the probing. */
  p->paused = true;
  return DSM_OK;
}

bool dsm__raft_snapshot_acceptable(const dsm_raft *raft, const dsm_raft_snapshot *snapshot) {
  if (snapshot->session_count > raft->sessions.capacity) return false;
  if (!dsm__raft_membership_valid(&snapshot->membership)) return false;
  dsm__raft_sessions received = {.table = (dsm_raft_session *)snapshot->sessions,
                                 .count = snapshot->session_count,
                                 .capacity = raft->sessions.capacity};
  return dsm__raft_sessions_valid(&received);
}

void dsm__raft_snapshot_install(dsm_raft *raft, const dsm_raft_snapshot *snapshot) {
  keep(raft, snapshot);
  raft->membership = snapshot->membership;
  raft->sessions.count = snapshot->session_count;
  if (snapshot->session_count > 0)
    memcpy(raft->sessions.table, raft->snapshot_sessions,
           snapshot->session_count * sizeof *raft->sessions.table);
  raft->commit = snapshot->index;
  raft->applied = snapshot->index;
}

dsm_status dsm__raft_snapshot_receive(dsm_raft *raft, const dsm_raft_message *m) {
  const dsm_raft_snapshot *snapshot = m->snapshot;
  if (!dsm__raft_snapshot_acceptable(raft, snapshot)) return DSM_CORRUPT;
  uint64_t term;
  if (snapshot->index > raft->commit) {
    if (dsm__raft_log_term(&raft->log, snapshot->index, &term) && term == snapshot->term) {
      /* Everything in it is in the log already. */
      dsm__raft_commit_to(raft, snapshot->index);
    } else {
      dsm__raft_log_reset(&raft->log, snapshot->index, snapshot->term);
      dsm__raft_snapshot_install(raft, snapshot);
      raft->persist_first = snapshot->index + 1;
      raft->snapshot_changed = true;
      raft->snapshot_restored = true;
      raft->commit_changed = true;
      raft->apply_first = snapshot->index + 1;
      raft->apply_last = snapshot->index;
    }
  }
  dsm__raft_send_durable(raft, &(dsm_raft_message){.kind = DSM_RAFT_APPEND_REPLY,
                                                   .target = m->source,
                                                   .term = raft->term,
                                                   .index = raft->commit});
  return DSM_OK;
}
