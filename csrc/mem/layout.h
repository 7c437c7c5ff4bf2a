/* The format of the segments: what lies where. docs/segment-format.md shows it as tables.
 *
 * A cluster has one control segment (identity, participants, regions, routes, locks, intents, pins)
 * and one segment per node (subs: one sub-table head per stripe; page map; pages). Offsets follow
 * from the configuration alone, so that nothing that could be damaged steers where areas begin.
 * Integers are little-endian and of fixed width; no pointer is ever stored.
 *
 *   I  configuration is written once, before any other process can attach, and carries a checksum.
 *   I  words that steer the engine are sealed (base/word.h); routes, counts and heads among them.
 *   I  locks live in the control segment only and are never moved, reused or unmapped (I-4).
 */
#ifndef DSM_MEM_LAYOUT_H
#define DSM_MEM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "../base/atomic.h"
#include "../base/limits.h"
#include "../base/word.h"
#include "../os/os.h"

#define DSM_CONTROL_MAGIC 0x4C5254434D534400ull /* "\0DSMCTRL" */
#define DSM_NODE_MAGIC 0x45444F4E4D534400ull    /* "\0DSMNODE" */
#define DSM_LAYOUT_VERSION 3u
#define DSM_BIN_COUNT 112u  /* free-run size bins: four per power of two of pages */
#define DSM_INLINE_SLOTS 6u /* what fits the sub's first line beside table and generation */
#define DSM_FIT_COUNT 6u    /* lists of slabs: free runs of 1, 2, 4, 8, 16, 32 grains or more */
#define DSM_RETIRE_MAX 3u   /* page runs that one operation can let go */

/* How a cluster watches its nodes, and what follows; the same in every process (node/peers.h). */
typedef struct dsm_detection_shm {
  uint32_t heartbeat_ms; /* between two beats of a service thread, and between two judgements */
  uint32_t suspect_ms;   /* of silence, then a node is suspected */
  uint32_t timeout_ms;   /* of silence, then it is taken for hung, and killed */
  uint32_t accrual;      /* 1: judged by phi accrual, which learns the intervals */
  uint32_t phi_suspect_milli, phi_dead_milli; /* thousandths */
  uint32_t pause_ms;                          /* accrual: silence beyond the mean that is fine */
  uint32_t recovery;                          /* dsm_recovery */
  uint32_t faults;                            /* 1: faults may be injected */
  uint32_t reserved;
} dsm_detection_shm;

typedef enum dsm_recovery {
  DSM_RECOVERY_ADOPT = 1,   /* the next incarnation takes the segment as it is, and repairs it */
  DSM_RECOVERY_REBUILD = 2, /* the segment counts as lost */
  DSM_RECOVERY_NONE = 3,    /* a death is reported, and that is all */
} dsm_recovery;

typedef struct dsm_config_shm {
  uint64_t cluster_id;         /* random; every segment of the cluster repeats it */
  uint64_t hash_seed;          /* random; keys cannot be chosen to collide */
  uint64_t pid_namespace;      /* pids below are of this namespace */
  uint64_t created_ns;         /* CLOCK_REALTIME */
  uint64_t node_segment_bytes; /* reserved size of each node's segment */
  uint32_t node_count;
  uint32_t stripe_count;    /* power of two */
  uint32_t replicas;        /* replication factor */
  uint32_t scrub_kib_per_s; /* that each node's scrubber may look at; 0: it does not */
  char name[DSM_CLUSTER_NAME_BYTES];
  dsm_detection_shm detection;
} dsm_config_shm;

/* Far apart, and not 0: flipped bits and a zeroed word are no state, rather than another one. */
typedef enum dsm_cluster_state {
  DSM_STATE_STARTING = 0x1E95D3A6,
  DSM_STATE_RUNNING = 0x6B38A54D,
  DSM_STATE_STOPPING = 0x74C70E9B, /* asked to end; nodes leave */
} dsm_cluster_state;
#define DSM_DETACHED 0x58E1934Du /* the cluster outlives its owner */
#define DSM_OWNED 0x2D947CB2u    /* it does not */

