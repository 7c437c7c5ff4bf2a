/* Taking and giving page runs under the arena's lock. */
#include "arena.h"

#include "../base/crash.h"
#include "lock.h"
#include "nodes.h"
#include "pin.h"
#include "run.h"

#define ARENA_SALT 0x4152454E41ull
#define CHUNK_PAGES_MIN 256u  /* 256 KiB asked of the kernel at a time while small … */
#define CHUNK_PAGES_MAX 8192u /* … growing to 8 MiB; longer runs are backed unlocked */
#define LIMBO_STEPS 64        /* runs looked at in one reclaim */

static dsm_log arena_log(dsm_call *call, unsigned node) {
  return dsm_log_make(call, dsm_space_arena_intent(call->space, node), ARENA_SALT + node);
}

/* Damage: the intent is finished or given up, and all that follows from the heads is made anew. The
 * lock is held, and dropped if that fails. */
static dsm_status rebuild(dsm_call *call, unsigned node) {
  dsm_intent_shm *intent = dsm_space_arena_intent(call->space, node);
  dsm_lock_shm *lock = dsm_space_node_lock(call->space, node);
  if (dsm_intent_recover(call, intent, ARENA_SALT + node) != DSM_OK) dsm_intent_give_up(intent);
  dsm_status status = dsm__arena_rebuild(call, node);
  if (status == DSM_OK) return status;
  dsm_store_release_u32(&lock->quarantined, 1);
  dsm_lock_drop(lock);
  return status;
}

dsm_status dsm__arena_lock(dsm_call *call, unsigned node) {
  bool must_repair;
  dsm_lock_shm *lock = dsm_space_node_lock(call->space, node);
  dsm_status status;
  /* Under this lock the id keeps its segment (mem/nodes.h), once we have seen that we have it. */
  for (;;) {
    status = dsm_lock_take_any(call, lock, &must_repair);
    if (status != DSM_OK) {
      call->fault.node = (int32_t)node;
      return status;
    }
    if (DSM_LIKELY(dsm_space_current(call->space, dsm_space_epoch(call->space)))) break;
    dsm_lock_drop(lock);
    dsm_nodes_follow(call);
  }
  if (DSM_UNLIKELY(!dsm_space_present(call->space, node))) {
    dsm_lock_drop(lock);
    return dsm_fail(call, DSM_CORRUPT, "there is no such node", (int)node, -1, 0, 0);
  }
  if (DSM_UNLIKELY(must_repair)) {
    status = dsm_intent_recover(call, dsm_space_arena_intent(call->space, node), ARENA_SALT + node);
    /* The dead holder may have taken the hint down and looked at nothing, or owed it (reclaim,
     * give).
     */
    dsm_store_release_u32(&dsm_space_node(call->space, node)->arena.limbo_hint, 1);
    DSM_CRASH_POINT("arena.recovered");
    dsm_lock_repaired(lock, status);
  }
  if (DSM_UNLIKELY(dsm_load_relaxed_u32(&lock->quarantined) != 0)) return rebuild(call, node);
  return DSM_OK;
}

void dsm__arena_unlock(dsm_call *call, unsigned node) {
  dsm_lock_drop(dsm_space_node_lock(call->space, node));
}

