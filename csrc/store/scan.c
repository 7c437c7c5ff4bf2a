/* Listing keys. */
#include "scan.h"

#include "../mem/nodes.h"
#include "heal.h"
#include "region_record.h"
#include "route_restore.h"
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
    if (slot < DSM_SLOT_TOMBSTONE && slot != DSM_SLOT_EMPTY) return false;
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
  bool whole = false, healed = false;
  do
    whole = list(call->space, node, stripe, dsm_load_acquire_u64(&sub->table), region, buffer,
                 capacity, used);
  while (!whole && !healed && (healed = dsm_heal_locked(call, stripe, &route) == DSM_OK));
  dsm_stripe_drop(call, stripe, &route);
  return outcome(call, whole, stripe, node, *used, capacity);
}

/* One look without the lock, at a replica. DSM_RETRY: it was changed meanwhile. */
static dsm_status scan_at(dsm_call *call, uint16_t region, uint32_t stripe, const dsm_route *route,
                          uint32_t replica, uint8_t *buffer, uint64_t capacity, uint64_t *used) {
  const dsm_space *space = call->space;
  unsigned node = route->nodes[replica];
  const dsm_sub_shm *sub = dsm_space_sub(space, node, stripe);
  uint64_t gen = dsm_load_acquire_u64(&sub->gen);
  bool whole =
      list(space, node, stripe, dsm_load_acquire_u64(&sub->table), region, buffer, capacity, used);
  dsm_fence_acquire();
  if (dsm_load_relaxed_u64(&sub->gen) != gen ||
      dsm_load_relaxed_u64(dsm_space_route(space, stripe)) != route->word)
    return DSM_RETRY;
  return outcome(call, whole, stripe, node, *used, capacity);
}

/* True if the primary's list of keys is to be believed: no mending is under way. */
static bool settled(const dsm_space *space, uint32_t stripe) {
  return !(dsm_load_acquire_u32(&dsm_space_lock(space, stripe)->pending) & DSM_PENDING_MEND);
}

dsm_status dsm_scan_stripe(dsm_call *call, uint16_t region, uint32_t stripe, uint8_t *buffer,
                           uint64_t capacity, uint64_t *used) {
  dsm_route route;
  dsm_status status = DSM_RETRY;
  for (int tries = 0; tries < UNLOCKED_TRIES; tries++) {
    uint64_t epoch = dsm_space_epoch(call->space);
    DSM_TRY(dsm_route_read(call, stripe, &route));
    status = scan_at(call, region, stripe, &route, 0, buffer, capacity, used);
    if (!dsm_space_current(call->space, epoch)) {
      dsm_nodes_catch_up(call);
      continue;
    }
    if (status == DSM_CORRUPT || !settled(call->space, stripe)) break;
    if (status != DSM_RETRY) return status;
  }
  dsm_status locked = scan_locked(call, region, stripe, buffer, capacity, used);
  if (status != DSM_CORRUPT || locked != DSM_LOCK_TIMEOUT) return locked;
  /* Damage, and somebody else has the lock: a backup tells as well, unless it lacks the region. */
  const dsm_region_shm *record = dsm_region_record(call->space, region);
  if (!record) return locked;
  for (uint32_t i = 1; i < route.count && i < record->replicas; i++) {
    status = scan_at(call, region, stripe, &route, i, buffer, capacity, used);
    if (status == DSM_OK || status == DSM_TOO_MANY) return status;
  }
  return locked;
}