/* A lock and who holds it. The owner is for messages and the service thread, never for safety. */
typedef struct dsm_lock_shm {
  dsm_os_mutex_shm mutex;
  dsm_atomic_u32 owner;       /* participant + 1 of the latest holder; 0 before the first */
  dsm_atomic_u32 quarantined; /* 1: a repair failed; what it protects is refused */
  dsm_atomic_u32 repairs;     /* how often a dead owner's work was finished or undone */
  dsm_atomic_u32 pending;     /* DSM_PENDING_* bits: what the next holder must do first */
} dsm_lock_shm;
_Static_assert(sizeof(dsm_lock_shm) == 64, "one lock, one cache line");

#define DSM_PENDING_REPAIR 1u /* an owner died and its work is not known to be finished */
#define DSM_PENDING_SETTLE 2u /* a sub may hold runs that are reserved or retired */
#define DSM_PENDING_HOLDS 4u  /* a transaction's holds of the stripe could not be given back yet */
#define DSM_PENDING_BELL 8u   /* somebody waits for a change; set without the lock */
#define DSM_PENDING_MEND 16u  /* the stripe is being mended, or is to be: do not believe a miss */
#define DSM_PENDING_LOST 32u  /* the stripe may have lost keys: its word in `losses` tells */
#define DSM_PENDING_TURN 64u  /* a mover waits for the lock; set without it */

typedef struct dsm_control_shm {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t word_bytes;
  dsm_config_shm config;
  uint64_t config_check;
  dsm_atomic_u32 state; /* dsm_cluster_state */
  dsm_atomic_u32 detached;
  dsm_atomic_u64 epoch;
  dsm_atomic_u64 region_count;      /* sealed: records below this are in use, and must verify */
  dsm_atomic_u32 participants_high; /* slots above this index were never taken */
  uint32_t reserved;
  dsm_atomic_u64 sync_count; /* sealed: as region_count, of the synchronisation records */
  dsm_atomic_u64 cut;        /* 0, or the sealed number of the checkpoint that runs (store/cut.h) */
  _Alignas(64) dsm_lock_shm registry; /* protects participants, regions, making of records */
} dsm_control_shm;
_Static_assert(sizeof(dsm_control_shm) <= DSM_PAGE_BYTES, "the control header fits its page");

typedef enum dsm_participant_kind {
  DSM_PARTICIPANT_FREE = 0,
  DSM_PARTICIPANT_OWNER = 1,
  DSM_PARTICIPANT_NODE = 2,
  DSM_PARTICIPANT_CLIENT = 3,
  DSM_PARTICIPANT_FORKING = 4, /* holds the pins of a child that is being forked */
  DSM_PARTICIPANT_DEAD = 5,    /* the owner or a node whose end was dealt with */
} dsm_participant_kind;

typedef struct dsm_participant_shm {
  dsm_atomic_u32 kind;
  dsm_atomic_u32 incarnation; /* grows each time the slot is taken */
  dsm_atomic_u32 pid;
  dsm_atomic_u32 node; /* node id, for kind NODE */
  dsm_atomic_u64 start_ticks;
  dsm_atomic_u64 beat_ns;   /* CLOCK_MONOTONIC of the service thread's latest round */
  dsm_atomic_u32 pins_high; /* pins above this index were never used */
  dsm_atomic_u32 ready;
  dsm_atomic_u32 beating;    /* 1: its service thread has begun (an owner is not judged before) */
  dsm_atomic_u32 struck_why; /* dsm_finding (node/event.h): why it was killed; 0: by nobody of us */
  dsm_atomic_u64 struck_ns;  /* CLOCK_MONOTONIC at which somebody of us set out to kill it */
  dsm_atomic_u64 died_ns;    /* at which its end was found, of the latest that had served */
  dsm_atomic_u32 repaired;   /* locks whose work was finished or undone after its end */
  dsm_atomic_u32 threads[2]; /* numbers of its service threads; 0: none that would end with it */
  uint32_t reserved_half;
  uint64_t reserved[6];
} dsm_participant_shm;
_Static_assert(sizeof(dsm_participant_shm) == 128, "participants do not share lines");
_Static_assert(offsetof(dsm_participant_shm, died_ns) == 56, "judging takes the first line alone");