dsm_status dsm_arena_init(dsm_call *call, unsigned node) {
  dsm_space *space = call->space;
  dsm_arena_shm *arena = &dsm_space_node(space, node)->arena;
  const dsm_layout *layout = &space->layout;
  uint64_t first = layout->data_page, pages = layout->page_count - first;
  for (unsigned i = 0; i < DSM_BIN_COUNT; i++) dsm_run_store(space, node + 1, &arena->bins[i], 0);
  for (unsigned i = 0; i < DSM_BIN_COUNT / 28; i++)
    dsm_run_store(space, node + 1, &arena->occupied[i], 0);
  dsm_run_store(space, node + 1, &arena->limbo, 0);
  dsm_run_store(space, node + 1, &arena->free_pages, 0);
  dsm_run_store(space, node + 1, &arena->limbo_pages, 0);
  dsm_run_store(space, node + 1, &arena->unbacked_pages, pages);
  dsm_run_store(space, node + 1, &arena->unbacked, first);
  dsm_page_shm *head = dsm_space_page(space, node, first);
  dsm_page_shm *tail = dsm_space_page(space, node, layout->page_count - 1);
  uint64_t base = layout->pages;
  DSM_TRY(dsm_os_segment_back(&space->nodes[node], base + first * sizeof *head, sizeof *head));
  DSM_TRY(dsm_os_segment_back(&space->nodes[node], base + (layout->page_count - 1) * sizeof *head,
                              sizeof *head));
  dsm_run_store(space, node + 1, &head->run, (uint64_t)DSM_RUN_UNBACKED << 28 | pages);
  dsm_store_release_u64(&head->link,
                        dsm_link_seal(0, dsm_space_locator(space, node + 1, &head->link)));
  if (pages > 1) dsm_run_store(space, node + 1, &tail->run, (uint64_t)DSM_RUN_TAIL << 28 | pages);
  return DSM_OK;
}

static dsm_status full(dsm_call *call, unsigned node, uint64_t pages) {
  dsm_arena_usage usage = {0};
  dsm_arena_usage_read(call, node, &usage);
  return dsm_fail(
      call, DSM_STORE_FULL, "no room for the run", (int)node, -1, pages * DSM_ARENA_PAGE_BYTES,
      (usage.total_pages - usage.unbacked_pages - usage.free_pages) * DSM_ARENA_PAGE_BYTES);
}

/* Memory for the page map's entries of a run and for the entry that follows it. */
static dsm_status back_entries(dsm_call *call, unsigned node, uint64_t page, uint64_t pages) {
  const dsm_layout *layout = &call->space->layout;
  uint64_t last = page + pages < layout->page_count ? page + pages : layout->page_count - 1;
  return dsm_os_segment_back(&call->space->nodes[node], layout->pages + page * sizeof(dsm_page_shm),
                             (last - page + 1) * sizeof(dsm_page_shm));
}

static dsm_status back_pages(dsm_call *call, unsigned node, uint64_t page, uint64_t pages) {
  return dsm_os_segment_back(&call->space->nodes[node], page * DSM_ARENA_PAGE_BYTES,
                             pages * DSM_ARENA_PAGE_BYTES);
}

/* First unbacked run of at least `pages`; 0 if none. */
static uint64_t find_unbacked(dsm_log *log, unsigned node, uint64_t pages, uint64_t *found) {
  uint64_t page = dsm_log_get_sealed(log, node + 1, &dsm_arena_of(log, node)->unbacked);
  for (uint64_t steps = 0; page && steps < log->call->space->layout.page_count; steps++) {
    dsm_run run = dsm_run_get(log, node, page);
    if (log->status != DSM_OK) return 0;
    if (run.kind != DSM_RUN_UNBACKED) {
      dsm_log_corrupt(log, "run without memory has another kind", node + 1, page, run.kind);
      return 0;
    }
    *found = run.pages;
    if (run.pages >= pages) return page;
    page = dsm_run_list_next(log, node, page);
  }
  return 0;
}

/* Cuts `pages` from the front of an unbacked run; the rest stays in the list. */
static void carve(dsm_log *log, unsigned node, uint64_t page, uint64_t found, uint64_t pages) {
  dsm_arena_shm *arena = dsm_arena_of(log, node);
  dsm_run_list_remove(log, node, &arena->unbacked, page);
  dsm_run_count(log, node, &arena->unbacked_pages, -(int64_t)pages);
  if (found > pages) {
    dsm_run_set(log, node, page + pages, DSM_RUN_UNBACKED, found - pages);
    dsm_run_list_push(log, node, &arena->unbacked, page + pages);
  }
}

