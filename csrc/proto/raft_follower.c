/* What a follower does: answers the leader and votes (sections 5.2 to 5.4).
 *
 * Law: an acknowledgement leaves only after what it acknowledges is durable; entries that are
 * committed are never cut.
 */
#include "raft_state.h"

static bool up_to_date(const dsm_raft *raft, const dsm_raft_message *m) {
  uint64_t own = dsm__raft_log_last_term(&raft->log);
  return m->log_term > own || (m->log_term == own && m->index >= raft->log.last);
}

void dsm__raft_answer_vote(dsm_raft *raft, const dsm_raft_message *m) {
  bool pre_vote = m->kind == DSM_RAFT_PRE_VOTE;
  bool free = raft->vote == m->source ||
              (raft->vote == DSM_RAFT_NONE && raft->leader == DSM_RAFT_NONE) ||
              (pre_vote && m->term > raft->term);
  dsm_raft_message reply = {
      .kind = pre_vote ? DSM_RAFT_PRE_VOTE_REPLY : DSM_RAFT_VOTE_REPLY,
      .target = m->source,
      .term = raft->term,
      .reject = !free || !up_to_date(raft, m),
      .commit = raft->commit,
  };
  /* What is committed is told along: see dsm__raft_learn_commit. */
  (void)dsm__raft_log_term(&raft->log, raft->commit, &reply.log_term);
  if (!reply.reject) {
    reply.term = m->term;
    if (!pre_vote) {
      dsm__raft_set_vote(raft, m->term, m->source);
      dsm__raft_reset_election_timer(raft);
    }
  }
  dsm__raft_send_durable(raft, &reply);
}

static void acknowledge(dsm_raft *raft, const dsm_raft_message *m, uint64_t index) {
  dsm__raft_send_durable(raft, &(dsm_raft_message){.kind = DSM_RAFT_APPEND_REPLY,
                                                   .target = m->source,
                                                   .term = raft->term,
                                                   .index = index});
}

/* Says where to probe next: the last index at which the logs can agree, given the probe's term. */
static void refuse(dsm_raft *raft, const dsm_raft_message *m) {
  uint64_t from = m->index < raft->log.last ? m->index : raft->log.last;
  uint64_t hint_term;
  uint64_t hint = dsm__raft_log_agreement(&raft->log, from, m->log_term, &hint_term);
  dsm__raft_send_durable(raft, &(dsm_raft_message){.kind = DSM_RAFT_APPEND_REPLY,
                                                   .target = m->source,
                                                   .term = raft->term,
                                                   .index = m->index,
                                                   .reject = true,
                                                   .hint = hint,
                                                   .log_term = hint_term});
}

/* Appends what is not there yet, and cuts what conflicts; *last is the last index that agrees. */
static dsm_status take_entries(dsm_raft *raft, const dsm_raft_message *m, uint64_t *last) {
  dsm__raft_log *log = &raft->log;
  uint32_t i = 0;
  uint64_t term;
  while (i < m->entry_count && dsm__raft_log_term(log, m->index + 1 + i, &term) &&
         term == m->entries[i].term)
    i++;
  *last = m->index + i;
  if (i == m->entry_count) return DSM_OK;
  if (*last < log->last) {
    if (*last < raft->commit) return DSM_CORRUPT;
    dsm__raft_log_cut(log, *last);
    raft->persist_first = *last + 1;
  }
  for (; i < m->entry_count; i++) {
    /* A full log takes what fits; the leader sends the rest again when there is room. */
    if (!dsm__raft_log_append(log, &m->entries[i])) break;
    if (raft->persist_first == 0) raft->persist_first = log->last;
    *last = log->last;
  }
  return DSM_OK;
}

static dsm_status take_append(dsm_raft *raft, const dsm_raft_message *m) {
  if (m->index < raft->commit) {
    acknowledge(raft, m, raft->commit);
    return DSM_OK;
  }
  uint64_t term;
  if (!dsm__raft_log_term(&raft->log, m->index, &term) || term != m->log_term) {
    refuse(raft, m);
    return DSM_OK;
  }
  uint64_t last;
  DSM_TRY(take_entries(raft, m, &last));
  dsm__raft_commit_to(raft, m->commit < last ? m->commit : last);
  acknowledge(raft, m, last);
  return DSM_OK;
}

static dsm_status take_heartbeat(dsm_raft *raft, const dsm_raft_message *m) {
  /* The leader says no more than this node has acknowledged as durable. */
  if (m->commit > raft->log.last) return DSM_CORRUPT;
  dsm__raft_commit_to(raft, m->commit);
  dsm__raft_send(raft, &(dsm_raft_message){.kind = DSM_RAFT_HEARTBEAT_REPLY,
                                           .target = m->source,
                                           .term = raft->term,
                                           .context = m->context});
  return DSM_OK;
}

static void hear_leader(dsm_raft *raft, uint8_t leader) {
  raft->leader = leader;
  raft->promised_until = raft->now + raft->config.election_timeout_us;
  dsm__raft_reset_election_timer(raft);
}

dsm_status dsm__raft_follower_step(dsm_raft *raft, const dsm_raft_message *m) {
  switch (m->kind) {
  case DSM_RAFT_APPEND:
    hear_leader(raft, m->source);
    return take_append(raft, m);
  case DSM_RAFT_HEARTBEAT:
    hear_leader(raft, m->source);
    return take_heartbeat(raft, m);
  case DSM_RAFT_SNAPSHOT:
    hear_leader(raft, m->source);
    return dsm__raft_snapshot_receive(raft, m);
  case DSM_RAFT_TIMEOUT_NOW:
    if (dsm__raft_promotable(raft)) dsm__raft_campaign(raft, false, true);
    return DSM_OK;
  case DSM_RAFT_READ_INDEX_REPLY:
    dsm__raft_read_done(raft, raft->config.node, m->context, m->index, 0);
    return DSM_OK;
  default:
    return DSM_OK; /* answers to what this node asked in another role */
  }
}
