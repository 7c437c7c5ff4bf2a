/* Raft: the types and the calls. One dsm_raft is one node's state; it never calls out.
 *
 * Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), and
 * Ongaro's dissertation (sections are named where a rule comes from them).
 *
 * Law: (state, input, now) -> (state, outputs). Every call marked INPUT forgets the outputs of the
 * call before it, so these are carried out, or copied, first. The seed in the configuration is the
 * only randomness. All memory comes from the caller, once; dsm_raft_bytes says how much.
 *
 * Outputs are carried out in this order: send_now at once; then made durable, in this order, with a
 * crash free to keep any prefix: term and vote, the cut of the log after persist_first - 1, a
 * snapshot, entries in ascending order, the commit index; only then send_after_persist; then apply.
 * A message in send_after_persist may be addressed to the node itself: it is handed to
 * dsm_raft_step once everything before it is durable, and is how a node learns that it is.
 *
 * Concurrency: none. One thread at a time may use a dsm_raft.
 */
#ifndef DSM_PROTO_RAFT_H
#define DSM_PROTO_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

enum { DSM_RAFT_NODES_MAX = 64, DSM_RAFT_NONE = 255, DSM_RAFT_CHANGES_MAX = 16 };

#define DSM_RAFT_TERM_MAX (UINT64_MAX / 2) /* so that no candidate counts past the end */

typedef enum dsm_raft_role {
  DSM_RAFT_FOLLOWER,
  DSM_RAFT_PRE_CANDIDATE,
  DSM_RAFT_CANDIDATE,
  DSM_RAFT_LEADER
} dsm_raft_role;

/* What a message is. Columns: NAME, name in traces. */
#define DSM_RAFT_MESSAGE_LIST(X)                                                                   \
  X(PRE_VOTE, "pre_vote")                                                                          \
  X(PRE_VOTE_REPLY, "pre_vote_reply")                                                              \
  X(VOTE, "vote")                                                                                  \
  X(VOTE_REPLY, "vote_reply")                                                                      \
  X(APPEND, "append")                                                                              \
  X(APPEND_REPLY, "append_reply")                                                                  \
  X(HEARTBEAT, "heartbeat")                                                                        \
  X(HEARTBEAT_REPLY, "heartbeat_reply")                                                            \
  X(SNAPSHOT, "snapshot")                                                                          \
  X(TIMEOUT_NOW, "timeout_now")                                                                    \
  X(READ_INDEX, "read_index")                                                                      \
  X(READ_INDEX_REPLY, "read_index_reply")

typedef enum dsm_raft_message_kind {
#define DSM_RAFT_MESSAGE_ENUM(name, text) DSM_RAFT_##name,
  DSM_RAFT_MESSAGE_LIST(DSM_RAFT_MESSAGE_ENUM)
#undef DSM_RAFT_MESSAGE_ENUM
      DSM_RAFT_MESSAGE_KINDS
} dsm_raft_message_kind;

typedef enum dsm_raft_entry_kind {
  DSM_RAFT_EMPTY,         /* what a new leader appends (5.4.2, 8); nothing for the application */
  DSM_RAFT_COMMAND,       /* the application's */
  DSM_RAFT_CONFIG,        /* an encoded dsm_raft_change */
  DSM_RAFT_SESSION_OPEN,  /* the new session's number is the index of this entry */
  DSM_RAFT_SESSION_CLOSE, /* ends the session named in the entry */
  DSM_RAFT_ENTRY_KINDS
} dsm_raft_entry_kind;

/* What applying an entry means; decided by the log alone, so equal on every node. */
typedef enum dsm_raft_verdict {
  DSM_RAFT_APPLY,     /* first time: execute it */
  DSM_RAFT_DUPLICATE, /* a retry of what its session has applied already: answer again, do nothing
                       */
  DSM_RAFT_GAP,       /* an earlier command of the session is missing: do nothing, client retries */
  DSM_RAFT_EXPIRED,   /* the session is closed, evicted or was never open: do nothing, say so */
  DSM_RAFT_REFUSED    /* a membership change that does not fit the membership it met */
} dsm_raft_verdict;

typedef struct dsm_raft_entry {
  uint64_t index;
  uint64_t term;
  uint64_t session;  /* 0: no de-duplication */
  uint64_t sequence; /* 1, 2, 3 ... within the session */
  const uint8_t *payload;
  uint32_t payload_bytes;
  uint8_t kind;
  uint8_t verdict;
} dsm_raft_entry;

