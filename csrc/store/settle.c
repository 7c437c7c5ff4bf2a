/* Hashing large values after the fact. */
#include "settle.h"

#include "../mem/pin.h"

/* A damaged header must not make us read, or mark, what is not this object's. */
static bool holds(const dsm_space *space, const dsm_object_shm *object, const dsm_header *header) {
  uint64_t key_hash = dsm_key_hash(space, (const uint8_t *)object + header->key_offset,
                                   header->key_bytes, header->key_kind, header->region);
  return (uint32_t)(header->binding >> 32) ==
         dsm_object_checksum(header->version, header->shape, header->binding, key_hash, 0);
}

static bool unsettled(const dsm_space *space, unsigned node, uint64_t slot, dsm_header *header) {
  uint64_t offset = dsm_slot_offset(slot);
  if (slot <= DSM_SLOT_TOMBSTONE || !dsm_offset_fits(space, offset)) return false;
  dsm_object_shm *object = dsm_object_at(space, node, offset);
  dsm_header_read(object, header);
  return header->version != 0 && dsm_object_fits(space, offset, header) &&
         header->flags & DSM_OBJECT_LAZY && dsm_load_relaxed_u64(dsm_object_settled(object)) == 0 &&
         holds(space, object, header);
}

static void hash_object(const dsm_space *space, unsigned node, uint64_t offset,
                        const dsm_header *header) {
  dsm_object_shm *object = dsm_object_at(space, node, offset);
  uint64_t none = 0;
  uint64_t hash =
      dsm_value_hash((const uint8_t *)object + header->value_offset, header->value_bytes);
  dsm_cas_acq_rel_u64(dsm_object_settled(object), &none, hash);
}

/* Pins the object of a slot and, if the slot still names it, hashes it. False: try again later. */
static bool settle_slot(dsm_call *call, unsigned node, const dsm_sub_shm *sub,
                        const dsm_atomic_u64 *slot_word, uint64_t slot, uint64_t table_word) {
  dsm_space *space = call->space;
  dsm_header header;
  uint64_t offset = dsm_slot_offset(slot);
  uint32_t pin = dsm_pin_claim(space, node, offset / DSM_ARENA_PAGE_BYTES);
  if (pin == DSM_PIN_NONE) return false;
  /* True at one instant after the claim: generation, table and slot hang together. */
  uint64_t gen = dsm_load_acquire_u64(&sub->gen);
  bool same = dsm_load_acquire_u64(&sub->table) == table_word &&
              dsm_load_acquire_u64(slot_word) == slot && unsettled(space, node, slot, &header);
  dsm_fence_acquire();
  bool stable = dsm_load_relaxed_u64(&sub->gen) == gen;
  if (same && stable) hash_object(space, node, offset, &header);
  dsm_pin_release(space, pin);
  return stable;
}

static bool settle_stripe(dsm_call *call, unsigned node, uint32_t stripe) {
  const dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  uint64_t table_word = dsm_load_acquire_u64(&sub->table);
  dsm_table table;
  bool done = true;
  if (!dsm_table_decode(call->space, node, stripe, table_word, &table) || !table.slots)
    return true; /* a damaged table is for check() to report */
  for (uint32_t i = 0; i < table.capacity; i++) {
    dsm_header header;
    uint64_t slot = dsm_load_acquire_u64(&table.slots[i]);
    if (unsettled(call->space, node, slot, &header))
      done &= settle_slot(call, node, sub, &table.slots[i], slot, table_word);
  }
  return done && dsm_load_acquire_u64(&sub->table) == table_word;
}

bool dsm_settle_due(const dsm_space *space, unsigned node) {
  for (uint32_t first = 0; first < space->stripe_count; first += 64)
    if (dsm_load_relaxed_u64(dsm_space_unsettled(space, node, first)) != 0) return true;
  return false;
}

void dsm_settle_node(dsm_call *call, unsigned node) {
  dsm_space *space = call->space;
  for (uint32_t first = 0; first < space->stripe_count; first += 64) {
    dsm_atomic_u64 *word = dsm_space_unsettled(space, node, first);
    if (dsm_load_relaxed_u64(word) == 0) continue;
    uint64_t marked = dsm_exchange_acq_rel_u64(word, 0);
    for (; marked; marked &= marked - 1) {
      uint32_t stripe = first + (uint32_t)__builtin_ctzll(marked);
      if (stripe < space->stripe_count && !settle_stripe(call, node, stripe))
        dsm_fetch_or_acq_rel_u64(word, 1ull << (stripe % 64));
    }
  }
}

dsm_status dsm_settle_locked(dsm_call *call, unsigned node, uint32_t stripe) {
  dsm_table table;
  DSM_TRY(dsm_table_read(call, node, stripe, &table));
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    dsm_header header;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    if (unsettled(call->space, node, slot, &header))
      hash_object(call->space, node, dsm_slot_offset(slot), &header);
  }
  return DSM_OK;
}
