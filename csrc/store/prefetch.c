/* Asking for cache lines before they are needed. */
#include "prefetch.h"

#define INTENT_LINES 2u /* what an overwrite lists per replica, beside the first line */

void dsm_ahead_heads(dsm_ahead *ahead, const dsm_space *space, uint64_t hash) {
  ahead->hash = hash;
  ahead->stripe = dsm_key_stripe(space, hash);
  const uint8_t *intent = (const uint8_t *)dsm_space_intent(space, ahead->stripe);
  __builtin_prefetch(dsm_space_lock(space, ahead->stripe), 1);
  __builtin_prefetch(intent, 1);
  uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, ahead->stripe));
  if (!dsm_route_unseal(space, word, ahead->stripe, &ahead->route)) ahead->route.count = 0;
  for (unsigned line = 1; line <= INTENT_LINES * ahead->route.count; line++)
    __builtin_prefetch(intent + line * DSM_LINE_BYTES, 1);
  for (uint32_t i = 0; i < ahead->route.count; i++)
    __builtin_prefetch(dsm_space_sub(space, ahead->route.nodes[i], ahead->stripe), 1);
}

void dsm_ahead_slots(dsm_ahead *ahead, const dsm_space *space) {
  for (uint32_t i = 0; i < ahead->route.count; i++) {
    unsigned node = ahead->route.nodes[i];
    dsm_table *table = &ahead->seen[i].table;
    uint64_t word = dsm_load_acquire_u64(&dsm_space_sub(space, node, ahead->stripe)->table);
    ahead->seen[i].word = word;
    ahead->seen[i].known = dsm_table_decode(space, node, ahead->stripe, word, table);
    if (!ahead->seen[i].known) table->slots = NULL;
    if (table->slots)
      __builtin_prefetch(&table->slots[dsm_slot_home(ahead->hash, table->capacity)], 1);
  }
}

void dsm_ahead_objects(const dsm_ahead *ahead, const dsm_space *space) {
  for (uint32_t i = 0; i < ahead->route.count; i++)
    if (ahead->seen[i].table.slots)
      dsm_prefetch_home(space, ahead->route.nodes[i], &ahead->seen[i].table, ahead->hash);
}
