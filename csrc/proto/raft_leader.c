/* What a leader does: replicates, commits, hands over (sections 5.3, 5.4; dissertation 3.10, 6.2).
 *
 * Law: a leader appends, and never cuts, its log; it commits by counting only entries of its own
 * term; it counts itself like a follower, by its own acknowledgement after its disk's.
 */
#include "raft_state.h"

static uint64_t peers(const dsm_raft *raft) {
  return dsm__raft_members(&raft->membership) & ~dsm__raft_bit(raft->config.node);
}

/* Whether an entry of this term is committed: only then does a leader know all that is (8). */
bool dsm__raft_leader_owns_commit(const dsm_raft *raft) {
  uint64_t term;
  return dsm__raft_log_term(&raft->log, raft->commit, &term) && term == raft->term;
}

void dsm__raft_become_leader(dsm_raft *raft) {
  dsm_raft_entry empty = {.kind = DSM_RAFT_EMPTY};
  if (!dsm__raft_log_fits(&raft->log, &empty, 1, 0)) {
    /* Without its empty entry it could commit nothing; another node may have compacted more. */
    dsm__raft_become_follower(raft, raft->term, DSM_RAFT_NONE);
    return;
  }
  dsm__raft_reset_role(raft, raft->term);
  raft->role = DSM_RAFT_LEADER;
  raft->leader = raft->config.node;
  raft->lease_fenced = false;
  raft->round = 0;
  for (uint32_t i = 0; i < DSM_RAFT_NODES_MAX; i++) {
    raft->round_confirmed[i] = 0;
    dsm__raft_progress_reset(&raft->progress[i], 0, raft->log.last + 1);
  }
  /* Its vote for itself was durable before it counted, and its log is as it was then. */
  dsm__raft_progress *own = &raft->progress[raft->config.node];
  dsm__raft_progress_reset(own, raft->log.last, raft->log.last + 1);
  own->recently_active = true;
  raft->heartbeat_at = raft->now + raft->config.heartbeat_us;
  raft->quorum_check_at = raft->now + raft->config.election_timeout_us;
  raft->promised_until = raft->quorum_check_at;
  /* A membership change may be among the entries whose fate is not known yet. */
  raft->change_index = raft->log.last;
  dsm__raft_leader_append(raft, &empty, 1);
  dsm__raft_leader_broadcast_append(raft);
}

bool dsm__raft_leader_append(dsm_raft *raft, dsm_raft_entry *entries, uint32_t count) {
  if (!dsm__raft_log_fits(&raft->log, entries, count, 0)) return false;
  for (uint32_t i = 0; i < count; i++) {
    entries[i].index = raft->log.last + 1;
    entries[i].term = raft->term;
    bool room = dsm__raft_log_append(&raft->log, &entries[i]);
    DSM_ASSERT(room);
    if (raft->persist_first == 0) raft->persist_first = raft->log.last;
  }
  raft->self_acknowledge = raft->log.last;
  return true;
}

static uint32_t entries_to_send(const dsm_raft *raft, const dsm__raft_progress *p) {
  const dsm_raft_config *config = &raft->config;
  if (p->mode == DSM_RAFT_REPLICATE && p->inflight_count >= config->inflight_max) return 0;
  uint32_t count = 0;
  uint64_t bytes = 0;
  for (uint64_t index = p->next; index <= raft->log.last; index++) {
    bytes += dsm__raft_log_slot(&raft->log, index)->payload_bytes;
    /* One entry always goes, however large. */
    if (count > 0 && bytes > config->payload_bytes_per_message_max) break;
    if (++count == config->entries_per_message_max) break;
  }
  return count;
}

bool dsm__raft_leader_send_append(dsm_raft *raft, uint8_t node, bool even_if_empty) {
  dsm__raft_progress *p = &raft->progress[node];
  if (dsm__raft_progress_is_paused(p)) return false;
  uint64_t previous = p->next - 1;
  uint64_t previous_term;
  if (!dsm__raft_log_term(&raft->log, previous, &previous_term))
    return dsm__raft_snapshot_send(raft, node);
  uint32_t count = entries_to_send(raft, p);
  uint64_t tells_commit = raft->commit < previous + count ? raft->commit : previous + count;
  if (count == 0 && !even_if_empty && tells_commit <= p->sent_commit) return false;
  dsm_raft_message append = {
      .kind = DSM_RAFT_APPEND,
      .target = node,
      .term = raft->term,
      .index = previous,
      .log_term = previous_term,
      .commit = raft->commit,
      .entry_count = count,
  };
  if (!dsm__raft_send(raft, &append)) return false;
  dsm__raft_progress_sent(p, previous + count, count, raft->config.inflight_max);
  p->sent_commit = tells_commit;
  return true;
}

