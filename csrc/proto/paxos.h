/* Paxos: acceptor, round of two phases, and the single-decree proposer.
 *
 * Source: Lamport, "Paxos Made Simple" (2001), section 2; quorums of different sizes for the two
 * phases: Howard, Malkhi, Spiegelman, "Flexible Paxos" (2016).
 *
 * The law: an acceptor answers only once what it answers is durable, and never takes a ballot below
 * its promise; a proposer offers the value of the highest ballot that its promises report; no two
 * rounds ever share a ballot, because a ballot names the proposer and its incarnation, and no
 * PREPARE leaves before the incarnation is durable.
 *
 * Pure: the caller owns every struct and passes `now_us`. One thread at a time per struct.
 * `once_durable` messages leave when everything handed out to persist so far is durable. Nodes are
 * numbered 0 to 63; a message's `to` is a set of them, one bit each.
 */
#ifndef DSM_PROTO_PAXOS_H
#define DSM_PROTO_PAXOS_H

#include "../base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  DSM_PAXOS_NODES_MAX = 64,
  DSM_PAXOS_VALUE_BYTES_MAX = 120,
  DSM_PAXOS_MESSAGES_MAX = 4,
};

/* Ordered by counter, then node, then incarnation. All zero: no ballot. */
typedef struct dsm_ballot {
  uint64_t counter;
  uint32_t node, incarnation;
} dsm_ballot;

int dsm_ballot_compare(dsm_ballot left, dsm_ballot right);

/* `present` false is the empty value: a register never written, or deleted. */
typedef struct dsm_paxos_value {
  uint32_t size;
  bool present;
  uint8_t bytes[DSM_PAXOS_VALUE_BYTES_MAX];
} dsm_paxos_value;

dsm_status dsm_paxos_value_set(dsm_paxos_value *value, const void *bytes, uint32_t size);

typedef enum dsm_paxos_kind {
  DSM_PAXOS_PREPARE = 1,
  DSM_PAXOS_PROMISE,
  DSM_PAXOS_ACCEPT,
  DSM_PAXOS_ACCEPTED,
  DSM_PAXOS_REFUSE,
  DSM_PAXOS_CHOSEN,
  /* The remaining kinds delete a CASPaxos register, see caspaxos.h. */
  DSM_PAXOS_FORGET,
  DSM_PAXOS_AGED,
  DSM_PAXOS_FENCE,
  DSM_PAXOS_FENCED,
  DSM_PAXOS_ERASE,
  DSM_PAXOS_ERASED,
} dsm_paxos_kind;

typedef struct dsm_paxos_message {
  uint64_t key;
  uint64_t to;
  uint64_t age;        /* of the sending proposer, see caspaxos.h */
  dsm_ballot ballot;   /* the round that this belongs to */
  dsm_ballot accepted; /* PROMISE: of the value; REFUSE: the promise that stands in the way */
  dsm_ballot next;     /* ACCEPT, ACCEPTED: the ballot promised along with it */
  uint32_t kind, from;
  uint32_t about; /* FENCE, FENCED: the proposer whose age this is */
  dsm_paxos_value value;
} dsm_paxos_message;

typedef enum dsm_change_outcome {
  DSM_CHANGE_NONE,
  DSM_CHANGE_DONE,    /* chosen: `value` is the register's state right after it */
  DSM_CHANGE_REFUSED, /* not applied and never will be */
  DSM_CHANGE_UNKNOWN, /* the deadline passed while it may have been chosen */
} dsm_change_outcome;

typedef struct dsm_paxos_outputs {
  dsm_paxos_message now[DSM_PAXOS_MESSAGES_MAX];
  dsm_paxos_message once_durable[DSM_PAXOS_MESSAGES_MAX];
  uint32_t now_count, once_durable_count;
  bool persist;               /* the acceptor changed: write it under its key; empty: delete it */
  bool persist_identity;      /* the proposer's counter or age changed for good */
  bool persist_fence;         /* the acceptor's fence changed */
  bool change_wanted;         /* register: answer with dsm_register_change */
  dsm_change_outcome outcome; /* proposer, register, collector: how it ended */
} dsm_paxos_outputs;

void dsm_paxos_outputs_clear(dsm_paxos_outputs *outputs);

typedef struct dsm_paxos_config {
  uint64_t prepare_nodes, accept_nodes;
  uint32_t prepare_quorum, accept_quorum;
} dsm_paxos_config;

