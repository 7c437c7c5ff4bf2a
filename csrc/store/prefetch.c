/* Asking for cache lines before they are needed. */
#include "prefetch.h"

#define INTENT_LINES 2u /* what an overwrite lists per replica, beside the first line */

void dsm_ahead_heads(dsm_ahead *ahead, const dsm_space *space, uint64_t hash) {
  ahead->hash = hash;
  ahead->stripe = dsm_key_stripe(space, hash);
  ahead->count = 0;
  const uint8_t *intent = (const uint8_t *)dsm_space_intent(space, ahead->stripe);
  __builtin_prefetch(dsm_space_lock(space, ahead->stripe), 1);
  __builtin_prefetch(intent, 1);
  dsm_route route;
  uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, ahead->stripe));
  if (!dsm_route_unseal(space, word, ahead->stripe, &route)) return;
  ahead->count = route.count;
  for (unsigned line = 1; line <= INTENT_LINES * route.count; line++)
    __builtin_prefetch(intent + line * DSM_LINE_BYTES, 1);
  for (uint32_t i = 0; i < route.count; i++) {
    ahead->nodes[i] = route.nodes[i];
    __builtin_prefetch(dsm_space_sub(space, route.nodes[i], ahead->stripe), 1);
  }
}

void dsm_ahead_slots(dsm_ahead *ahead, const dsm_space *space) {
  for (uint32_t i = 0; i < ahead->count; i++) {
    dsm_table *table = &ahead->tables[i];
    const dsm_sub_shm *sub = dsm_space_sub(space, ahead->nodes[i], ahead->stripe);
    if (!dsm_table_decode(space, ahead->nodes[i], ahead->stripe, dsm_load_relaxed_u64(&sub->table),
                          table))
      table->slots = NULL;
    if (table->slots)
      __builtin_prefetch(&table->slots[dsm_slot_home(ahead->hash, table->capacity)], 1);
  }
}

void dsm_ahead_objects(const dsm_ahead *ahead, const dsm_space *space) {
  for (uint32_t i = 0; i < ahead->count; i++)
    if (ahead->tables[i].slots)
      dsm_prefetch_home(space, ahead->nodes[i], &ahead->tables[i], ahead->hash);
}
