/* One stripe's scrubbing. */
#include "scrub.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "../mem/pin.h"
#include "audit.h"
#include "heal.h"
#include "stripe.h"

/* A slot's object does not verify, and nothing was changed meanwhile. */
static bool slot_damaged(dsm_call *call, unsigned node, uint32_t stripe,
                         const dsm_atomic_u64 *slot_word, uint64_t table_word, uint64_t *bytes) {
  dsm_space *space = call->space;
  const dsm_sub_shm *sub = dsm_space_sub(space, node, stripe);
  uint64_t slot = dsm_load_acquire_u64(slot_word), offset = dsm_slot_offset(slot);
  if (slot == DSM_SLOT_EMPTY || slot == DSM_SLOT_TOMBSTONE) return false;
  bool aligned = offset % DSM_ARENA_PAGE_BYTES == 0 && dsm_offset_fits(space, offset);
  uint32_t pin = aligned ? dsm_pin_claim(space, node, offset / DSM_ARENA_PAGE_BYTES) : DSM_PIN_NONE;
  uint64_t gen = dsm_load_acquire_u64(&sub->gen);
  bool same =
      dsm_load_acquire_u64(&sub->table) == table_word && dsm_load_acquire_u64(slot_word) == slot;
  dsm_header header;
  dsm_key key;
  bool good = !same || (slot > DSM_SLOT_TOMBSTONE &&
                        dsm_slot_verify(call, node, stripe, slot, &header, &key) == DSM_OK);
  if (same && good) *bytes += header.value_offset + header.value_bytes;
  dsm_fence_acquire();
  /* A pinned value stays as it is; what is not pinned may have been reused. */
  bool stable = dsm_load_relaxed_u64(&sub->gen) == gen;
  if (pin != DSM_PIN_NONE) dsm_pin_release(space, pin);
  return !good && stable;
}

static bool values_damaged(dsm_call *call, unsigned node, uint32_t stripe, uint64_t *bytes,
                           uint32_t *slots) {
  const dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  uint64_t gen = dsm_load_acquire_u64(&sub->gen), word = dsm_load_acquire_u64(&sub->table);
  dsm_table table;
  *slots = 0;
  *bytes += sizeof *sub;
  if (!dsm_table_decode(call->space, node, stripe, word, &table)) {
    dsm_fence_acquire();
    return dsm_load_relaxed_u64(&sub->gen) == gen;
  }
  if (!table.slots) return false;
  *slots = table.capacity;
  *bytes += dsm_table_bytes(table.size);
  for (uint32_t i = 0; i < table.capacity; i++) {
    if (dsm_load_relaxed_u64(&sub->table) != word) return false;
    if (slot_damaged(call, node, stripe, &table.slots[i], word, bytes)) return true;
  }
  return false;
}

static bool structure_damaged(dsm_call *call, uint32_t stripe) {
  dsm_check_report report = {0};
  dsm_audit audit = {.call = call, .report = &report, .shallow = true, .stripe = stripe};
  uint32_t unsound;
  if (dsm_stripe_take(call, stripe, &audit.route) != DSM_OK) return false;
  bool sound = dsm_audit_stripe(&audit, &unsound);
  dsm_stripe_drop(call, stripe, &audit.route);
  free(audit.extents);
  return !sound;
}

uint64_t dsm_scrub_stripe(dsm_call *call, unsigned node, uint32_t stripe, bool *damaged) {
  dsm_route route;
  uint64_t bytes = 8;
  uint32_t slots;
  *damaged = false;
  dsm_nodes_catch_up(call);
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, stripe));
  if (!dsm_route_unseal(call->space, word, stripe, &route) || !dsm_route_names(&route, node))
    return bytes;
  *damaged = values_damaged(call, node, stripe, &bytes, &slots);
  if (!*damaged && route.nodes[0] == node && slots <= DSM_SCRUB_SLOTS)
    *damaged = structure_damaged(call, stripe);
  if (*damaged) {
    DSM_CRASH_POINT("scrub.found");
    dsm_call own = dsm_call_make(call->space, DSM_LOCK_SLICE_MS);
    dsm_heal_ask(call->space, stripe); /* if this comes to nothing, others know */
    dsm_heal(&own, stripe);
  }
  return bytes;
}
