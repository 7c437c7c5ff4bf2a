/* What a candidate does: asks for votes and counts them (sections 5.2, 9.6 of the dissertation).
 *
 * Law: a vote request leaves only when the candidate's own vote is durable. Were it to leave
 * earlier, a crash could bring the same node back into the same term with a shorter log, and
 * answers to the first request would elect it.
 */
#include "raft_state.h"

static void ask_for_votes(dsm_raft *raft, bool pre_vote, bool force) {
  dsm_raft_message ask = {
      .kind = pre_vote ? DSM_RAFT_PRE_VOTE : DSM_RAFT_VOTE,
      .term = pre_vote ? raft->term + 1 : raft->term,
      .index = raft->log.last,
      .log_term = dsm__raft_log_last_term(&raft->log),
      .force = force,
  };
  uint64_t voters = dsm__raft_voters(&raft->membership);
  for (uint64_t rest = voters; rest != 0; rest &= rest - 1) {
    ask.target = (uint8_t)__builtin_ctzll(rest);
    if (ask.target == raft->config.node) {
      /* Its own vote comes back to it like any other, once it is durable. */
      dsm_raft_message own = {.kind = pre_vote ? DSM_RAFT_PRE_VOTE_REPLY : DSM_RAFT_VOTE_REPLY,
                              .target = ask.target,
                              .term = ask.term};
      dsm__raft_send_durable(raft, &own);
    } else {
      dsm__raft_send_durable(raft, &ask);
    }
  }
}

void dsm__raft_campaign(dsm_raft *raft, bool pre_vote, bool force) {
  if (pre_vote) {
    /* Neither term nor vote change: it only asks whether an election could be won. */
    dsm__raft_reset_role(raft, raft->term);
    raft->role = DSM_RAFT_PRE_CANDIDATE;
  } else {
    dsm__raft_reset_role(raft, raft->term + 1);
    raft->role = DSM_RAFT_CANDIDATE;
    dsm__raft_set_vote(raft, raft->term, raft->config.node);
  }
  ask_for_votes(raft, pre_vote, force);
}

/* That an entry is committed is true for ever, and whoever has the same entry may know it, whatever
 * the terms of now. Without this a membership could get stuck: a leader that was removed steps
 * down, its last commit message is lost, and those who stay still ask for its vote, which its
 * longer log makes it refuse. */
void dsm__raft_learn_commit(dsm_raft *raft, const dsm_raft_message *m) {
  uint64_t term;
  if (m->kind != DSM_RAFT_PRE_VOTE_REPLY && m->kind != DSM_RAFT_VOTE_REPLY) return;
  if (raft->role == DSM_RAFT_LEADER || m->commit <= raft->commit || m->log_term == 0) return;
  if (dsm__raft_log_term(&raft->log, m->commit, &term) && term == m->log_term)
    dsm__raft_commit_to(raft, m->commit);
}

void dsm__raft_candidate_step(dsm_raft *raft, const dsm_raft_message *m) {
  bool pre_vote = raft->role == DSM_RAFT_PRE_CANDIDATE;
  if (m->kind != (pre_vote ? DSM_RAFT_PRE_VOTE_REPLY : DSM_RAFT_VOTE_REPLY)) return;
  uint64_t bit = dsm__raft_bit(m->source);
  if ((raft->votes_granted | raft->votes_refused) & bit) return;
  if (m->reject)
    raft->votes_refused |= bit;
  else
    raft->votes_granted |= bit;
  dsm_quorum quorum = dsm__raft_quorum(&raft->membership);
  switch (dsm_quorum_vote(&quorum, raft->votes_granted, raft->votes_refused)) {
  case DSM_VOTE_WON:
    if (pre_vote)
      dsm__raft_campaign(raft, false, false);
    else
      dsm__raft_become_leader(raft);
    break;
  case DSM_VOTE_LOST:
    dsm__raft_become_follower(raft, raft->term, DSM_RAFT_NONE);
    break;
  case DSM_VOTE_PENDING:
    break;
  }
}