/* Sets of nodes are masks: bit i stands for node i. outgoing is empty unless consensus is joint. */
typedef struct dsm_raft_membership {
  uint64_t voters;
  uint64_t outgoing;
  uint64_t learners;
  uint64_t learners_next; /* voters of outgoing that become learners when the joint phase ends */
  bool auto_leave;
} dsm_raft_membership;

typedef enum dsm_raft_change_op {
  DSM_RAFT_ADD_VOTER,
  DSM_RAFT_ADD_LEARNER,
  DSM_RAFT_REMOVE
} dsm_raft_change_op;

/* AUTO takes one step where one step is safe, and otherwise joint consensus that ends by itself. */
typedef enum dsm_raft_transition {
  DSM_RAFT_AUTO,
  DSM_RAFT_JOINT_IMPLICIT,
  DSM_RAFT_JOINT_EXPLICIT,
  DSM_RAFT_LEAVE_JOINT
} dsm_raft_transition;

typedef struct dsm_raft_change {
  uint8_t transition;
  uint8_t count;
  struct {
    uint8_t op;
    uint8_t node;
  } steps[DSM_RAFT_CHANGES_MAX];
} dsm_raft_change;

typedef struct dsm_raft_session {
  uint64_t id;
  uint64_t sequence;   /* of the last command applied */
  uint64_t used_index; /* of the last entry that named the session; the smallest is evicted first */
} dsm_raft_session;

/* All but the application's own state, which the driver keeps with it under the same index. */
typedef struct dsm_raft_snapshot {
  uint64_t index;
  uint64_t term;
  dsm_raft_membership membership;
  const dsm_raft_session *sessions;
  uint32_t session_count;
} dsm_raft_snapshot;

/* index and log_term: VOTE the candidate's last entry; APPEND the entry before the first one sent;
 * VOTE_REPLY's commit and log_term name an entry that is known to be committed;
 * APPEND_REPLY what is matched or, with reject, the index that was probed, and the hint's term.
 * Of a message that goes out, entries is NULL: they are log entries index + 1 .. index +
 * entry_count (dsm_raft_entry_at). Of a message that comes in, entries points to entry_count of
 * them. */
typedef struct dsm_raft_message {
  uint64_t term;
  uint64_t index;
  uint64_t log_term;
  uint64_t commit;
  uint64_t hint;
  uint64_t context; /* heartbeats: the round; reads: the caller's number */
  const dsm_raft_entry *entries;
  const dsm_raft_snapshot *snapshot;
  uint32_t entry_count;
  uint8_t kind;
  uint8_t source;
  uint8_t target;
  bool reject;
  bool force; /* VOTE: asked for by the leader itself, so leases do not stand against it */
} dsm_raft_message;

typedef struct dsm_raft_read {
  uint64_t context;
  uint64_t index;       /* serve the read once this index is applied */
  uint64_t valid_until; /* lease reads: fence, look at the clock again after reading; else 0 */
} dsm_raft_read;

typedef struct dsm_raft_outputs {
  const dsm_raft_message *send_now;
  const dsm_raft_message *send_after_persist;
  const dsm_raft_read *reads; /* confirmed; to be served after apply */
  uint64_t persist_first;     /* cut the durable log before this index, then write up to last */
  uint64_t persist_last;
  uint64_t apply_first;
  uint64_t apply_last;
  uint32_t send_now_count;
  uint32_t send_after_persist_count;
  uint32_t read_count;
  uint32_t dropped_count; /* messages that found no room; as good as lost on the way */
  bool persist_vote;
  bool persist_commit;
  bool persist_entries;
  bool persist_snapshot; /* dsm_raft_last_snapshot */
  bool apply_snapshot;   /* the application's state is replaced by the snapshot's, before entries */
} dsm_raft_outputs;

typedef struct dsm_raft_config {
  uint64_t seed;
  uint64_t election_timeout_us; /* a node's own time-out is drawn from [this, twice this) */
  uint64_t heartbeat_us;
  uint64_t clock_drift_ppm; /* by how much two nodes' clocks may differ in rate; bounds leases */
  uint32_t log_capacity;    /* entries; a power of two */
  uint32_t payload_capacity_bytes;
  uint32_t entries_per_message_max;
  uint32_t payload_bytes_per_message_max;
  uint32_t inflight_max; /* APPENDs under way to one follower */
  uint32_t message_capacity;
  uint32_t read_capacity;
  uint32_t session_capacity;
  uint8_t node;
  bool pre_vote;
  bool check_quorum;
  bool lease_reads; /* needs check_quorum */
  dsm_raft_membership membership;
} dsm_raft_config;

