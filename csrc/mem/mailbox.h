/* Mailboxes: how tasks reach a node and results come back, without a system call on the hot path.
 *
 * Per node two rings of byte records, owner to node and node to owner, a bell for the node, and a
 * slot per task that is on its way; one more bell for the owner, whom all nodes ring.
 *
 *   I  a ring has one producing and one consuming process; within each, one thread at a time
 *   I  a record is whole before the tail that shows it is stored: a kill leaves it out or in
 *   I  what is read was bounded and its checksum compared (I-10), salted with its place
 *   I  a claim is 0, a task's serial (queued: whoever changes it first has the task) or that with
 *      DSM_CLAIM_STARTED (its node began it); so after a death the owner knows what had begun
 *   I  rings and claims are emptied by the owner alone, while the node has no living process
 *
 * operation           by               blocks   killed in the middle
 * append, publish     producer         no       nothing is seen before the publish
 * next, consume       consumer         no       the record is read again (the owner's end: never)
 * claim, revoke       node, owner      no       one compare-and-swap decides
 * bell_ring           anybody          no       the sleeper looks by itself after DSM_LOCK_SLICE_MS
 * mailbox_wait        the listeners    ≤ 50 ms  the next ring costs a futile wake
 */
#ifndef DSM_MEM_MAILBOX_H
#define DSM_MEM_MAILBOX_H

#include "../base/limits.h"
#include "../os/os.h"

#define DSM_MAILBOX_RING_BYTES 65536u
#define DSM_MAILBOX_RECORD_BYTES_MAX (DSM_MAILBOX_RING_BYTES / 2) /* so it fits an empty ring */
#define DSM_MAILBOX_SLOTS 256u
#define DSM_CLAIM_STARTED (1ull << 63)

typedef struct dsm_ring_shm {
  _Alignas(64) dsm_atomic_u64 head; /* bytes consumed since the ring was emptied */
  _Alignas(64) dsm_atomic_u64 tail; /* bytes published */
  _Alignas(64) uint8_t bytes[DSM_MAILBOX_RING_BYTES];
} dsm_ring_shm;
_Static_assert(sizeof(dsm_ring_shm) == 128 + DSM_MAILBOX_RING_BYTES, "two lines and the bytes");

/* Who listens has one or two threads: the second takes over while the first is elsewhere. */
typedef enum dsm_listener { DSM_LISTENER_FIRST = 0, DSM_LISTENER_SECOND = 1 } dsm_listener;

typedef struct dsm_doorbell_shm {
  dsm_atomic_u32 asleep;  /* 0: somebody is awake and will look; 1 + the listener to be woken */
  dsm_atomic_u32 leading; /* 1: the first listener is at its post */
  dsm_atomic_u32 rung[2]; /* per listener: grows with each wake; what it sleeps on */
  dsm_atomic_u32 deaths;  /* owner's bell: nodes whose end was dealt with, so far */
  dsm_atomic_u32 rung_on; /* 1 + the processor of who rang last: a hint */
  dsm_atomic_u64 rung_ns; /* CLOCK_MONOTONIC of the latest wake; only patience depends on it */
  dsm_atomic_u64 stay_ns; /* until then the listener does not move away from who rings */
  dsm_atomic_u32 called;  /* times that the second listener was called to look around */
  uint32_t reserved[5];
} dsm_doorbell_shm;
_Static_assert(sizeof(dsm_doorbell_shm) == 64, "one bell, one line");

typedef struct dsm_mailbox_shm {
  dsm_doorbell_shm bell;            /* the node's */
  _Alignas(64) dsm_atomic_u64 done; /* tasks finished by all processes of this node */
  dsm_atomic_u64 busy_ns;           /* time spent in them */
  uint64_t reserved[6];
  dsm_atomic_u64 claims[DSM_MAILBOX_SLOTS];
  dsm_atomic_u64 started_ns[DSM_MAILBOX_SLOTS]; /* CLOCK_MONOTONIC at which the claim was made */
  dsm_ring_shm to_node, to_owner;
} dsm_mailbox_shm;

typedef struct dsm_mailboxes_shm {
  dsm_doorbell_shm bell; /* the owner's */
  dsm_mailbox_shm nodes[DSM_NODES_MAX];
} dsm_mailboxes_shm;