void dsm__raft_leader_broadcast_append(dsm_raft *raft) {
  for (uint64_t rest = peers(raft); rest != 0; rest &= rest - 1)
    dsm__raft_leader_send_append(raft, (uint8_t)__builtin_ctzll(rest), false);
}

void dsm__raft_leader_broadcast_heartbeat(dsm_raft *raft) {
  raft->round++;
  raft->round_sent_at[raft->round % DSM__RAFT_ROUNDS_KEPT] = raft->now;
  raft->round_confirmed[raft->config.node] = raft->round;
  for (uint64_t rest = peers(raft); rest != 0; rest &= rest - 1) {
    uint8_t node = (uint8_t)__builtin_ctzll(rest);
    dsm__raft_progress *p = &raft->progress[node];
    uint64_t commit = p->match < raft->commit ? p->match : raft->commit;
    dsm__raft_send(raft, &(dsm_raft_message){.kind = DSM_RAFT_HEARTBEAT,
                                             .target = node,
                                             .term = raft->term,
                                             .commit = commit,
                                             .context = raft->round});
  }
}

static bool may_commit(const dsm_raft *raft, uint64_t *index) {
  uint64_t match[DSM_RAFT_NODES_MAX];
  uint64_t voters = dsm__raft_voters(&raft->membership);
  for (uint64_t rest = voters; rest != 0; rest &= rest - 1) {
    uint32_t node = (uint32_t)__builtin_ctzll(rest);
    match[node] = raft->progress[node].match;
  }
  dsm_quorum quorum = dsm__raft_quorum(&raft->membership);
  *index = dsm_quorum_committed(&quorum, match);
  uint64_t term;
  if (*index <= raft->commit) return false;
  /* An older term's entry on a majority can still be lost: section 5.4.2, figure 8. */
  return dsm__raft_log_term(&raft->log, *index, &term) && term == raft->term;
}

void dsm__raft_leader_maybe_commit(dsm_raft *raft) {
  bool first = !dsm__raft_leader_owns_commit(raft);
  uint64_t index;
  bool advanced = false;
  /* A change of membership changes what a majority is, so more may be committed after it. */
  while (raft->role == DSM_RAFT_LEADER && may_commit(raft, &index)) {
    dsm__raft_commit_to(raft, index);
    advanced = true;
  }
  if (!advanced || raft->role != DSM_RAFT_LEADER) return;
  dsm__raft_leader_broadcast_append(raft);
  if (first) dsm__raft_read_first_commit(raft);
}

static void hand_over_if_ready(dsm_raft *raft, uint8_t node) {
  if (raft->transfer_target != node || raft->progress[node].match != raft->log.last) return;
  /* From now on another node may lead without waiting for promises: leases end with this term. */
  raft->lease_fenced = true;
  dsm__raft_send(
      raft, &(dsm_raft_message){.kind = DSM_RAFT_TIMEOUT_NOW, .target = node, .term = raft->term});
}

static void take_refusal(dsm_raft *raft, const dsm_raft_message *m) {
  dsm__raft_progress *p = &raft->progress[m->source];
  uint64_t hint = m->hint;
  if (m->log_term > 0) {
    /* The follower's term there rules out every entry of ours with a greater one. */
    uint64_t from = hint < raft->log.last ? hint : raft->log.last;
    uint64_t term;
    hint = dsm__raft_log_agreement(&raft->log, from, m->log_term, &term);
  }
  if (dsm__raft_progress_refused(p, m->index, hint))
    dsm__raft_leader_send_append(raft, m->source, true);
}

static void take_acknowledgement(dsm_raft *raft, const dsm_raft_message *m) {
  dsm__raft_progress *p = &raft->progress[m->source];
  bool known = m->index == p->match && p->mode == DSM_RAFT_PROBE;
  if (m->index > raft->log.last) return; /* never written by this leader: damaged or forged */
  if (!dsm__raft_progress_matched(p, m->index, raft->config.inflight_max) && !known) return;
  bool snapshot_done = p->mode == DSM_RAFT_SENDING_SNAPSHOT && p->match + 1 >= raft->log.first;
  if (p->mode == DSM_RAFT_PROBE || snapshot_done) dsm__raft_progress_replicate(p);
  dsm__raft_leader_maybe_commit(raft);
  if (raft->role != DSM_RAFT_LEADER || !(peers(raft) & dsm__raft_bit(m->source))) return;
  /* The window may have opened for more than one message. */
  while (dsm__raft_leader_send_append(raft, m->source, false)) {
  }
  hand_over_if_ready(raft, m->source);
}

