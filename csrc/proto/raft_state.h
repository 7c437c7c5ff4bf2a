/* The inside of a dsm_raft, and what its role files call in each other. Not for users of Raft.
 *
 * raft.c owns terms, votes, dispatch and outputs; raft_follower.c, raft_candidate.c and
 * raft_leader.c own what a node does in that role; raft_apply.c what committing means;
 * raft_read.c reads; raft_snapshot.c snapshots and compaction; raft_start.c memory and loading;
 * raft_look.c shows the state.
 *
 * Invariants (dsm_raft_valid): applied == commit between inputs, base <= commit <= last; a leader's
 * term is that of the last entry it appended; only a leader has pending reads or a transfer target.
 */
#ifndef DSM_PROTO_RAFT_STATE_H
#define DSM_PROTO_RAFT_STATE_H

#include "../base/check.h"
#include "raft.h"
#include "raft_log.h"
#include "raft_membership.h"
#include "raft_progress.h"
#include "raft_session.h"

/* Slots that proposals leave free, so that a new leader's empty entry and the end of a joint phase
 * still find room in a log that clients have filled. */
enum { DSM__RAFT_SLOTS_RESERVED = 8, DSM__RAFT_ROUNDS_KEPT = 64 };

typedef struct dsm__raft_pending_read {
  uint64_t context;
  uint64_t index; /* the commit index at the request; 0: waits for this term's first commit */
  uint64_t round;
  uint8_t source;
} dsm__raft_pending_read;

typedef struct dsm__raft_outbox {
  dsm_raft_message *messages;
  uint32_t count;
} dsm__raft_outbox;

struct dsm_raft {
  dsm_raft_config config;
  uint64_t term;
  uint64_t commit;
  uint64_t applied;
  uint64_t now;
  uint64_t random;
  uint8_t vote;
  uint8_t leader;
  uint8_t role;
  uint8_t transfer_target;
  bool started;
  uint64_t loaded_commit;

  /* Time. A node that heard from a leader promises until then to vote for nobody else. */
  uint64_t election_at;
  uint64_t heartbeat_at;
  uint64_t quorum_check_at;
  uint64_t promised_until;
  uint64_t transfer_until;

  dsm_raft_membership membership;
  dsm__raft_log log;
  dsm__raft_sessions sessions;
  dsm_raft_snapshot snapshot;
  dsm_raft_session *snapshot_sessions;

  /* Candidate. */
  uint64_t votes_granted;
  uint64_t votes_refused;

  /* Leader. */
  dsm__raft_progress progress[DSM_RAFT_NODES_MAX];
  uint64_t change_index; /* no membership change is proposed before this entry is applied; while
                            loading, the last change seen */
  uint64_t round;        /* of heartbeats; confirmed rounds confirm reads and leases */
  uint64_t round_confirmed[DSM_RAFT_NODES_MAX];
  uint64_t round_sent_at[DSM__RAFT_ROUNDS_KEPT];
  bool lease_fenced; /* leadership was offered to another in this term: no lease until the next */
  dsm__raft_pending_read *reads;
  uint32_t read_count;

  /* Outputs of the present input. */
  dsm__raft_outbox now_box;
  dsm__raft_outbox after_box;
  dsm_raft_read *reads_done;
  uint64_t persist_first;    /* 0: no entry */
  uint64_t self_acknowledge; /* leader: last entry appended in this input; 0: none */
  uint64_t apply_first;
  uint64_t apply_last;
  uint32_t reads_done_count;
  uint32_t dropped_count;
  bool vote_changed;
  bool vote_unsaved; /* changed by a message that was then refused: in the next outputs */
  bool commit_changed;
  bool snapshot_changed;
  bool snapshot_restored;
  dsm_raft_outputs outputs;
};

/* raft.c */
void dsm__raft_input_begin(dsm_raft *raft, uint64_t now);
bool dsm__raft_send(dsm_raft *raft, const dsm_raft_message *message);
bool dsm__raft_send_durable(dsm_raft *raft, const dsm_raft_message *message);
void dsm__raft_reset_election_timer(dsm_raft *raft);
void dsm__raft_set_vote(dsm_raft *raft, uint64_t term, uint8_t vote);
void dsm__raft_become_follower(dsm_raft *raft, uint64_t term, uint8_t leader);
void dsm__raft_reset_role(dsm_raft *raft, uint64_t term);
bool dsm__raft_promotable(const dsm_raft *raft);
bool dsm__raft_promised(const dsm_raft *raft);

/* raft_follower.c */
dsm_status dsm__raft_follower_step(dsm_raft *raft, const dsm_raft_message *message);
void dsm__raft_answer_vote(dsm_raft *raft, const dsm_raft_message *message);

/* raft_candidate.c */
void dsm__raft_campaign(dsm_raft *raft, bool pre_vote, bool force);
void dsm__raft_learn_commit(dsm_raft *raft, const dsm_raft_message *message);
void dsm__raft_candidate_step(dsm_raft *raft, const dsm_raft_message *message);

/* raft_leader.c */
void dsm__raft_become_leader(dsm_raft *raft);
void dsm__raft_leader_step(dsm_raft *raft, const dsm_raft_message *message);
void dsm__raft_leader_tick(dsm_raft *raft);
bool dsm__raft_leader_append(dsm_raft *raft, dsm_raft_entry *entries, uint32_t count);
void dsm__raft_leader_broadcast_append(dsm_raft *raft);
void dsm__raft_leader_broadcast_heartbeat(dsm_raft *raft);
bool dsm__raft_leader_send_append(dsm_raft *raft, uint8_t node, bool even_if_empty);
void dsm__raft_leader_maybe_commit(dsm_raft *raft);
bool dsm__raft_leader_owns_commit(const dsm_raft *raft);

/* raft_apply.c */
void dsm__raft_commit_to(dsm_raft *raft, uint64_t index);
dsm_status dsm__raft_propose_change_now(dsm_raft *raft, const dsm_raft_change *change);

/* raft_read.c */
void dsm__raft_read_request(dsm_raft *raft, uint8_t source, uint64_t context);
void dsm__raft_read_first_commit(dsm_raft *raft);
void dsm__raft_read_round_confirmed(dsm_raft *raft);
void dsm__raft_read_done(dsm_raft *raft, uint8_t source, uint64_t context, uint64_t index,
                         uint64_t valid_until);

/* raft_snapshot.c */
bool dsm__raft_snapshot_acceptable(const dsm_raft *raft, const dsm_raft_snapshot *snapshot);
void dsm__raft_snapshot_install(dsm_raft *raft, const dsm_raft_snapshot *snapshot);
bool dsm__raft_snapshot_send(dsm_raft *raft, uint8_t node);
dsm_status dsm__raft_snapshot_receive(dsm_raft *raft, const dsm_raft_message *message);

#endif
