/* Verifying structure, part by part. */
#include "adopt.h"

#include "../base/crash.h"
#include "../mem/arena.h"
#include "../mem/headers.h"
#include "../mem/nodes.h"
#include "../store/heal.h"
#include "../store/stripe.h"

static bool header_mended(const dsm_space *space, unsigned node) {
  dsm_node_shm *header = dsm_space_node(space, node);
  bool holds = dsm_headers_node_holds(space, header, node);
  bool mended = !holds && dsm_headers_node_restore(space, header, node, space->builds[node]);
  DSM_CRASH_POINT("adopt.header");
  return mended;
}

/* Bins, lists and counters; each word by itself. */
static bool arena_words_hold(const dsm_space *space, unsigned node) {
  const dsm_arena_shm *arena = &dsm_space_node(space, node)->arena;
  bool ok = true;
  for (const dsm_atomic_u64 *word = arena->bins; word <= &arena->limbo_pages && ok; word++)
    dsm_unseal(dsm_load_relaxed_u64(word), dsm_space_locator(space, node + 1, word), &ok);
  return ok;
}

/* *beyond: only another segment helps, which is the keeper's to make. */
static bool arena_mended(dsm_call *call, unsigned node, bool *beyond) {
  dsm_arena_usage usage;
  uint64_t pages = call->space->layout.page_count;
  bool words = arena_words_hold(call->space, node);
  bool told = dsm_arena_usage_read(call, node, &usage) == DSM_OK;
  if (told && pages - usage.free_pages - usage.unbacked_pages > DSM_ADOPT_PAGES && words)
    return false;
  if (words && dsm_arena_valid(call, node, NULL, NULL) != DSM_CORRUPT) return false;
  dsm_status status = dsm_arena_rebuild(call, node);
  *beyond |= status == DSM_CORRUPT;
  DSM_CRASH_POINT("adopt.arena");
  return status == DSM_OK;
}

/* Each word by itself; without the lock a table may look wrong that is just being replaced. */
static bool sub_holds(const dsm_space *space, unsigned node, uint32_t stripe) {
  const dsm_sub_shm *sub = dsm_space_sub(space, node, stripe);
  const dsm_atomic_u64 *words = (const dsm_atomic_u64 *)(const void *)sub;
  dsm_table table;
  bool ok = true;
  for (size_t i = 0; i < sizeof *sub / sizeof *words && ok; i++)
    if (&words[i] < sub->inline_slots || &words[i] >= &sub->gen)
      dsm_unseal(dsm_load_relaxed_u64(&words[i]), dsm_space_locator(space, node + 1, &words[i]),
                 &ok);
  uint64_t word = dsm_load_acquire_u64(&sub->table);
  if (!ok || !dsm_table_decode(space, node, stripe, word, &table)) return false;
  if (!table.slots || table.size == DSM_TABLE_INLINE) return true;
  const dsm_atomic_u64 *mark = table.slots - 1;
  return dsm_load_relaxed_u64(mark) ==
         dsm_seal((uint64_t)stripe << 8 | table.size, dsm_space_locator(space, node + 1, mark));
}

static bool copy_holds(const dsm_space *space, unsigned node, uint32_t stripe) {
  return dsm_load_relaxed_u64(dsm_space_node_route(space, node, stripe)) ==
         dsm_load_relaxed_u64(dsm_space_route(space, stripe));
}

static bool stripe_mended(dsm_call *call, unsigned node, uint32_t stripe) {
  dsm_space *space = call->space;
  dsm_route route;
  if (copy_holds(space, node, stripe) && sub_holds(space, node, stripe)) return false;
  if (dsm_stripe_take(call, stripe, &route) != DSM_OK) {
    dsm_heal_ask(space, stripe);
    return false;
  }
  bool copied = !copy_holds(space, node, stripe), damaged = !sub_holds(space, node, stripe);
  if (copied) dsm_store_relaxed_u64(dsm_space_node_route(space, node, stripe), route.word);
  if (damaged && dsm_heal_locked(call, stripe, &route) != DSM_OK) dsm_heal_ask(space, stripe);
  dsm_stripe_drop(call, stripe, &route);
  DSM_CRASH_POINT("adopt.stripe");
  return copied || damaged;
}

uint32_t dsm_adopt(dsm_call *call, unsigned node) {
  dsm_space *space = call->space;
  uint64_t began_ns = dsm_os_monotonic_ns();
  uint32_t mended = 0;
  bool beyond = false;
  dsm_nodes_catch_up(call);
  if (!dsm_space_present(space, node)) return 0;
  if (dsm_os_segment_truncated(&space->nodes[node])) {
    dsm_fetch_add_relaxed_u32(&dsm_space_recovery(space)->asked, 1);
    return 0;
  }
  mended += header_mended(space, node);
  mended += arena_mended(call, node, &beyond);
  for (uint32_t stripe = 0; stripe < space->stripe_count && !beyond; stripe++) {
    if (dsm_os_monotonic_ns() - began_ns < DSM_ADOPT_NS)
      mended += stripe_mended(call, node, stripe);
    else if (!sub_holds(space, node, stripe))
      dsm_heal_ask(space, stripe);
  }
  if (beyond) dsm_fetch_add_relaxed_u32(&dsm_space_recovery(space)->asked, 1);
  return mended;
}