/* Turns unbacked pages into free ones, a chunk at a time. */
static dsm_status grow(dsm_call *call, unsigned node, uint64_t pages) {
  dsm_log log = arena_log(call, node);
  dsm_arena_usage usage;
  DSM_TRY(dsm_arena_usage_read(call, node, &usage));
  uint64_t found = 0, chunk = (usage.total_pages - usage.unbacked_pages) / 8;
  uint64_t page = find_unbacked(&log, node, pages, &found);
  if (log.status != DSM_OK) return log.status;
  if (page == 0) return full(call, node, pages);
  if (chunk < CHUNK_PAGES_MIN) chunk = CHUNK_PAGES_MIN;
  if (chunk > CHUNK_PAGES_MAX) chunk = CHUNK_PAGES_MAX;
  if (chunk < pages) chunk = pages;
  if (chunk > found) chunk = found;
  dsm_status status = DSM_STORE_FULL;
  for (; chunk >= pages; chunk = chunk > pages && chunk / 2 < pages ? pages : chunk / 2) {
    status = back_entries(call, node, page, chunk);
    if (status == DSM_OK) status = back_pages(call, node, page, chunk);
    if (status != DSM_STORE_FULL || chunk == pages) break;
  }
  if (status != DSM_OK) return status == DSM_STORE_FULL ? full(call, node, pages) : status;
  DSM_CRASH_POINT("arena.backed");
  carve(&log, node, page, found, chunk);
  dsm_run_merge(&log, node, page, chunk, DSM_RUN_FREE);
  return dsm_log_commit(&log);
}

/* Frees the pages of a run; its first word says "not live", so that a stray slot finds nothing. */
static void release(dsm_log *log, unsigned node, uint64_t page, uint64_t pages) {
  const uint8_t *first = log->call->space->nodes[node].base + page * DSM_ARENA_PAGE_BYTES;
  if (log->status == DSM_OK)
    dsm_log_set(log, node + 1, (const dsm_atomic_u64 *)(const void *)first, 0);
  dsm_run_merge(log, node, page, pages, DSM_RUN_FREE);
}

/* Frees runs in limbo that nobody pins any more. */
static dsm_status reclaim(dsm_call *call, unsigned node) {
  dsm_arena_shm *arena = &dsm_space_node(call->space, node)->arena;
  if (dsm_load_acquire_u32(&arena->limbo_hint) == 0) return DSM_OK;
  dsm_store_seq_cst_u32(&arena->limbo_hint, 0);
  DSM_CRASH_POINT("arena.hint taken");
  dsm_log log = arena_log(call, node);
  uint64_t page = dsm_log_get_sealed(&log, node + 1, &arena->limbo);
  for (int step = 0; page && log.status == DSM_OK; step++) {
    if (step == LIMBO_STEPS) {
      dsm_store_release_u32(&arena->limbo_hint, 1);
      break;
    }
    uint64_t next = dsm_run_list_next(&log, node, page);
    dsm_run run = dsm_run_get(&log, node, page);
    if (log.status == DSM_OK && run.kind != DSM_RUN_LIMBO)
      dsm_log_corrupt(&log, "run in limbo has another kind", node + 1, page, run.kind);
    if (log.status == DSM_OK && !dsm_pin_holds(call->space, node, page)) {
      dsm_run_list_remove(&log, node, &arena->limbo, page);
      dsm_run_count(&log, node, &arena->limbo_pages, -(int64_t)run.pages);
      release(&log, node, page, run.pages);
      DSM_TRY(dsm_log_commit(&log));
    }
    page = next;
  }
  return log.status;
}

/* A run of free pages, split to size, handed to the target. 0 pages found: DSM_NOT_FOUND. */
static dsm_status take_free(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                            uint64_t pages, dsm_atomic_u64 *target) {
  dsm_log log = arena_log(call, node);
  uint64_t page = dsm_run_find(&log, node, pages);
  if (log.status != DSM_OK) return log.status;
  if (page == 0) return DSM_NOT_FOUND;
  dsm_run run = dsm_run_get(&log, node, page);
  if (log.status == DSM_OK) {
    dsm_run_bin_remove(&log, node, page, run.pages);
    if (run.pages > pages) dsm_run_bin_insert(&log, node, page + pages, run.pages - pages);
    dsm_run_set(&log, node, page, kind, pages);
    dsm_run_set_stripe(&log, node, page, stripe);
    dsm_log_set_sealed(&log, node + 1, target, page);
  }
  return dsm_log_commit(&log);
}

