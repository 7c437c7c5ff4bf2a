/* The arena: page runs of one node's segment, handed to stripes and taken back.
 *
 * A node's pages form runs. A run is free (in a bin by size), without memory yet (unbacked), in use
 * by one stripe, or in limbo (given back while a reader still pins it). The page map records kind
 * and length at the run's first page and the length once more at its last, so that neighbours are
 * found and merged; runs tile the segment without gaps. Placement is good-fit over segregated bins
 * (two-level segregated fit, Masmano et al. 2004).
 *
 *   I  a run changes hands in one intent, together with the word of the sub that receives or loses
 * it I  memory is taken from the kernel before a run becomes free (I-9); nothing is ever remapped
 *   I  the arena's lock and intent live in the control segment; it is taken after a stripe's lock
 *
 * operation         blocks                        may be killed
 * dsm_arena_take    arena lock, page backing      anywhere: the next locker finishes the intent
 * dsm_arena_give    arena lock                    anywhere: as above
 */
#ifndef DSM_MEM_ARENA_H
#define DSM_MEM_ARENA_H

#include "intent.h"

typedef enum dsm_run_kind {
  DSM_RUN_NONE = 0,
  DSM_RUN_FREE = 1,
  DSM_RUN_UNBACKED = 2,
  DSM_RUN_SLAB = 3,  /* one page of small extents */
  DSM_RUN_VALUE = 4, /* one object larger than a slab's extents; the only kind that is pinned */
  DSM_RUN_TABLE = 5, /* slots of a large sub-table */
  DSM_RUN_COLD = 6,  /* a value or table run whose memory is being asked for */
  DSM_RUN_LIMBO = 7,
  DSM_RUN_TAIL = 8, /* the last page of a longer run */
} dsm_run_kind;

typedef struct dsm_run {
  dsm_run_kind kind;
  uint64_t pages;
  uint32_t stripe; /* for runs in use */
} dsm_run;

typedef struct dsm_arena_usage {
  uint64_t total_pages, free_pages, unbacked_pages, limbo_pages;
} dsm_arena_usage;

/* Writes the empty arena of a new node. Before any other process can attach. */
dsm_status dsm_arena_init(dsm_call *call, unsigned node);

/* Hands a run of exactly `pages` backed pages to `stripe`, whose lock is held: `target`, a sealed
 * word of its sub that holds 0, holds the first page afterwards. DSM_STORE_FULL changes nothing. */
dsm_status dsm_arena_take(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                          uint64_t pages, dsm_atomic_u64 *target);

/* Takes back the run that the sealed word `source` of a sub names, and clears the word. A pinned
 * value run goes to limbo. Nothing if the word holds 0. */
dsm_status dsm_arena_give(dsm_call *call, unsigned node, uint32_t stripe, dsm_atomic_u64 *source);

/* Finishes what a dead holder of the arena's lock left, by taking and dropping the lock. */
dsm_status dsm_arena_repair(dsm_call *call, unsigned node);

/* Makes lists and counters anew; what meets damage here does so by itself. DSM_CORRUPT if the chain
 * of runs is broken. */
dsm_status dsm_arena_rebuild(dsm_call *call, unsigned node);

/* Reads the head of a run; DSM_CORRUPT if its words do not verify or leave the segment. */
dsm_status dsm_run_read(dsm_call *call, unsigned node, uint64_t page, dsm_run *out);
/* The same under the arena's lock, for a run that may be changing hands: without it the kind may be
 * the new holder's and the stripe not yet. */
dsm_status dsm_arena_look(dsm_call *call, unsigned node, uint64_t page, dsm_run *out);
dsm_status dsm_arena_usage_read(dsm_call *call, unsigned node, dsm_arena_usage *out);

/* Walks all runs under the arena's lock: tiling, tails, bins, counters. */
dsm_status dsm_arena_valid(dsm_call *call, unsigned node,
                           void (*visit)(void *context, uint64_t page, const dsm_run *run),
                           void *context);

#endif
