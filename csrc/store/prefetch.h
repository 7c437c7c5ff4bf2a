/* Asking for the cache lines of a change before they are needed. Hints only: nothing is decided by
 * what is found here. A word that was verified here and is the same under the lock need not be
 * verified again, though; that is all that is trusted later.
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
  uint32_t stripe;
  dsm_route route; /* count 0: it did not verify */
  struct {
    dsm_table table;
    uint64_t word;
    bool known; /* the word verified, and the table is what it says */
  } seen[DSM_REPLICAS_MAX];
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

/* The route, or a replica's table, if the word that says it is still the one that was seen. */
static inline bool dsm_ahead_route(const dsm_ahead *ahead, uint64_t word, uint32_t stripe,
                                   dsm_route *out) {
  if (!ahead->route.count || ahead->route.word != word || ahead->stripe != stripe) return false;
  *out = ahead->route;
  return true;
}

static inline bool dsm_ahead_table(const dsm_ahead *ahead, const dsm_space *space, uint32_t stripe,
                                   unsigned node, uint32_t replica, dsm_table *out) {
  if (ahead->stripe != stripe || replica >= ahead->route.count ||
      ahead->route.nodes[replica] != node || !ahead->seen[replica].known ||
      ahead->seen[replica].word != dsm_load_acquire_u64(&dsm_space_sub(space, node, stripe)->table))
    return false;
  *out = ahead->seen[replica].table;
  return true;
}

void dsm_ahead_heads(dsm_ahead *ahead, const dsm_space *space, uint64_t hash);
void dsm_ahead_slots(dsm_ahead *ahead, const dsm_space *space);
void dsm_ahead_objects(const dsm_ahead *ahead, const dsm_space *space);

#endif