/* A long run straight from the unbacked pages; its memory is asked for after the unlock. */
static dsm_status take_cold(dsm_call *call, unsigned node, uint32_t stripe, uint64_t pages,
                            dsm_atomic_u64 *target, uint64_t *page) {
  dsm_log log = arena_log(call, node);
  uint64_t found = 0;
  *page = find_unbacked(&log, node, pages, &found);
  if (log.status != DSM_OK) return log.status;
  if (*page == 0) return full(call, node, pages);
  dsm_status status = back_entries(call, node, *page, pages);
  if (status != DSM_OK) return status == DSM_STORE_FULL ? full(call, node, pages) : status;
  carve(&log, node, *page, found, pages);
  dsm_run_set(&log, node, *page, DSM_RUN_COLD, pages);
  dsm_run_set_stripe(&log, node, *page, stripe);
  dsm_log_set_sealed(&log, node + 1, target, *page);
  return dsm_log_commit(&log);
}

/* The run is ours alone, so that one store under the stripe's lock makes it warm. */
static dsm_status warm(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                       uint64_t page, uint64_t pages, dsm_atomic_u64 *target) {
  dsm_status status = back_pages(call, node, page, pages);
  DSM_CRASH_POINT("arena.warm");
  if (status == DSM_OK) {
    dsm_run_store(call->space, node + 1, &dsm_space_page(call->space, node, page)->run,
                  (uint64_t)kind << 28 | pages);
    return DSM_OK;
  }
  DSM_TRY(dsm_arena_give(call, node, stripe, target));
  return status == DSM_STORE_FULL ? full(call, node, pages) : status;
}

static dsm_status take_locked(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                              uint64_t pages, dsm_atomic_u64 *target, uint64_t *cold_page) {
  dsm_status status = reclaim(call, node);
  if (status == DSM_OK) status = take_free(call, node, stripe, kind, pages, target);
  if (status == DSM_NOT_FOUND && pages > CHUNK_PAGES_MAX) {
    status = take_cold(call, node, stripe, pages, target, cold_page);
  } else if (status == DSM_NOT_FOUND) {
    status = grow(call, node, pages);
    if (status == DSM_OK) status = take_free(call, node, stripe, kind, pages, target);
  }
  return status;
}

dsm_status dsm_arena_take(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                          uint64_t pages, dsm_atomic_u64 *target) {
  DSM_TRY(dsm__arena_lock(call, node));
  uint64_t cold_page = 0;
  dsm_status status = take_locked(call, node, stripe, kind, pages, target, &cold_page);
  if (DSM_UNLIKELY(status == DSM_CORRUPT)) {
    DSM_TRY(rebuild(call, node));
    status = take_locked(call, node, stripe, kind, pages, target, &cold_page);
  }
  dsm__arena_unlock(call, node);
  if (status == DSM_OK && cold_page)
    status = warm(call, node, stripe, kind, cold_page, pages, target);
  return status;
}