typedef struct dsm_region_shm {
  uint64_t check; /* over everything below */
  uint32_t replicas;
  uint32_t allow_pickle;
  uint32_t name_bytes;
  char name[DSM_REGION_NAME_BYTES];
  uint8_t reserved[172];
} dsm_region_shm;
_Static_assert(sizeof(dsm_region_shm) == 256, "one region record");

typedef enum dsm_sync_kind {
  DSM_SYNC_LOCK = 1,
  DSM_SYNC_SEMAPHORE = 2,
  DSM_SYNC_BARRIER = 3,
  DSM_SYNC_EVENT = 4,
  DSM_SYNC_CONDITION = 5,
  DSM_SYNC_QUEUE = 6,
  DSM_SYNC_COUNTER = 7,
  DSM_SYNC_ATOMIC = 8,
} dsm_sync_kind;

#define DSM_SYNC_SETTINGS 6u
#define DSM_SYNC_WORDS 6u

/* An object of synchronisation (mem/sync.h). The first three lines are written once; what the words
 * mean is said by the file of the kind. */
typedef struct dsm_sync_shm {
  uint64_t check; /* over the rest of the first three lines */
  uint32_t kind;  /* dsm_sync_kind */
  uint32_t name_bytes;
  uint64_t settings[DSM_SYNC_SETTINGS];
  uint64_t heap_offset; /* of its share of the heap; no share if heap_bytes is 0 */
  uint64_t heap_bytes;
  char name[DSM_SYNC_NAME_BYTES];
  uint8_t reserved[48];
  dsm_lock_shm lock; /* held for the stores of one change */
  dsm_atomic_u64 words[DSM_SYNC_WORDS];
  dsm_atomic_u32 sleep[2]; /* what waiters sleep on */
  uint64_t reserved_word;
  dsm_atomic_u64 far_words[8]; /* a line of its own, for what the other side writes */
} dsm_sync_shm;
_Static_assert(sizeof(dsm_sync_shm) == 384, "six cache lines");
_Static_assert(offsetof(dsm_sync_shm, lock) == 192, "what is written once has its own lines");
_Static_assert(offsetof(dsm_sync_shm, words) == 256, "the words begin a line");
_Static_assert(offsetof(dsm_sync_shm, far_words) == 320, "the far words begin a line");

typedef struct dsm_intent_entry_shm {
  dsm_atomic_u64 locator;
  dsm_atomic_u64 value;
} dsm_intent_entry_shm;

typedef struct dsm_intent_shm {
  dsm_atomic_u64 armed;    /* 0, or the checksum of all below */
  dsm_atomic_u64 count;    /* entries in use */
  dsm_atomic_u64 decision; /* 0, or the locator of the word that says whether this happens */
  dsm_atomic_u64 decided;  /* what that word must hold for the entries to be carried out */
  dsm_intent_entry_shm entries[DSM_INTENT_ENTRIES_MAX];
} dsm_intent_shm;
_Static_assert(sizeof(dsm_intent_shm) == 1536, "one intent");

/* One of the places through which transactions commit (mem/decision.h). The lock is held by the
 * process that does; `decision` is what the armed intents of its stripes refer to. */
typedef struct dsm_decision_shm {
  dsm_lock_shm lock;
  dsm_atomic_u64 decision;   /* sealed number of the latest transaction that was decided */
  dsm_atomic_u64 number;     /* sealed number of the latest one that was begun */
  dsm_atomic_u64 hold_count; /* sealed: holds below this may be in use */
  dsm_atomic_u64 backed;     /* sealed: holds below this have memory, and so have their entries */
  uint64_t reserved[4];
} dsm_decision_shm;
_Static_assert(sizeof(dsm_decision_shm) == 128, "decisions do not share lines");

/* An extent that a transaction took for a value not yet published, or unlinked and did not yet give
 * back. Protected by the lock of the stripe that `place` names. */