static void take_heartbeat_reply(dsm_raft *raft, const dsm_raft_message *m) {
  dsm__raft_progress *p = &raft->progress[m->source];
  if (p->mode == DSM_RAFT_SENDING_SNAPSHOT) {
    /* It lives and has not answered: the snapshot, or the answer, is taken for lost. */
    if (raft->now - p->snapshot_sent_at >= raft->config.election_timeout_us)
      dsm__raft_progress_probe(p);
  } else {
    p->paused = false;
  }
  if (p->match < raft->log.last || p->mode == DSM_RAFT_PROBE)
    dsm__raft_leader_send_append(raft, m->source, true);
  if (m->context > raft->round || m->context <= raft->round_confirmed[m->source]) return;
  raft->round_confirmed[m->source] = m->context;
  dsm__raft_read_round_confirmed(raft);
}

void dsm__raft_leader_step(dsm_raft *raft, const dsm_raft_message *m) {
  if (m->kind == DSM_RAFT_READ_INDEX) {
    dsm__raft_read_request(raft, m->source, m->context);
    return;
  }
  /* A node that is no longer a member has no progress to record. */
  if (!(dsm__raft_members(&raft->membership) & dsm__raft_bit(m->source))) return;
  raft->progress[m->source].recently_active = true;
  if (m->kind == DSM_RAFT_APPEND_REPLY && m->reject)
    take_refusal(raft, m);
  else if (m->kind == DSM_RAFT_APPEND_REPLY)
    take_acknowledgement(raft, m);
  else if (m->kind == DSM_RAFT_HEARTBEAT_REPLY)
    take_heartbeat_reply(raft, m);
}

/* A leader that has not heard from a majority for an election time-out steps down (6.2). */
static bool still_has_quorum(dsm_raft *raft) {
  uint64_t active = dsm__raft_bit(raft->config.node);
  for (uint32_t i = 0; i < DSM_RAFT_NODES_MAX; i++) {
    if (raft->progress[i].recently_active) active |= UINT64_C(1) << i;
    if (i != raft->config.node) raft->progress[i].recently_active = false;
  }
  dsm_quorum quorum = dsm__raft_quorum(&raft->membership);
  return dsm_quorum_reached(&quorum, active);
}

void dsm__raft_leader_tick(dsm_raft *raft) {
  if (raft->transfer_target != DSM_RAFT_NONE && raft->now >= raft->transfer_until)
    raft->transfer_target = DSM_RAFT_NONE;
  if (raft->now >= raft->quorum_check_at) {
    if (raft->config.check_quorum && !still_has_quorum(raft)) {
      dsm__raft_become_follower(raft, raft->term, DSM_RAFT_NONE);
      return;
    }
    raft->quorum_check_at = raft->now + raft->config.election_timeout_us;
    raft->promised_until = raft->quorum_check_at;
  }
  if (raft->now < raft->heartbeat_at) return;
  raft->heartbeat_at = raft->now + raft->config.heartbeat_us;
  dsm__raft_leader_broadcast_heartbeat(raft);
}

dsm_status dsm_raft_propose(dsm_raft *raft, dsm_raft_entry *entries, uint32_t count, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (raft->role != DSM_RAFT_LEADER || raft->transfer_target != DSM_RAFT_NONE) return DSM_RETRY;
  /* A leader that was removed lets its successor take what comes. */
  if (!(dsm__raft_members(&raft->membership) & dsm__raft_bit(raft->config.node))) return DSM_RETRY;
  for (uint32_t i = 0; i < count; i++)
    if (entries[i].kind == DSM_RAFT_CONFIG || entries[i].kind >= DSM_RAFT_ENTRY_KINDS)
      return DSM_USAGE;
  if (!dsm__raft_log_fits(&raft->log, entries, count, DSM__RAFT_SLOTS_RESERVED))
    return DSM_STORE_FULL;
  dsm__raft_leader_append(raft, entries, count);
  dsm__raft_leader_broadcast_append(raft);
  return DSM_OK;
}

dsm_status dsm_raft_transfer(dsm_raft *raft, uint8_t target, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (raft->role != DSM_RAFT_LEADER) return DSM_RETRY;
  uint64_t others = dsm__raft_voters(&raft->membership) & ~dsm__raft_bit(raft->config.node);
  if (target >= DSM_RAFT_NODES_MAX || !(others & dsm__raft_bit(target))) return DSM_USAGE;
  raft->transfer_target = target;
  raft->transfer_until = raft->now + raft->config.election_timeout_us;
  if (raft->progress[target].match == raft->log.last)
    hand_over_if_ready(raft, target);
  else
    dsm__raft_leader_send_append(raft, target, false);
  return DSM_OK;
}

dsm_status dsm_raft_report_unreachable(dsm_raft *raft, uint8_t node, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (node >= DSM_RAFT_NODES_MAX) return DSM_USAGE;
  if (raft->role != DSM_RAFT_LEADER) return DSM_OK;
  if (raft->progress[node].mode == DSM_RAFT_REPLICATE)
    dsm__raft_progress_probe(&raft->progress[node]);
  return DSM_OK;
}
