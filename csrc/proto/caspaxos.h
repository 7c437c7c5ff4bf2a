/* CASPaxos: registers that are changed by functions, without a log and without a leader.
 *
 * Source: Rystsov, "CASPaxos: Replicated State Machines without logs" (2018): section 2.2 the
 * register, 2.2.1 the one-round path, 2.3 membership change, 3.1 deletion.
 *
 * The law: a change is computed from the value of the highest ballot of a prepare quorum, at the
 * caller's side (`change_wanted`, then dsm_register_change), and told as done only when an accept
 * quorum took it. Reading is the change that returns what it was given. A change is applied at most
 * once: after an ACCEPT was sent, the next round first finds out what became of it; what cannot be
 * found out is DSM_CHANGE_UNKNOWN, never a guess.
 *
 * Deletion writes the empty value everywhere, then makes every proposer forget (its age grows, its
 * counter passes the tombstone's ballot), then makes every acceptor refuse younger ages, and only
 * then erases: what was in flight cannot bring an old value back.
 */
#ifndef DSM_PROTO_CASPAXOS_H
#define DSM_PROTO_CASPAXOS_H

#include "paxos.h"

typedef struct dsm_register {
  dsm_paxos_options options;
  dsm_round round; /* `round.value` is the register's state when a change is wanted or done */
  /* The first and the latest ballot under which the running change was sent. */
  dsm_ballot first_tried, last_tried;
  uint64_t wake_us; /* next resend, or the end of a backoff */
  uint64_t deadline_us;
  uint32_t attempt;
  bool busy;       /* a change is running */
  bool repeatable; /* the running change may be applied twice without harm */
  bool waiting;    /* for dsm_register_change */
  bool stable;     /* the last change carried a promise: the next one needs one round only */
} dsm_register;

dsm_status dsm_register_init(dsm_register *reg, uint64_t key, const dsm_paxos_config *config,
                             const dsm_paxos_options *options);
/* Refused with DSM_RETRY while a change is running: it must end under the quorums it began with. */
dsm_status dsm_register_configure(dsm_register *reg, const dsm_paxos_config *config);
/* `repeatable`: a read, or a function that checks what it changes. It is computed anew instead of
 * ending as unknown when somebody else's change came between. */
dsm_status dsm_register_begin(dsm_register *reg, dsm_proposer_identity *identity, bool repeatable,
                              uint64_t now_us, uint64_t deadline_us, dsm_paxos_outputs *outputs);
/* The changed value, which may be the empty one (deletion) or the same (a read). A function that
 * refuses returns the same value too: only so is the value that it refused known to be current. */
dsm_status dsm_register_change(dsm_register *reg, dsm_proposer_identity *identity,
                               const dsm_paxos_value *value, uint64_t now_us,
                               dsm_paxos_outputs *outputs);
dsm_status dsm_register_receive(dsm_register *reg, dsm_proposer_identity *identity,
                                const dsm_paxos_message *message, uint64_t now_us,
                                dsm_paxos_outputs *outputs);
void dsm_register_tick(dsm_register *reg, dsm_proposer_identity *identity, uint64_t now_us,
                       dsm_paxos_outputs *outputs);

/* What an acceptor refuses, for all registers alike: ages below these. */
typedef struct dsm_fence {
  uint64_t age[DSM_PAXOS_NODES_MAX];
} dsm_fence;

void dsm_fence_init(dsm_fence *fence);
/* False: the message was sent before its proposer forgot a register; drop it unanswered. */
bool dsm_fence_admits(const dsm_fence *fence, const dsm_paxos_message *message);
/* FENCE; `node` is the acceptor's own number. */
dsm_status dsm_fence_receive(dsm_fence *fence, uint32_t node, const dsm_paxos_message *message,
                             dsm_paxos_outputs *outputs);

/* FORGET: the proposer's side of a deletion. A proposer that joins later must start from the
 * highest counter of those that were there. */
dsm_status dsm_proposer_identity_forget(dsm_proposer_identity *identity,
                                        const dsm_paxos_message *message,
                                        dsm_paxos_outputs *outputs);

enum { DSM_COLLECTOR_ATTEMPTS_MAX = 4 };

typedef enum dsm_collector_phase {
  DSM_COLLECTOR_TOMBSTONE,
  DSM_COLLECTOR_FORGETTING,
  DSM_COLLECTOR_FENCING,
  DSM_COLLECTOR_ERASING,
  DSM_COLLECTOR_ENDED,
} dsm_collector_phase;

/* Removes one register that holds the empty value from every acceptor. Needs all of them, and all
 * proposers; may be dropped at any point without harm. */
typedef struct dsm_collector {
  dsm_paxos_options options;
  dsm_round round;
  uint64_t proposers_left, acceptors, answered;
  uint64_t age; /* FENCING: of the proposer in turn */
  uint64_t wake_us;
  uint32_t attempt; /* TOMBSTONE: rounds that were refused */
  dsm_collector_phase phase;
} dsm_collector;

dsm_status dsm_collector_init(dsm_collector *collector, uint64_t key,
                              const dsm_paxos_config *config, uint64_t proposers,
                              const dsm_paxos_options *options);
void dsm_collector_begin(dsm_collector *collector, dsm_proposer_identity *identity, uint64_t now_us,
                         dsm_paxos_outputs *outputs);
/* Ends with DSM_CHANGE_DONE, or DSM_CHANGE_REFUSED when the register holds a value, or is so busy
 * that DSM_COLLECTOR_ATTEMPTS_MAX rounds were refused. */
dsm_status dsm_collector_receive(dsm_collector *collector, dsm_proposer_identity *identity,
                                 const dsm_paxos_message *message, uint64_t now_us,
                                 dsm_paxos_outputs *outputs);
void dsm_collector_tick(dsm_collector *collector, dsm_proposer_identity *identity, uint64_t now_us,
                        dsm_paxos_outputs *outputs);

/* A membership change is a list of configs: each is installed at every proposer before the next is
 * begun, and after a step that says so every register is read once (rescanned) first. */
enum { DSM_MEMBER_STEPS_MAX = 2 };

typedef struct dsm_member_step {
  dsm_paxos_config config;
  bool rescan;
} dsm_member_step;

/* Return the number of steps; 0: `node` is a member already (expand), or is none, or is the last
 * one (shrink). `nodes` is the present set of acceptors. */
uint32_t dsm_members_expand(uint64_t nodes, uint32_t node,
                            dsm_member_step steps[DSM_MEMBER_STEPS_MAX]);
uint32_t dsm_members_shrink(uint64_t nodes, uint32_t node,
                            dsm_member_step steps[DSM_MEMBER_STEPS_MAX]);

#endif