typedef struct dsm_hold_shm {
  dsm_atomic_u64 extent; /* 0: none; else sealed: 1 << 42 | page, or grains << 36 | grain offset */
  dsm_atomic_u64 place;  /* sealed: stripe << 8 | node; stays as it is while extent is not 0 */
} dsm_hold_shm;
_Static_assert(sizeof(dsm_hold_shm) == 16, "one hold");

#define DSM_HOLD_ENTRIES 8u /* entries of the log per hold: seven at most */

/* Head of one stripe at one node. Every word is sealed but the inline slots. Protected by the
 * stripe's lock; `table`, the slots and `gen` are also read without it. The first line is all of
 * the head that a reader touches, the second what a small change needs beside it. */
typedef struct dsm_sub_shm {
  dsm_atomic_u64 table; /* grain offset << 6 | capacity index; 0: no table yet */
  dsm_atomic_u64 inline_slots[DSM_INLINE_SLOTS]; /* of the smallest table */
  dsm_atomic_u64 gen;   /* grows with every change; the version given to the latest write */
  dsm_atomic_u64 used;  /* live slots << 22 | slots that are not empty */
  dsm_atomic_u64 spare; /* an empty slab kept for the next in need; 0: none */
  dsm_atomic_u64 partial[DSM_FIT_COUNT]; /* first slab with a free run of 2^n grains; 0: none */
  dsm_atomic_u64 reserved;               /* page run from the arena, not yet published; 0: none */
  dsm_atomic_u64 retire[DSM_RETIRE_MAX]; /* page runs to go back to the arena */
  dsm_atomic_u64 reserved_words[4];
} dsm_sub_shm;
_Static_assert(sizeof(dsm_sub_shm) == 192, "three cache lines; the first serves readers");
_Static_assert(offsetof(dsm_sub_shm, gen) == 56, "a reader needs one line");
_Static_assert(offsetof(dsm_sub_shm, reserved) == 128, "a small change needs two");

/* A page of a node's arena. Kept for a run's first page, and `run` also for its last page. */
typedef struct dsm_page_shm {
  dsm_atomic_u64 run;  /* sealed: kind << 28 | length in pages */
  dsm_atomic_u64 link; /* link-sealed: next << 28 | previous; for runs in use: stripe */
} dsm_page_shm;
_Static_assert(sizeof(dsm_page_shm) == 16, "two words per page");

typedef struct dsm_arena_shm {
  dsm_atomic_u64 bins[DSM_BIN_COUNT];          /* sealed page of the first free run; 0: none */
  dsm_atomic_u64 occupied[DSM_BIN_COUNT / 28]; /* sealed bit per bin, 28 to a word */
  dsm_atomic_u64 unbacked;                     /* sealed page of the first run without memory */
  dsm_atomic_u64 limbo;          /* sealed page of the first freed run that is still pinned */
  dsm_atomic_u64 free_pages;     /* sealed: pages in the bins */
  dsm_atomic_u64 unbacked_pages; /* sealed: pages that the kernel was not yet asked for */
  dsm_atomic_u64 limbo_pages;    /* sealed */
  dsm_atomic_u32 limbo_hint;     /* 1: a pin on a run in limbo went away */
  uint32_t reserved;
} dsm_arena_shm;

/* Which nodes there are (mem/nodes.h), and a copy of it in each node's segment. */
typedef struct dsm_node_table_shm {
  dsm_atomic_u64 epoch;                /* in a copy: of what it is one; unused in the original */
  dsm_atomic_u64 nodes[DSM_NODES_MAX]; /* sealed: build 24 | weight 16 | lent 1 | state 3 */
} dsm_node_table_shm;
_Static_assert(sizeof(dsm_node_table_shm) == 512, "eight lines");

