/* Runs inside an intent: the page map's words, the bins and the lists that runs hang in.
 *
 * Everything here lists stores in the arena's intent and stores nothing itself; arena.c decides
 * what happens, takes the lock and commits. A damaged word makes the log fail (mem/intent.h).
 */
#ifndef DSM_MEM_RUN_H
#define DSM_MEM_RUN_H

#include "arena.h"

static inline dsm_arena_shm *dsm_arena_of(const dsm_log *log, unsigned node) {
  return &dsm_space_node(log->call->space, node)->arena;
}

/* Head of the run at `page`; kind NONE and a failed log if it cannot be one. */
dsm_run dsm_run_get(dsm_log *log, unsigned node, uint64_t page);
void dsm_run_set(dsm_log *log, unsigned node, uint64_t page, dsm_run_kind kind, uint64_t pages);
void dsm_run_set_stripe(dsm_log *log, unsigned node, uint64_t page, uint32_t stripe);

void dsm_run_list_push(dsm_log *log, unsigned node, dsm_atomic_u64 *head, uint64_t page);
void dsm_run_list_remove(dsm_log *log, unsigned node, dsm_atomic_u64 *head, uint64_t page);
uint64_t dsm_run_list_next(dsm_log *log, unsigned node, uint64_t page);

/* Adds to one of the arena's sealed counters. */
void dsm_run_count(dsm_log *log, unsigned node, dsm_atomic_u64 *counter, int64_t difference);

/* First page of a free run of at least `pages`, or 0. */
uint64_t dsm_run_find(dsm_log *log, unsigned node, uint64_t pages);
void dsm_run_bin_insert(dsm_log *log, unsigned node, uint64_t page, uint64_t pages);
void dsm_run_bin_remove(dsm_log *log, unsigned node, uint64_t page, uint64_t pages);

/* Puts the run back as FREE or UNBACKED, merged with neighbours of the same kind. */
void dsm_run_merge(dsm_log *log, unsigned node, uint64_t page, uint64_t pages, dsm_run_kind kind);
/* The bin in which a free run of that length belongs. */
unsigned dsm_run_bin(uint64_t pages);

/* Stores a sealed word at once, where no reader of the arena can be. */
static inline void dsm_run_store(const dsm_space *space, unsigned segment, dsm_atomic_u64 *word,
                                 uint64_t value) {
  dsm_store_release_u64(word, dsm_seal(value, dsm_space_locator(space, segment, word)));
}

/* The arena's lock, repaired; DSM_CORRUPT if the arena cannot be rebuilt. */
dsm_status dsm__arena_lock(dsm_call *call, unsigned node);
void dsm__arena_unlock(dsm_call *call, unsigned node);
/* With the lock held (arena_rebuild.c). */
dsm_status dsm__arena_rebuild(dsm_call *call, unsigned node);

#endif
