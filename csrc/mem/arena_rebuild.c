/* Making an arena's lists and counters anew from the heads of its runs.
 *
 * The heads tile the segment, each sealed by its place; all else (tails, bins, the lists of runs
 * without memory and in limbo, the counters) follows from them. If the chain of heads itself is
 * broken, nothing is changed: then only another segment can take the node's place. A rebuild that
 * is cut off leaves the arena quarantined, and is begun again by the next who needs it.
 */
#include "../base/crash.h"
#include "arena.h"
#include "run.h"

static void link_store(const dsm_space *space, unsigned node, uint64_t page, uint64_t value) {
  dsm_atomic_u64 *link = &dsm_space_page(space, node, page)->link;
  dsm_store_release_u64(link, dsm_link_seal(value, dsm_space_locator(space, node + 1, link)));
}

/* The head at a page; false if it is none. */
static bool head(const dsm_space *space, unsigned node, uint64_t page, dsm_run *out) {
  const dsm_atomic_u64 *word = &dsm_space_page(space, node, page)->run;
  bool ok;
  uint64_t value =
      dsm_unseal(dsm_load_relaxed_u64(word), dsm_space_locator(space, node + 1, word), &ok);
  *out = (dsm_run){.kind = (dsm_run_kind)(value >> 28), .pages = value & ((1ull << 28) - 1)};
  return ok && out->kind > DSM_RUN_NONE && out->kind < DSM_RUN_TAIL && out->pages > 0 &&
         out->pages <= space->layout.page_count - page;
}

static bool heads_tile(const dsm_space *space, unsigned node) {
  dsm_run run;
  for (uint64_t page = space->layout.data_page; page < space->layout.page_count; page += run.pages)
    if (!head(space, node, page, &run)) return false;
  return true;
}

static void push(const dsm_space *space, unsigned node, dsm_atomic_u64 *list, uint64_t page) {
  bool ok;
  uint64_t old =
      dsm_unseal(dsm_load_relaxed_u64(list), dsm_space_locator(space, node + 1, list), &ok);
  link_store(space, node, page, old << 28);
  if (old) {
    const dsm_atomic_u64 *link = &dsm_space_page(space, node, old)->link;
    uint64_t value =
        dsm_link_unseal(dsm_load_relaxed_u64(link), dsm_space_locator(space, node + 1, link), &ok);
    link_store(space, node, old, value >> 28 << 28 | page);
  }
  dsm_run_store(space, node + 1, list, page);
}

static void clear(const dsm_space *space, unsigned node, dsm_arena_shm *arena) {
  for (unsigned i = 0; i < DSM_BIN_COUNT; i++) dsm_run_store(space, node + 1, &arena->bins[i], 0);
  for (unsigned i = 0; i < DSM_BIN_COUNT / 28; i++)
    dsm_run_store(space, node + 1, &arena->occupied[i], 0);
  dsm_run_store(space, node + 1, &arena->unbacked, 0);
  dsm_run_store(space, node + 1, &arena->limbo, 0);
}

static void add(const dsm_space *space, unsigned node, dsm_arena_shm *arena, uint64_t page,
                const dsm_run *run, dsm_arena_usage *seen) {
  if (run->pages > 1)
    dsm_run_store(space, node + 1, &dsm_space_page(space, node, page + run->pages - 1)->run,
                  (uint64_t)DSM_RUN_TAIL << 28 | run->pages);
  if (run->kind == DSM_RUN_FREE) {
    unsigned bin = dsm_run_bin(run->pages);
    dsm_atomic_u64 *word = &arena->occupied[bin / 28];
    bool ok;
    uint64_t bits =
        dsm_unseal(dsm_load_relaxed_u64(word), dsm_space_locator(space, node + 1, word), &ok);
    push(space, node, &arena->bins[bin], page);
    dsm_run_store(space, node + 1, word, bits | 1ull << bin % 28);
    seen->free_pages += run->pages;
  } else if (run->kind == DSM_RUN_UNBACKED) {
    push(space, node, &arena->unbacked, page);
    seen->unbacked_pages += run->pages;
  } else if (run->kind == DSM_RUN_LIMBO) {
    push(space, node, &arena->limbo, page);
    seen->limbo_pages += run->pages;
  }
}

dsm_status dsm__arena_rebuild(dsm_call *call, unsigned node) {
  const dsm_space *space = call->space;
  dsm_arena_shm *arena = &dsm_space_node(space, node)->arena;
  dsm_arena_usage seen = {0};
  dsm_run run;
  if (!heads_tile(space, node))
    return dsm_fail(call, DSM_CORRUPT, "heads of runs do not tile the segment", (int)node, -1, 0,
                    0);
  dsm_store_release_u32(&dsm_space_node_lock(call->space, node)->quarantined, 1);
  DSM_CRASH_POINT("arena.rebuild");
  clear(space, node, arena);
  for (uint64_t page = space->layout.data_page; page < space->layout.page_count;
       page += run.pages) {
    head(space, node, page, &run);
    add(space, node, arena, page, &run, &seen);
    DSM_CRASH_POINT("arena.rebuilding");
  }
  dsm_run_store(space, node + 1, &arena->free_pages, seen.free_pages);
  dsm_run_store(space, node + 1, &arena->unbacked_pages, seen.unbacked_pages);
  dsm_run_store(space, node + 1, &arena->limbo_pages, seen.limbo_pages);
  dsm_store_release_u32(&arena->limbo_hint, 1);
  DSM_CRASH_POINT("arena.rebuilt");
  dsm_store_release_u32(&dsm_space_node_lock(call->space, node)->quarantined, 0);
  return DSM_OK;
}