/* The journal of a rebalance (node/balance.h): whoever has the lock goes on with it. */
typedef struct dsm_balance_shm {
  dsm_lock_shm lock;
  dsm_atomic_u64 planned;        /* epoch of the node table that the targets were made for */
  dsm_atomic_u64 done;           /* epoch for which everything is where it is to be */
  dsm_atomic_u64 bytes_per_s;    /* at most; 0: the default */
  dsm_atomic_u64 planned_copies; /* copies of stripes that the plan moves */
  dsm_atomic_u64 moved_stripes, moved_objects, moved_bytes; /* since the plan was made */
  dsm_atomic_u64 blocked; /* stripes that the latest walk had to leave, 0: none */
  dsm_atomic_u64 blocked_stripe, blocked_status; /* one of them, and why */
  dsm_atomic_u64 blocked_pid, blocked_ticks;     /* … and whose process has it; 0: nobody's */
  uint64_t reserved[4];
} dsm_balance_shm;
_Static_assert(sizeof(dsm_balance_shm) == 192, "a line for the lock, two for the rest");

typedef struct dsm_node_shm {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t node;
  dsm_config_shm config; /* copy, so that the control segment is no single point (I-7) */
  uint64_t config_check;
  uint64_t build; /* how many segments this node id has had, this one included */
  _Alignas(64) dsm_arena_shm arena;
} dsm_node_shm;
_Static_assert(sizeof(dsm_node_shm) <= DSM_PAGE_BYTES, "the node header fits its page");

/* What recovery has found and done, for stats; and one word by which readers ask for it. */
typedef struct dsm_scrub_shm {
  dsm_atomic_u64 rounds, bytes; /* over all stripes of the node; looked at */
  dsm_atomic_u64 found;         /* damaged stripes met */
  dsm_atomic_u64 rebuilt;       /* incarnation after whose death the segment was last replaced */
  dsm_atomic_u64 rebuilds;
  dsm_atomic_u64 adoptions, adopt_ns;      /* by later processes; time of the latest's verifying */
  dsm_atomic_u32 adopt_mended, adopt_left; /* parts that did not hold; stripes not yet hashed */
} dsm_scrub_shm;

typedef struct dsm_recovery_shm {
  dsm_atomic_u32 asked;       /* grows when damage was met that had to be left (PENDING_MEND) */
  dsm_atomic_u32 told_filled; /* low half of objects_filled, as events have told it */
  dsm_atomic_u64 stripes_mended;
  dsm_atomic_u64 objects_copied;               /* taken from another replica */
  dsm_atomic_u64 objects_attached;             /* found again without their slot */
  dsm_atomic_u64 objects_lost, objects_filled; /* … of the lost, taken from a checkpoint */
  dsm_atomic_u64 told_mended, told_lost;       /* of the counts above, what events have told */
  dsm_scrub_shm scrubs[DSM_NODES_MAX];
} dsm_recovery_shm;
_Static_assert(sizeof(dsm_recovery_shm) <= DSM_PAGE_BYTES, "recovery's words fit a page");
/* One name in the directory of arrays (store/array_directory.h). Builds are sealed by their place;
 * an entry is in use while any word but `check` and the name is not 0. */
typedef struct dsm_array_entry_shm {
  dsm_atomic_u64 current; /* the build that the name means; 0: none yet, or no longer */
  dsm_atomic_u64 next;    /* a build that is being made */
  dsm_atomic_u64 last;    /* a build that is being removed */
  dsm_atomic_u64 worker;  /* who makes or removes: participant + 1 | incarnation << 32 */
  uint64_t check;         /* over the name */
  uint32_t name_bytes;
  char name[DSM_REGION_NAME_BYTES];
  dsm_atomic_u32 noted; /* low half of a number that no copy was left of, and that was counted */
  uint8_t reserved[16];
} dsm_array_entry_shm;
_Static_assert(sizeof(dsm_array_entry_shm) == 128, "one entry");

typedef struct dsm_array_directory_shm {
  dsm_atomic_u64 builds; /* sealed once it was used: the number given to the latest build */
  dsm_atomic_u32 high;   /* entries above this index were never used */
  uint32_t reserved;
  dsm_atomic_u64 mended, lost;           /* copies made anew; arrays that no copy was left of */
  dsm_atomic_u64 told_mended, told_lost; /* of these, what events have told */
  dsm_atomic_u64 scrubbed, rounds;       /* bytes looked at; times that all arrays were */
  dsm_array_entry_shm entries[DSM_ARRAYS_MAX];
} dsm_array_directory_shm;

