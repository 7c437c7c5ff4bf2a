/* Events: what happened to the members of the cluster, each fact once, in one order.
 *
 * A ring in the control segment. Posting takes the ring's lock for some hundred nanoseconds;
 * reading takes none. A *fact* (kind of fact, subject, value) makes a record unique, however many
 * threads learn of it: a value that is not above the recorded one is known already.
 *
 *   I  order of a post: record, then head, then fact. Whoever is killed between is finished by the
 *      next poster, who notes the fact of the latest record again before it looks at its own
 *   I  a record carries its sequence under its checksum: one that is being overwritten, torn or
 *      damaged is never taken for another
 *   I  readers may look at the latest DSM_EVENTS_MAX - 1 records; who is slower is told that it
 *      missed some, and how many follows from the sequences
 *
 * operation        by           blocks            killed
 * dsm_event_post   any process  ≤ call->wait_ms   the record is in with its fact, or not at all
 * dsm_event_read   any process  no                –
 * dsm_event_wait   any process  ≤ wait_us         –
 */
#ifndef DSM_NODE_EVENT_H
#define DSM_NODE_EVENT_H

#include "../mem/space.h"

typedef enum dsm_event_kind {
  DSM_EVENT_JOINED = 1,    /* a node serves for the first time */
  DSM_EVENT_SUSPECTED = 2, /* no heartbeat for too long */
  DSM_EVENT_CLEARED = 3,   /* … but then one came */
  DSM_EVENT_FENCED = 4,    /* a hung node was sent SIGKILL; its end follows */
  DSM_EVENT_DEAD = 5,      /* a node's process has ended */
  DSM_EVENT_REPAIRED = 6,  /* what it held was repaired: `amount` locks */
  DSM_EVENT_EXITED = 7,    /* its parent learned how it had ended: `status` */
  DSM_EVENT_REPLACED =
      8, /* the next incarnation serves: `incarnation`, `pid`, `recovery_ns`, parts mended */
  DSM_EVENT_CLIENT_DEAD = 9,
  DSM_EVENT_OWNER_DEAD = 10,
  DSM_EVENT_DRAINING = 11,     /* a node is being removed */
  DSM_EVENT_LEFT = 12,         /* a node was removed */
  DSM_EVENT_SEGMENT_LOST = 13, /* a node's segment is missing or damaged */
  DSM_EVENT_REBUILD_STARTED = 14,
  DSM_EVENT_REBUILD_DONE = 15, /* `amount` objects, `bytes` */
  DSM_EVENT_REBALANCE_STARTED = 16,
  DSM_EVENT_REBALANCE_DONE = 17,  /* `amount` stripes, `bytes` */
  DSM_EVENT_CHECKPOINT_DONE = 18, /* `amount` objects, `bytes` */
  DSM_EVENT_DAMAGE_FOUND = 19,    /* `amount` objects that did not verify */
  DSM_EVENT_DAMAGE_MENDED = 20,   /* `amount` objects taken from a replica */
  DSM_EVENT_FILLED = 21,   /* `amount` lost objects of `stripes` stripes came from a checkpoint */
  DSM_EVENT_UNFILLED = 22, /* … could not come from it; they stay lost */
  DSM_EVENT_ARRAY_MENDED = 23, /* `amount` copies of arrays were made anew */
  DSM_EVENT_ARRAY_LOST = 24,   /* no copy is left of `amount` arrays */
  DSM_EVENT_KIND_END
} dsm_event_kind;

/* What makes a record unique, beside its subject. Values grow: an incarnation, a build, an epoch.
 */