typedef struct dsm_raft dsm_raft;

/* Life: init, then load_* in this order with what an earlier run made durable, then start. */
size_t dsm_raft_bytes(const dsm_raft_config *config);
dsm_status dsm_raft_init(void *memory, size_t bytes, const dsm_raft_config *config, dsm_raft **out);
dsm_status dsm_raft_load_vote(dsm_raft *raft, uint64_t term, uint8_t vote);
dsm_status dsm_raft_load_snapshot(dsm_raft *raft, const dsm_raft_snapshot *snapshot);
dsm_status dsm_raft_load_entry(dsm_raft *raft, const dsm_raft_entry *entry);
dsm_status dsm_raft_load_commit(dsm_raft *raft, uint64_t commit);
dsm_status dsm_raft_start(dsm_raft *raft, uint64_t now); /* INPUT */

/* INPUT. step: DSM_CORRUPT when a message contradicts what is committed; nothing has changed then,
 * but for a newer term, which the next outputs persist.
 * propose: index, term of the entries are filled in; DSM_RETRY when another node leads or when
 * leadership is being handed over, DSM_STORE_FULL when the log has no room for all of them. */
dsm_status dsm_raft_step(dsm_raft *raft, const dsm_raft_message *message, uint64_t now);
dsm_status dsm_raft_tick(dsm_raft *raft, uint64_t now);
dsm_status dsm_raft_campaign(dsm_raft *raft, uint64_t now);
dsm_status dsm_raft_propose(dsm_raft *raft, dsm_raft_entry *entries, uint32_t count, uint64_t now);
dsm_status dsm_raft_propose_change(dsm_raft *raft, const dsm_raft_change *change, uint64_t now);
dsm_status dsm_raft_transfer(dsm_raft *raft, uint8_t target, uint64_t now);
dsm_status dsm_raft_read_index(dsm_raft *raft, uint64_t context, uint64_t now);
dsm_status dsm_raft_report_unreachable(dsm_raft *raft, uint8_t node, uint64_t now);
dsm_status dsm_raft_report_snapshot(dsm_raft *raft, uint8_t node, bool arrived, uint64_t now);
/* The application's state at applied is saved by the driver; the log may then be compacted. */
dsm_status dsm_raft_take_snapshot(dsm_raft *raft, uint64_t now);
dsm_status dsm_raft_compact(dsm_raft *raft, uint64_t index); /* no outputs; index <= snapshot's */

const dsm_raft_outputs *dsm_raft_outputs_get(dsm_raft *raft);

/* Looks only. An entry's payload points into the log: good until the next INPUT. */
typedef struct dsm_raft_state {
  uint64_t term;
  uint64_t commit;
  uint64_t applied;
  uint64_t first_index;
  uint64_t last_index;
  uint64_t last_term;
  uint64_t election_at; /* when this node campaigns unless it hears from a leader */
  dsm_raft_membership membership;
  uint8_t vote;
  uint8_t leader;
  uint8_t role;
  uint8_t transfer_target;
} dsm_raft_state;

typedef struct dsm_raft_peer {
  uint64_t match;
  uint64_t next;
  uint32_t inflight_count;
  uint8_t mode; /* dsm_raft_progress_mode */
  bool recently_active;
  bool paused;
} dsm_raft_peer;

void dsm_raft_state_get(const dsm_raft *raft, dsm_raft_state *out);
bool dsm_raft_entry_at(const dsm_raft *raft, uint64_t index, dsm_raft_entry *out);
bool dsm_raft_term_at(const dsm_raft *raft, uint64_t index, uint64_t *out);
bool dsm_raft_peer_get(const dsm_raft *raft, uint8_t node, dsm_raft_peer *out);
const dsm_raft_snapshot *dsm_raft_last_snapshot(const dsm_raft *raft);
const char *dsm_raft_message_name(uint8_t kind);

/* Whole-structure check for tests: every relation that holds between two inputs. */
bool dsm_raft_valid(const dsm_raft *raft);

#endif
