/* Membership by gossip: who is in the cluster, in which incarnation, and is it alive?
 *
 * Source: Das, Gupta, Motivala, "SWIM" (2002): sections 3 (probing), 4.1 (piggybacked gossip),
 * 4.2 (suspicion and incarnations), 4.3 (round-robin probing); Dadgar et al., "Lifeguard" (2018):
 * suspicion that shrinks with independent confirmations, local health.
 *
 * The law: what is known of a member is a pair (incarnation, state), and news are merged by taking
 * the greater pair (alive < suspect < dead < left), so every order and repetition of the same news
 * ends the same; only a member itself raises its incarnation, to refute; nobody is declared dead
 * without having been suspect for the suspicion time-out.
 *
 * Pure: the caller owns the struct and its table, passes `now_us`, and sends the messages. One
 * thread at a time per struct. Nothing waits for a disk: a restarted member that has forgotten its
 * last refutation hears of it from the others and refutes above it.
 */
#ifndef DSM_PROTO_MEMBERSHIP_H
#define DSM_PROTO_MEMBERSHIP_H

#include "failure_detector.h"

enum {
  DSM_MEMBERSHIP_NEWS_MAX = 32,
  DSM_MEMBERSHIP_MESSAGES_MAX = 8,
  DSM_MEMBERSHIP_CHANGES_MAX = 40,
  DSM_MEMBERSHIP_CONFIRMERS_MAX = 8,
  DSM_MEMBERSHIP_RELAYS_MAX = 64,
};

typedef enum dsm_member_state {
  DSM_MEMBER_UNKNOWN,
  DSM_MEMBER_ALIVE,
  DSM_MEMBER_SUSPECT,
  DSM_MEMBER_DEAD,
  DSM_MEMBER_LEFT,
} dsm_member_state;

typedef struct dsm_member_news {
  uint64_t incarnation;
  uint32_t node;
  uint32_t accuser; /* SUSPECT: who says so */
  uint32_t state;
} dsm_member_news;

typedef enum dsm_membership_kind {
  DSM_MEMBERSHIP_PING = 1,
  DSM_MEMBERSHIP_PING_REQ,
  DSM_MEMBERSHIP_ACK,
} dsm_membership_kind;

typedef struct dsm_membership_message {
  uint64_t sequence;
  uint32_t kind;
  uint32_t from, to;
  uint32_t about; /* PING_REQ: whom to ping; ACK: who is alive */
  uint32_t news_count;
  dsm_member_news news[DSM_MEMBERSHIP_NEWS_MAX];
} dsm_membership_message;

typedef struct dsm_membership_outputs {
  dsm_membership_message messages[DSM_MEMBERSHIP_MESSAGES_MAX];
  dsm_member_news changes[DSM_MEMBERSHIP_CHANGES_MAX]; /* of the table, in order */
  uint32_t message_count, change_count;
} dsm_membership_outputs;

typedef struct dsm_member {
  uint64_t incarnation;
  uint64_t suspect_since_us;
  uint32_t confirmers[DSM_MEMBERSHIP_CONFIRMERS_MAX]; /* SUSPECT: the first is the accuser */
  uint32_t confirmer_count;
  uint32_t told; /* how many messages have carried this news */
  dsm_member_state state;
} dsm_member;

typedef struct dsm_membership_options {
  uint64_t probe_interval_us, probe_timeout_us;
  uint64_t suspicion_min_us, suspicion_max_us;
  uint64_t seed;
  uint32_t confirmations; /* that bring the suspicion time-out down to its minimum; a cluster too
                           * small to give them has the minimum at once */
  uint32_t indirect;      /* members asked to ping in our stead */
  uint32_t retell;        /* each news is told retell × ceil(log10(members + 1)) times */
  uint32_t dead_every;    /* every so many probes go to a dead member: how partitions heal */
  uint32_t health_max;
} dsm_membership_options;

typedef struct dsm_membership_relay {
  uint64_t sequence, origin_sequence;
  uint32_t origin;
} dsm_membership_relay;

typedef struct dsm_membership {
  dsm_membership_options options;
  dsm_member *members; /* one per node number, the caller's */
  dsm_local_health health;
  dsm_membership_relay relays[DSM_MEMBERSHIP_RELAYS_MAX];
  uint64_t random;
  uint64_t sequence;
  uint64_t probe_sequence, probe_timeout_at_us, probe_end_us;
  uint32_t capacity, node;
  uint32_t alive_count, suspect_count; /* of members other than this node */
  uint32_t probes, next_relay, next_filler;
  uint32_t order_start, order_stride, order_done; /* a round of probing is start + i·stride */
  uint32_t probed; /* the member being probed; `capacity` when none */
  bool asked;      /* the indirect probes are out */
} dsm_membership;

/* Lifeguard section IV.B: from max down to min, by the logarithm of independent confirmations;
 * rounded down to whole milliseconds. */
uint64_t dsm_suspicion_timeout_us(uint32_t confirmations, uint32_t expected, uint64_t min_us,
                                  uint64_t max_us);

dsm_status dsm_membership_init(dsm_membership *membership, dsm_member *members, uint32_t capacity,
                               uint32_t node, uint64_t incarnation,
                               const dsm_membership_options *options, uint64_t now_us);
/* Takes `news` as heard from outside: how a node learns of its first members. */
dsm_status dsm_membership_hear(dsm_membership *membership, const dsm_member_news *news,
                               uint64_t now_us, dsm_membership_outputs *outputs);
/* Takes a member as alive from a list that everybody has, so that nobody is told of it: how many
 * nodes start at once. DSM_USAGE for this node itself and for one that is known already. */
dsm_status dsm_membership_know(dsm_membership *membership, uint32_t node, uint64_t incarnation);
dsm_status dsm_membership_receive(dsm_membership *membership, const dsm_membership_message *message,
                                  uint64_t now_us, dsm_membership_outputs *outputs);
void dsm_membership_tick(dsm_membership *membership, uint64_t now_us,
                         dsm_membership_outputs *outputs);
/* Tells `indirect` members at once that this node leaves. */
void dsm_membership_leave(dsm_membership *membership, dsm_membership_outputs *outputs);
void dsm_membership_outputs_clear(dsm_membership_outputs *outputs);

/* Shared by the two files of the implementation. */
void dsm__membership_compose(dsm_membership *membership, uint32_t kind, uint32_t to,
                             uint64_t sequence, uint32_t about, dsm_membership_outputs *outputs);
void dsm__membership_accuse(dsm_membership *membership, uint32_t node, uint64_t now_us,
                            dsm_membership_outputs *outputs);

#endif
