/* Asking for the cache lines of a change before they are needed. Hints only: nothing that is found
 * here is trusted later, and nothing is decided by it.
 *
 * With some ten thousand keys the time of a call is mostly that of its misses, each of them also in
 * the TLB. What a call will touch follows from the key's hash in steps, each of which needs what
 * the step before has asked for: the heads (lock, intent, subs), then the tables' slots, then the
 * old object and its slab. Between the steps the caller does other work: it hashes the value, takes
 * the lock, or takes the same step for the other keys of a batch.
 */
#ifndef DSM_STORE_PREFETCH_H
#define DSM_STORE_PREFETCH_H

#include "table.h"

/* What the steps know of one key, between them. */
typedef struct dsm_ahead {
  uint64_t hash;
  uint32_t stripe, count; /* replicas to look at */
  uint8_t nodes[DSM_REPLICAS_MAX];
  dsm_table tables[DSM_REPLICAS_MAX];
} dsm_ahead;

/* The object that the key's home slot names, and the head of its slab. Mostly the key sits at home;
 * a wrong guess costs a line, nothing more. */
static inline void dsm_prefetch_home(const dsm_space *space, unsigned node, const dsm_table *table,
                                     uint64_t hash) {
  uint64_t slot = dsm_load_relaxed_u64(&table->slots[dsm_slot_home(hash, table->capacity)]);
  uint64_t offset = dsm_slot_offset(slot);
  if (slot <= DSM_SLOT_TOMBSTONE || !dsm_offset_fits(space, offset)) return;
  const uint8_t *object = space->nodes[node].base + offset;
  __builtin_prefetch(object);
  __builtin_prefetch(object + DSM_LINE_BYTES);
  __builtin_prefetch(space->nodes[node].base + (offset & ~(uint64_t)(DSM_ARENA_PAGE_BYTES - 1)), 1);
}

void dsm_ahead_heads(dsm_ahead *ahead, const dsm_space *space, uint64_t hash);
void dsm_ahead_slots(dsm_ahead *ahead, const dsm_space *space);
void dsm_ahead_objects(const dsm_ahead *ahead, const dsm_space *space);

#endif