typedef enum dsm_fact {
  DSM_FACT_NONE = 0,      /* recorded as often as posted */
  DSM_FACT_SUSPICION = 1, /* by participant: dsm_suspicion of incarnation and turn */
  DSM_FACT_FENCED = 2,    /* by participant: incarnation */
  DSM_FACT_DEATH = 3,     /* by participant: incarnation */
  DSM_FACT_REPAIR = 4,    /* by participant: incarnation */
  DSM_FACT_EXIT = 5,      /* by participant: incarnation */
  DSM_FACT_SERVING = 6,   /* by participant: incarnation */
  DSM_FACT_DRAINING = 7,  /* by node: epoch */
  DSM_FACT_LEFT = 8,      /* by node: build */
  DSM_FACT_LOST = 9,      /* by node: build that was lost */
  DSM_FACT_REBUILD = 10,  /* by node: build << 1, | 1 when done */
  DSM_FACT_REBALANCE = 11 /* by 0: epoch << 1, | 1 when done */
} dsm_fact;
_Static_assert(DSM_FACT_REBALANCE < DSM_FACTS_MAX, "facts fit their table");

typedef enum dsm_finding {
  DSM_FINDING_UNSAID = 0,
  DSM_FINDING_KERNEL = 1,    /* the kernel reported the end (pidfd) */
  DSM_FINDING_HEARTBEAT = 2, /* no heartbeat came */
  DSM_FINDING_PARENT = 3,    /* who started it ended it: a task's time-out, a vain start */
  DSM_FINDING_CHECKSUM = 4,  /* bytes did not verify */
  DSM_FINDING_INJECTED = 5,  /* cluster.faults did it */
} dsm_finding;

/* A record as it is posted and read. Zero what does not apply; node -1 for no node. */
typedef struct dsm_event {
  uint64_t sequence;     /* set by the post; 0: the fact was known, nothing was recorded */
  uint64_t realtime_ns;  /* CLOCK_REALTIME, set by the post */
  uint64_t monotonic_ns; /* CLOCK_MONOTONIC, set by the post */
  uint64_t value;        /* of the fact */
  uint32_t fact;         /* dsm_fact */
  uint32_t subject;      /* of the fact: participant or node */
  uint32_t kind;         /* dsm_event_kind */
  int32_t node;
  uint32_t incarnation;
  uint32_t pid;
  uint32_t found; /* dsm_finding */
  int32_t status; /* exit status, or minus the signal; DSM_STATUS_UNKNOWN */
  uint32_t by;    /* participant that posted it, set by the post */
  uint32_t stripes;
  uint64_t amount, bytes;
  uint64_t detection_ns;  /* from the failure, as well as it can be told, to this record */
  uint64_t recovery_ns;   /* from the record of the failure to that of its repair */
  uint64_t checkpoint;    /* its number in its directory, 0 for a stream */
  uint64_t checkpoint_ns; /* CLOCK_REALTIME when it was taken */
} dsm_event;
_Static_assert(sizeof(dsm_event) == (DSM_EVENT_WORDS - 1) * 8, "an event fills its record");

#define DSM_STATUS_UNKNOWN INT32_MIN

/* Odd turns are suspicions, even ones their ends. */
static inline uint64_t dsm_suspicion(uint32_t incarnation, uint32_t turn) {
  return (uint64_t)(incarnation & 0xFFFFFF) << 20 | (turn & 0xFFFFF);
}

dsm_status dsm_event_init(const dsm_space *space);

/* Records the event, if its fact is new. DSM_LOCK_TIMEOUT: nothing was recorded, try again. */
dsm_status dsm_event_post(dsm_call *call, dsm_event *event);

/* The value that was recorded of a fact, 0 if none was; it may be staler than the ring. */
uint64_t dsm_event_known(const dsm_space *space, dsm_fact fact, uint32_t subject);

typedef enum dsm_event_outcome {
  DSM_EVENT_READ,
  DSM_EVENT_NONE_YET,
  DSM_EVENT_OVERWRITTEN,
  DSM_EVENT_DAMAGED,
} dsm_event_outcome;

/* Sequence of the latest record; 0 if there is none. */
uint64_t dsm_event_latest(const dsm_space *space);
/* Sequence of the oldest record that can be read; 1 at first. */
uint64_t dsm_event_oldest(const dsm_space *space);
dsm_event_outcome dsm_event_read(const dsm_space *space, uint64_t sequence, dsm_event *out);
/* Sleeps while `sequence` is the latest, at most wait_us, if nothing wakes it before. */
void dsm_event_wait(const dsm_space *space, uint64_t sequence, uint32_t wait_us);

#endif