static dsm_status give_locked(dsm_call *call, unsigned node, uint32_t stripe,
                              dsm_atomic_u64 *source) {
  dsm_log log = arena_log(call, node);
  dsm_arena_shm *arena = &dsm_space_node(call->space, node)->arena;
  uint64_t page = dsm_log_get_sealed(&log, node + 1, source);
  if (log.status != DSM_OK || page == 0) return log.status;
  dsm_run run;
  DSM_TRY(dsm_run_read(call, node, page, &run));
  if (run.kind < DSM_RUN_SLAB || run.kind > DSM_RUN_COLD || run.stripe != stripe)
    return dsm_fail(call, DSM_CORRUPT, "run given back is not this stripe's", (int)node, stripe,
                    run.kind, run.stripe);
  dsm_log_set_sealed(&log, node + 1, source, 0);
  if (run.kind == DSM_RUN_VALUE && dsm_pin_holds(call->space, node, page)) {
    dsm_run_set(&log, node, page, DSM_RUN_LIMBO, run.pages);
    dsm_run_list_push(&log, node, &arena->limbo, page);
    dsm_run_count(&log, node, &arena->limbo_pages, (int64_t)run.pages);
    DSM_TRY(dsm_log_commit(&log));
    /* The pin may have gone before its owner could see the run in limbo. */
    if (!dsm_pin_holds(call->space, node, page)) dsm_store_release_u32(&arena->limbo_hint, 1);
    return DSM_OK;
  }
  if (run.kind == DSM_RUN_COLD) {
    dsm_os_segment_discard(&call->space->nodes[node], page * DSM_ARENA_PAGE_BYTES,
                           run.pages * DSM_ARENA_PAGE_BYTES);
    dsm_run_merge(&log, node, page, run.pages, DSM_RUN_UNBACKED);
  } else {
    release(&log, node, page, run.pages);
  }
  return dsm_log_commit(&log);
}

dsm_status dsm_arena_give(dsm_call *call, unsigned node, uint32_t stripe, dsm_atomic_u64 *source) {
  DSM_TRY(dsm__arena_lock(call, node));
  dsm_status status = give_locked(call, node, stripe, source);
  if (DSM_UNLIKELY(status == DSM_CORRUPT)) {
    DSM_TRY(rebuild(call, node));
    status = give_locked(call, node, stripe, source);
  }
  dsm__arena_unlock(call, node);
  return status;
}

dsm_status dsm_arena_repair(dsm_call *call, unsigned node) {
  DSM_TRY(dsm__arena_lock(call, node));
  dsm_status status = reclaim(call, node);
  if (DSM_UNLIKELY(status == DSM_CORRUPT)) {
    DSM_TRY(rebuild(call, node));
    status = reclaim(call, node);
  }
  dsm__arena_unlock(call, node);
  return status;
}

dsm_status dsm_arena_rebuild(dsm_call *call, unsigned node) {
  DSM_TRY(dsm__arena_lock(call, node));
  DSM_TRY(rebuild(call, node));
  dsm__arena_unlock(call, node);
  return DSM_OK;
}

dsm_status dsm_run_read(dsm_call *call, unsigned node, uint64_t page, dsm_run *out) {
  dsm_log log = arena_log(call, node);
  *out = dsm_run_get(&log, node, page);
  if (log.status != DSM_OK) return log.status;
  if (out->kind >= DSM_RUN_SLAB && out->kind <= DSM_RUN_COLD) {
    bool ok;
    const dsm_atomic_u64 *link = &dsm_space_page(call->space, node, page)->link;
    out->stripe = (uint32_t)dsm_link_unseal(dsm_load_relaxed_u64(link),
                                            dsm_space_locator(call->space, node + 1, link), &ok);
    if (!ok)
      return dsm_fail(call, DSM_CORRUPT, "run's owner does not verify", (int)node, -1, page, 0);
  }
  return DSM_OK;
}

dsm_status dsm_arena_look(dsm_call *call, unsigned node, uint64_t page, dsm_run *out) {
  DSM_TRY(dsm__arena_lock(call, node));
  dsm_status status = dsm_run_read(call, node, page, out);
  dsm__arena_unlock(call, node);
  return status;
}

dsm_status dsm_arena_usage_read(dsm_call *call, unsigned node, dsm_arena_usage *out) {
  dsm_log log = arena_log(call, node);
  const dsm_arena_shm *arena = dsm_arena_of(&log, node);
  out->total_pages = call->space->layout.page_count - call->space->layout.data_page;
  out->free_pages = dsm_log_get_sealed(&log, node + 1, &arena->free_pages);
  out->unbacked_pages = dsm_log_get_sealed(&log, node + 1, &arena->unbacked_pages);
  out->limbo_pages = dsm_log_get_sealed(&log, node + 1, &arena->limbo_pages);
  return log.status;
}
