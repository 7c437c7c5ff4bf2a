/* Listing keys. */
#include "scan.h"

#include "../mem/nodes.h"
#include "stripe.h"

#define UNLOCKED_TRIES 16

/* Appends the key of one slot. False if what was read does not hang together. */
static bool append(const dsm_space *space, unsigned node, uint64_t slot, uint16_t region,
                   uint8_t *buffer, uint64_t capacity, uint64_t *used) {
  uint64_t offset = dsm_slot_offset(slot);
  if (!dsm_offset_fits(space, offset)) return false;
  const dsm_object_shm *object = dsm_object_at(space, node, offset);
  dsm_header header;
  dsm_header_read(object, &header);
  if (header.version == 0 || !dsm_object_fits(space, offset, &header)) return false;
  /* A flipped bit must neither hide a key nor become a key that nobody stored. */
  uint64_t hash = dsm_key_hash(space, (const uint8_t *)object + header.key_offset, header.key_bytes,
                               header.key_kind, header.region);
  if (!dsm_slot_tagged(slot, hash)) return false;
  if (header.region != region) return true;
  uint64_t padded = (header.key_bytes + 7ull) & ~7ull, start = *used;
  *used += 8 + padded;
  if (*used > capacity) return true;
  uint64_t word = (uint64_t)header.key_kind << 32 | header.key_bytes;
  memcpy(buffer + start, &word, 8);
  dsm_copy_out(buffer + start + 8, (const uint8_t *)object + header.key_offset, header.key_bytes);
  return true;
}

static bool list(const dsm_space *space, unsigned node, uint32_t stripe, uint64_t table_word,
                 uint16_t region, uint8_t *buffer, uint64_t capacity, uint64_t *used) {
  dsm_table table;
  *used = 0;
  if (!dsm_table_decode(space, node, stripe, table_word, &table)) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_acquire_u64(&table.slots[i]);
    if (slot > DSM_SLOT_TOMBSTONE && !append(space, node, slot, region, buffer, capacity, used))
      return false;
  }
  return true;
}

static dsm_status outcome(dsm_call *call, bool whole, uint32_t stripe, unsigned node, uint64_t used,
                          uint64_t capacity) {
  if (!whole)
    return dsm_fail(call, DSM_CORRUPT, "slot or table of the stripe is damaged", (int)node, stripe,
                    used, 0);
  return used > capacity ? DSM_TOO_MANY : DSM_OK;
}

static dsm_status scan_locked(dsm_call *call, uint16_t region, uint32_t stripe, uint8_t *buffer,
                              uint64_t capacity, uint64_t *used) {
  dsm_route route;
  DSM_TRY(dsm_stripe_take(call, stripe, &route));
  unsigned node = route.nodes[0];
  const dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  bool whole = list(call->space, node, stripe, dsm_load_acquire_u64(&sub->table), region, buffer,
                    capacity, used);
  dsm_stripe_drop(call, stripe, &route);
  return outcome(call, whole, stripe, node, *used, capacity);
}

dsm_status dsm_scan_stripe(dsm_call *call, uint16_t region, uint32_t stripe, uint8_t *buffer,
                           uint64_t capacity, uint64_t *used) {
  const dsm_space *space = call->space;
  for (int tries = 0; tries < UNLOCKED_TRIES; tries++) {
    uint64_t epoch = dsm_space_epoch(space);
    uint64_t route = dsm_load_acquire_u64(dsm_space_route(space, stripe));
    int primary = dsm_route_primary(space, route, stripe);
    if (primary < 0) {
      if (dsm_nodes_catch_up(call)) continue;
      return dsm_fail(call, DSM_CORRUPT, "route does not verify", -1, stripe, route, 0);
    }
    const dsm_sub_shm *sub = dsm_space_sub(space, (unsigned)primary, stripe);
    uint64_t gen = dsm_load_acquire_u64(&sub->gen);
    bool whole = list(space, (unsigned)primary, stripe, dsm_load_acquire_u64(&sub->table), region,
                      buffer, capacity, used);
    dsm_fence_acquire();
    if (dsm_load_relaxed_u64(&sub->gen) == gen &&
        dsm_load_relaxed_u64(dsm_space_route(space, stripe)) == route &&
        dsm_space_current(space, epoch))
      return outcome(call, whole, stripe, (unsigned)primary, *used, capacity);
    dsm_nodes_catch_up(call);
  }
  return scan_locked(call, region, stripe, buffer, capacity, used);
}