dsm_paxos_config dsm_paxos_config_majority(uint64_t nodes);
/* Every prepare quorum of one meets every accept quorum of the other, both ways round: rounds of
 * the two may run at the same time. A config that is not compatible with itself is not one. */
bool dsm_paxos_config_compatible(const dsm_paxos_config *one, const dsm_paxos_config *other);

typedef struct dsm_acceptor {
  dsm_ballot promised, accepted;
  dsm_paxos_value value;
} dsm_acceptor;

void dsm_acceptor_init(dsm_acceptor *acceptor);
bool dsm_acceptor_empty(const dsm_acceptor *acceptor);
/* PREPARE, ACCEPT, ERASE; `node` is the acceptor's own number. */
dsm_status dsm_acceptor_receive(dsm_acceptor *acceptor, uint32_t node,
                                const dsm_paxos_message *message, dsm_paxos_outputs *outputs);

/* What one proposing process is: shared by all its rounds, durable but for the counter's growth.
 * The incarnation grows with each restart, so the counter may fall back to what was persisted. */
typedef struct dsm_proposer_identity {
  uint64_t counter, age;
  uint32_t node, incarnation;
} dsm_proposer_identity;

typedef enum dsm_round_phase {
  DSM_ROUND_IDLE,
  DSM_ROUND_PREPARING,
  DSM_ROUND_PROMISED, /* a quorum promised; `value` is the highest accepted that it reported */
  DSM_ROUND_ACCEPTING,
  DSM_ROUND_ACCEPTED,
  DSM_ROUND_REFUSED, /* so many refused that no quorum is left */
} dsm_round_phase;

typedef struct dsm_round {
  dsm_paxos_config config;
  uint64_t key;
  uint64_t age; /* the proposer's at the start: later messages must not look younger than that */
  uint64_t replied, refused, carried; /* nodes: agreed to this phase; refused; promised `next` */
  dsm_ballot ballot, next, highest;   /* highest: ballot of the highest accepted value reported */
  dsm_paxos_value value;
  dsm_round_phase phase;
} dsm_round;

void dsm__round_prepare(dsm_round *round, dsm_proposer_identity *identity,
                        dsm_paxos_outputs *outputs);
/* `carry`: ask for a promise to a next ballot along with the acceptance. */
void dsm__round_accept(dsm_round *round, dsm_proposer_identity *identity, bool carry,
                       dsm_paxos_outputs *outputs);
/* Returns true when the phase changed. */
bool dsm__round_receive(dsm_round *round, dsm_proposer_identity *identity,
                        const dsm_paxos_message *message);
void dsm__round_resend(const dsm_round *round, uint32_t node, dsm_paxos_outputs *outputs);
/* Wait before the attempt-th retry: drawn from the seed, doubling up to 64 times the base. */
uint64_t dsm__paxos_backoff_us(uint64_t base_us, uint64_t seed, uint32_t attempt);
dsm_paxos_message *dsm__paxos_say(dsm_paxos_message *list, uint32_t *count, uint32_t kind,
                                  uint64_t key, uint32_t from, uint64_t to);

typedef struct dsm_paxos_options {
  uint64_t resend_us;
  uint64_t backoff_us;
  uint64_t seed;
} dsm_paxos_options;

typedef struct dsm_proposer {
  dsm_paxos_options options;
  dsm_round round;
  dsm_paxos_value wanted, chosen; /* `chosen.present` once known */
  uint64_t wake_us;               /* next resend, or the end of a backoff */
  uint64_t learners;
  uint32_t attempt;
} dsm_proposer;

/* Single decree: `learners` are told what was chosen. */
dsm_status dsm_proposer_init(dsm_proposer *proposer, uint64_t key, const dsm_paxos_config *config,
                             uint64_t learners, const dsm_paxos_options *options);
dsm_status dsm_proposer_propose(dsm_proposer *proposer, dsm_proposer_identity *identity,
                                const dsm_paxos_value *value, uint64_t now_us,
                                dsm_paxos_outputs *outputs);
dsm_status dsm_proposer_receive(dsm_proposer *proposer, dsm_proposer_identity *identity,
                                const dsm_paxos_message *message, uint64_t now_us,
                                dsm_paxos_outputs *outputs);
void dsm_proposer_tick(dsm_proposer *proposer, dsm_proposer_identity *identity, uint64_t now_us,
                       dsm_paxos_outputs *outputs);

#endif