/* A record without its payload. `bytes` is the payload's length. */
typedef struct dsm_record_shm {
  uint32_t bytes;
  uint32_t check;
  uint8_t kind; /* 0 is the padding in front of the ring's end; others are the callers' */
  uint8_t codec;
  uint16_t slot;
  uint32_t function;
  uint64_t serial;
} dsm_record_shm;
_Static_assert(sizeof(dsm_record_shm) == 24, "records begin at multiples of eight");

/* Appends behind *at, which begins as the tail and is not yet published. DSM_TOO_MANY without room
 * now, DSM_USAGE for a payload that no ring can hold, DSM_CORRUPT if the ring's ends are damaged.
 */
dsm_status dsm_ring_append(dsm_ring_shm *ring, uint64_t *at, const dsm_record_shm *record,
                           const void *payload);
/* The record at *at, which begins as the head; the payload lies in the ring until it is consumed.
 * DSM_NOT_FOUND at the end, DSM_CORRUPT if it does not verify. */
dsm_status dsm_ring_next(const dsm_ring_shm *ring, uint64_t *at, dsm_record_shm *record,
                         const uint8_t **payload);

static inline uint64_t dsm_ring_tail(const dsm_ring_shm *ring) {
  return dsm_load_relaxed_u64(&ring->tail);
}

static inline uint64_t dsm_ring_head(const dsm_ring_shm *ring) {
  return dsm_load_relaxed_u64(&ring->head);
}

static inline void dsm_ring_publish(dsm_ring_shm *ring, uint64_t at) {
  dsm_store_release_u64(&ring->tail, at);
}

static inline void dsm_ring_consume(dsm_ring_shm *ring, uint64_t at) {
  dsm_store_release_u64(&ring->head, at);
}

/* A reader that looks too early finds nothing and looks again: staleness is harmless. */
static inline bool dsm_ring_news(const dsm_ring_shm *ring) {
  return dsm_load_acquire_u64(&ring->tail) != dsm_load_relaxed_u64(&ring->head);
}

/* True if the task was still queued and is this caller's now. */
static inline bool dsm_mailbox_claim(dsm_mailbox_shm *box, unsigned slot, uint64_t serial,
                                     uint64_t now_ns) {
  uint64_t expected = serial;
  dsm_store_relaxed_u64(&box->started_ns[slot], now_ns);
  return dsm_cas_acq_rel_u64(&box->claims[slot], &expected, serial | DSM_CLAIM_STARTED);
}

/* The owner's side: true if the task had not begun; it never will. */
static inline bool dsm_mailbox_revoke(dsm_mailbox_shm *box, unsigned slot, uint64_t serial) {
  uint64_t expected = serial;
  return dsm_cas_acq_rel_u64(&box->claims[slot], &expected, 0);
}

/* Wakes who sleeps, if somebody does. To be called after the publish. */
void dsm_doorbell_ring(dsm_doorbell_shm *bell);

/* Calls the second listener to look around, whatever the first one does, though there be nothing to
 * read: it is told by `called`, whose value it takes before it looks. */
void dsm_doorbell_ring_second(dsm_doorbell_shm *bell);

static inline uint32_t dsm_doorbell_calls(const dsm_doorbell_shm *bell) {
  return dsm_load_acquire_u32(&bell->called);
}

/* For a thread that listened at the first listener's post and is not to read: the other thread
 * that listens there looks now. */
void dsm_doorbell_pass(dsm_doorbell_shm *bell);

/* Whether there is something to read: at node's end, or (node < 0) at the owner's: from any of the
 * nodes, or a number of deaths other than `deaths`. */
bool dsm_mailbox_news(const dsm_mailboxes_shm *boxes, uint32_t node_count, int node,
                      uint32_t deaths);
/* Spins for *spin_ns, which it adapts to what waits last, then sleeps once, at most wait_us.
 * Returns whether there are news. The second listener leaves them to the first while that one
 * leads. */
bool dsm_mailbox_wait(dsm_mailboxes_shm *boxes, uint32_t node_count, int node, uint32_t deaths,
                      dsm_listener listener, uint32_t *spin_ns, uint32_t wait_us);
/* The first listener of the owner's bell comes to its post, and leaves it. */
void dsm_doorbell_lead(dsm_doorbell_shm *bell);
void dsm_doorbell_leave(dsm_mailboxes_shm *boxes, uint32_t node_count, uint32_t deaths);
/* A node is dead, and its slot says so. */
void dsm_doorbell_tell_death(dsm_doorbell_shm *bell);

/* Empties rings and claims; only while the node has no living process. */
void dsm_mailbox_reset(dsm_mailbox_shm *box);

#endif