/* The one checkpoint that may run (store/cut.h), and how much of its areas is used. */
typedef struct dsm_cut_shm {
  dsm_atomic_u64 owner;   /* who takes it: participant + 1 | incarnation << 32; 0: nobody */
  dsm_atomic_u64 number;  /* sealed: of the latest one */
  dsm_atomic_u64 spoiled; /* sealed number of one of which something could not be kept */
  uint64_t reserved[5];
  dsm_atomic_u64 saved_bytes; /* of the area of saved objects: handed out */
  dsm_atomic_u64 backed_bytes;
  dsm_atomic_u64 pin_count;
  uint64_t reserved_words[5];
} dsm_cut_shm;
_Static_assert(sizeof(dsm_cut_shm) == 128, "what writers add to has its own line");
/* What the running checkpoint knows of a stripe. Under the stripe's lock. */
typedef struct dsm_cut_stripe_shm {
  dsm_atomic_u64 state; /* sealed: number << 1 | walked; 0: never used */
  dsm_atomic_u64 gen;   /* sealed: of the stripe at the cut */
  dsm_atomic_u64 saved; /* sealed: offset of the latest saved object of the stripe; 0: none */
  uint64_t reserved;
} dsm_cut_stripe_shm;
_Static_assert(sizeof(dsm_cut_stripe_shm) == 32, "two to a line");

#define DSM_EVENTS_MAX 1024u /* records of the ring; the oldest are overwritten */
#define DSM_EVENT_WORDS 16u
#define DSM_FACTS_MAX 16u

/* One record of what happened to the cluster (node/event.h): a checksum, then a dsm_event. */
typedef struct dsm_event_record_shm {
  dsm_atomic_u64 words[DSM_EVENT_WORDS];
} dsm_event_record_shm;
_Static_assert(sizeof(dsm_event_record_shm) == 128, "one event, two lines");

typedef struct dsm_events_shm {
  dsm_lock_shm lock;   /* held while a record is written; readers take none */
  dsm_atomic_u64 head; /* sealed: sequence of the latest record; 0 before the first */
  dsm_atomic_u32 bell; /* grows with each record; what subscribers sleep on */
  uint32_t reserved[13];
  /* Sealed: the highest value that was recorded of each fact, so that it is recorded once. */
  dsm_atomic_u64 facts[DSM_FACTS_MAX][DSM_PARTICIPANTS_MAX];
  dsm_event_record_shm ring[DSM_EVENTS_MAX];
} dsm_events_shm;
_Static_assert(offsetof(dsm_events_shm, facts) == 128, "a lock and a line, then the facts");

/* Byte offsets of the areas, from the configuration. */
typedef struct dsm_layout {
  uint64_t participants, regions, routes, locks, node_locks, intents, arena_intents;
  uint64_t arrays, decisions, bells;
  uint64_t node_table, strays; /* membership, and what moves have not tidied yet */
  uint64_t balance, targets;   /* a rebalance, and where each stripe is to be */
  uint64_t recovery, losses;
  uint64_t events;
  uint64_t region_counts, holds, decision_logs, pins, syncs, sync_heap, mailboxes;
  uint64_t cut, cut_stripes, cut_pins, saved, saved_bytes, control_bytes;
  uint64_t node_unsettled, node_routes, node_regions, node_table_copy, subs, pages, data;
  uint64_t node_bytes;
  uint64_t page_count, data_page; /* pages of a node segment; the first one that is handed out */
} dsm_layout;

/* DSM_USAGE if the configuration is outside the limits or leaves no page to hand out. */
dsm_status dsm_layout_compute(const dsm_config_shm *config, dsm_layout *out);
uint64_t dsm_config_checksum(const dsm_config_shm *config);
uint64_t dsm_region_checksum(const dsm_region_shm *record);
bool dsm_region_record_holds(const dsm_region_shm *record);

#endif
