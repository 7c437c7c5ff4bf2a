/* Terms, dispatch of inputs to roles, and the collection of outputs.
 *
 * Law: an input begins by forgetting the last one's outputs, changes the state, and ends with the
 * outputs complete. A term only grows; a node votes once per term; both leave this file by
 * vote_changed, so no reply that relies on them can overtake them.
 */
#include "raft_state.h"

#include <string.h>

const char *dsm_raft_message_name(uint8_t kind) {
  static const char *const names[] = {
#define DSM_RAFT_MESSAGE_TEXT(name, text) text,
      DSM_RAFT_MESSAGE_LIST(DSM_RAFT_MESSAGE_TEXT)
#undef DSM_RAFT_MESSAGE_TEXT
  };
  return kind < DSM_RAFT_MESSAGE_KINDS ? names[kind] : "unknown";
}

/* splitmix64: every seed, also 0, gives a full-period sequence. */
static uint64_t draw(dsm_raft *raft) {
  uint64_t z = raft->random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

void dsm__raft_input_begin(dsm_raft *raft, uint64_t now) {
  DSM_ASSERT(raft->started);
  if (now > raft->now) raft->now = now;
  raft->now_box.count = 0;
  raft->after_box.count = 0;
  raft->persist_first = 0;
  raft->self_acknowledge = 0;
  raft->apply_first = raft->applied + 1;
  raft->apply_last = raft->applied;
  raft->reads_done_count = 0;
  raft->dropped_count = 0;
  raft->vote_changed = raft->vote_unsaved;
  raft->vote_unsaved = false;
  raft->commit_changed = false;
  raft->snapshot_changed = false;
  raft->snapshot_restored = false;
}

static bool put(dsm_raft *raft, dsm__raft_outbox *box, const dsm_raft_message *message) {
  if (box->count == raft->config.message_capacity) {
    raft->dropped_count++;
    return false;
  }
  dsm_raft_message *slot = &box->messages[box->count++];
  *slot = *message;
  slot->source = raft->config.node;
  return true;
}

bool dsm__raft_send(dsm_raft *raft, const dsm_raft_message *message) {
  return put(raft, &raft->now_box, message);
}

bool dsm__raft_send_durable(dsm_raft *raft, const dsm_raft_message *message) {
  return put(raft, &raft->after_box, message);
}

void dsm__raft_reset_election_timer(dsm_raft *raft) {
  uint64_t timeout = raft->config.election_timeout_us;
  raft->election_at = raft->now + timeout + draw(raft) % timeout;
}

void dsm__raft_set_vote(dsm_raft *raft, uint64_t term, uint8_t vote) {
  DSM_DEBUG(term >= raft->term);
  if (term == raft->term && vote == raft->vote) return;
  raft->term = term;
  raft->vote = vote;
  raft->vote_changed = true;
}

/* What every change of role has in common. */
void dsm__raft_reset_role(dsm_raft *raft, uint64_t term) {
  if (term != raft->term) dsm__raft_set_vote(raft, term, DSM_RAFT_NONE);
  raft->leader = DSM_RAFT_NONE;
  raft->transfer_target = DSM_RAFT_NONE;
  raft->votes_granted = 0;
  raft->votes_refused = 0;
  raft->read_count = 0;
  raft->self_acknowledge = 0;
  dsm__raft_reset_election_timer(raft);
}

void dsm__raft_become_follower(dsm_raft *raft, uint64_t term, uint8_t leader) {
  dsm__raft_reset_role(raft, term);
  raft->role = DSM_RAFT_FOLLOWER;
  raft->leader = leader;
}

bool dsm__raft_promised(const dsm_raft *raft) {
  return raft->config.check_quorum && raft->now < raft->promised_until;
}

bool dsm__raft_promotable(const dsm_raft *raft) {
  return (dsm__raft_voters(&raft->membership) & dsm__raft_bit(raft->config.node)) != 0;
}

/* A node that heard from a leader a moment ago lets nobody disturb it (6, end; leases need it).
 * The term makes no difference: an old reply can have raised it since the promise was given. */
static bool promise_forbids(const dsm_raft *raft, const dsm_raft_message *m) {
  bool vote = m->kind == DSM_RAFT_VOTE || m->kind == DSM_RAFT_PRE_VOTE;
  return vote && !m->force && m->term >= raft->term && dsm__raft_promised(raft);
}

static bool only_leaders_send(uint8_t kind) {
  return kind == DSM_RAFT_APPEND || kind == DSM_RAFT_HEARTBEAT || kind == DSM_RAFT_SNAPSHOT;
}

static void meet_newer_term(dsm_raft *raft, const dsm_raft_message *m) {
  /* Neither a question whether one might win, nor the answer yes, means that the term exists. */
  if (m->kind == DSM_RAFT_PRE_VOTE) return;
  if (m->kind == DSM_RAFT_PRE_VOTE_REPLY && !m->reject) return;
  dsm__raft_become_follower(raft, m->term, only_leaders_send(m->kind) ? m->source : DSM_RAFT_NONE);
}

static void answer_older_term(dsm_raft *raft, const dsm_raft_message *m) {
  dsm_raft_message reply = {.target = m->source, .term = raft->term};
  if (only_leaders_send(m->kind) && (raft->config.check_quorum || raft->config.pre_vote)) {
    /* This node's term grew while it was cut off; without its votes counting against a live leader
     * only an answer of the newer term lets it back in. */
    reply.kind = DSM_RAFT_APPEND_REPLY;
    dsm__raft_send_durable(raft, &reply);
  } else if (m->kind == DSM_RAFT_PRE_VOTE) {
    reply.kind = DSM_RAFT_PRE_VOTE_REPLY;
    reply.reject = true;
    dsm__raft_send_durable(raft, &reply);
  }
}

static bool message_well_formed(const dsm_raft *raft, const dsm_raft_message *m) {
  if (m->kind >= DSM_RAFT_MESSAGE_KINDS || m->source >= DSM_RAFT_NODES_MAX) return false;
  if (m->target != raft->config.node) return false;
  if (m->term == 0 || m->term > DSM_RAFT_TERM_MAX) return false;
  if (m->entry_count > 0 && m->entries == NULL) return false;
  if (m->kind == DSM_RAFT_SNAPSHOT && (m->snapshot == NULL || m->snapshot->term > m->term))
    return false;
  uint64_t term = m->log_term;
  for (uint32_t i = 0; i < m->entry_count; i++) {
    const dsm_raft_entry *entry = &m->entries[i];
    if (entry->index != m->index + 1 + i || entry->term < term || entry->term > m->term)
      return false;
    if (entry->kind >= DSM_RAFT_ENTRY_KINDS) return false;
    term = entry->term;
  }
  return true;
}

static dsm_status dispatch(dsm_raft *raft, const dsm_raft_message *m) {
  if (m->kind == DSM_RAFT_VOTE || m->kind == DSM_RAFT_PRE_VOTE) {
    dsm__raft_answer_vote(raft, m);
    return DSM_OK;
  }
  bool from_leader = only_leaders_send(m->kind);
  if (from_leader && raft->role == DSM_RAFT_LEADER) return DSM_CORRUPT; /* two leaders, one term */
  if (from_leader && raft->role != DSM_RAFT_FOLLOWER)
    dsm__raft_become_follower(raft, m->term, m->source);
  if (raft->role == DSM_RAFT_LEADER)
    dsm__raft_leader_step(raft, m);
  else if (raft->role == DSM_RAFT_FOLLOWER)
    return dsm__raft_follower_step(raft, m);
  else
    dsm__raft_candidate_step(raft, m);
  return DSM_OK;
}

dsm_status dsm_raft_step(dsm_raft *raft, const dsm_raft_message *message, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (!message_well_formed(raft, message)) return DSM_CORRUPT;
  if (promise_forbids(raft, message)) return DSM_OK;
  dsm__raft_learn_commit(raft, message);
  if (message->term > raft->term) meet_newer_term(raft, message);
  if (message->term < raft->term) {
    answer_older_term(raft, message);
    return DSM_OK;
  }
  dsm_status status = dispatch(raft, message);
  /* What a refused message told of terms stays true; its outputs are not looked at. */
  raft->vote_unsaved = status != DSM_OK && raft->vote_changed;
  return status;
}

dsm_status dsm_raft_tick(dsm_raft *raft, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (raft->role == DSM_RAFT_LEADER)
    dsm__raft_leader_tick(raft);
  else if (raft->now >= raft->election_at) {
    if (dsm__raft_promotable(raft))
      dsm__raft_campaign(raft, raft->config.pre_vote, false);
    else
      dsm__raft_reset_election_timer(raft);
  }
  return DSM_OK;
}

dsm_status dsm_raft_campaign(dsm_raft *raft, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (!dsm__raft_promotable(raft)) return DSM_USAGE;
  /* Its own vote would break its promise to the leader it hears from. */
  if (raft->role == DSM_RAFT_FOLLOWER && dsm__raft_promised(raft)) return DSM_RETRY;
  if (raft->role != DSM_RAFT_LEADER) dsm__raft_campaign(raft, raft->config.pre_vote, false);
  return DSM_OK;
}

/* A leader's own acknowledgement: it counts itself only once its entries are durable. */
static void acknowledge_self(dsm_raft *raft) {
  if (raft->self_acknowledge == 0 || raft->role != DSM_RAFT_LEADER) return;
  dsm__raft_send_durable(raft, &(dsm_raft_message){.kind = DSM_RAFT_APPEND_REPLY,
                                                   .target = raft->config.node,
                                                   .term = raft->term,
                                                   .index = raft->self_acknowledge});
  raft->self_acknowledge = 0;
}

const dsm_raft_outputs *dsm_raft_outputs_get(dsm_raft *raft) {
  acknowledge_self(raft);
  raft->outputs = (dsm_raft_outputs){
      .send_now = raft->now_box.messages,
      .send_now_count = raft->now_box.count,
      .send_after_persist = raft->after_box.messages,
      .send_after_persist_count = raft->after_box.count,
      .reads = raft->reads_done,
      .read_count = raft->reads_done_count,
      .dropped_count = raft->dropped_count,
      .persist_first = raft->persist_first,
      .persist_last = raft->log.last,
      .persist_entries = raft->persist_first != 0,
      .persist_vote = raft->vote_changed,
      .persist_commit = raft->commit_changed,
      .persist_snapshot = raft->snapshot_changed,
      .apply_first = raft->apply_first,
      .apply_last = raft->apply_last,
      .apply_snapshot = raft->snapshot_restored,
  };
  return &raft->outputs;
}
