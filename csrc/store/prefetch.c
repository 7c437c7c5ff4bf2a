/* Asking for cache lines before they are needed. */
#include "prefetch.h"

#define INTENT_LINES 3u /* what a change lists per replica, beside the first line */

static void prefetch_object(const dsm_space *space, unsigned node, uint32_t stripe, uint64_t hash,
                            bool slab) {
  const dsm_sub_shm *sub = dsm_space_sub(space, node, stripe);
  dsm_table table;
  if (!dsm_table_decode(space, node, stripe, dsm_load_relaxed_u64(&sub->table), &table) ||
      !table.slots)
    return;
  /* Mostly the key sits at home; a wrong guess costs a line, nothing more. */
  uint64_t slot = dsm_load_relaxed_u64(&table.slots[dsm_slot_home(hash, table.capacity)]);
  uint64_t offset = dsm_slot_offset(slot);
  if (slot <= DSM_SLOT_TOMBSTONE || !dsm_offset_fits(space, offset)) return;
  const uint8_t *object = space->nodes[node].base + offset;
  __builtin_prefetch(object);
  __builtin_prefetch(object + DSM_LINE_BYTES);
  if (slab)
    __builtin_prefetch(space->nodes[node].base + (offset & ~(uint64_t)(DSM_ARENA_PAGE_BYTES - 1)),
                       1);
}

void dsm_prefetch_read_head(const dsm_space *space, uint64_t hash) {
  uint32_t stripe = dsm_key_stripe(space, hash);
  uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, stripe));
  int primary = dsm_route_primary(space, word, stripe);
  if (primary < 0) return;
  const dsm_sub_shm *sub = dsm_space_sub(space, (unsigned)primary, stripe);
  __builtin_prefetch(sub);
}

void dsm_prefetch_read_object(const dsm_space *space, uint64_t hash) {
  uint32_t stripe = dsm_key_stripe(space, hash);
  uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, stripe));
  int primary = dsm_route_primary(space, word, stripe);
  if (primary >= 0) prefetch_object(space, (unsigned)primary, stripe, hash, false);
}

void dsm_prefetch_change_head(const dsm_space *space, uint64_t hash) {
  uint32_t stripe = dsm_key_stripe(space, hash);
  const uint8_t *intent = (const uint8_t *)dsm_space_intent(space, stripe);
  __builtin_prefetch(dsm_space_lock(space, stripe), 1);
  __builtin_prefetch(intent, 1);
  dsm_route route;
  uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, stripe));
  if (!dsm_route_unseal(space, word, stripe, &route)) return;
  for (unsigned line = 1; line <= INTENT_LINES * route.count; line++)
    __builtin_prefetch(intent + line * DSM_LINE_BYTES, 1);
  for (uint32_t i = 0; i < route.count; i++) {
    const dsm_sub_shm *sub = dsm_space_sub(space, route.nodes[i], stripe);
    __builtin_prefetch(sub, 1);
    __builtin_prefetch(&sub->used, 1);
  }
}

void dsm_prefetch_change_object(const dsm_space *space, uint64_t hash) {
  uint32_t stripe = dsm_key_stripe(space, hash);
  dsm_route route;
  uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, stripe));
  if (!dsm_route_unseal(space, word, stripe, &route)) return;
  for (uint32_t i = 0; i < route.count; i++)
    prefetch_object(space, route.nodes[i], stripe, hash, true);
}
