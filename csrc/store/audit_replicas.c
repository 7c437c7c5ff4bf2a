/* Comparing replicas with the primary, and region counters with what the primary holds. */
#include "audit.h"
#include "route.h"

static uint32_t replicas_of(const dsm_audit *audit, uint16_t region) {
  uint32_t wanted =
      region < audit->region_count ? audit->region_replicas[region] : audit->route.count;
  return wanted < audit->route.count ? wanted : audit->route.count;
}

static bool compare_object(dsm_audit *audit, uint32_t replica, const dsm_key *key,
                           const dsm_header *header) {
  unsigned node = audit->route.nodes[replica];
  dsm_found found;
  if (dsm_table_find(audit->call, node, audit->stripe, key, &found) != DSM_OK)
    return dsm_audit_fault(audit);
  if (!found.offset)
    return dsm_audit_problem(audit, "replica lacks a key", node, header->version, 0);
  /* The checksum covers version, shape, key and, but for lazy values, the value. */
  if (found.header.version != header->version || found.header.binding != header->binding ||
      found.header.shape != header->shape)
    return dsm_audit_problem(audit, "replica holds another version", node, header->version,
                             found.header.version);
  if (!(header->flags & DSM_OBJECT_LAZY)) return true;
  uint64_t mine = dsm_load_relaxed_u64(
      dsm_object_settled((dsm_object_shm *)(void *)((uintptr_t)key->bytes - header->key_offset)));
  uint64_t theirs = dsm_load_relaxed_u64(
      dsm_object_settled(dsm_object_at(audit->call->space, node, found.offset)));
  return mine == theirs ||
         dsm_audit_problem(audit, "replica holds another value", node, mine, theirs);
}

static uint64_t live_at(dsm_audit *audit, uint32_t replica) {
  unsigned node = audit->route.nodes[replica];
  dsm_table table;
  uint64_t live = 0;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK) return 0;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++)
    live += dsm_load_relaxed_u64(&table.slots[i]) > DSM_SLOT_TOMBSTONE;
  return live;
}

static bool audit_counters(dsm_audit *audit) {
  const dsm_space *space = audit->call->space;
  bool sound = true;
  for (uint32_t region = 0; region < audit->region_count; region++) {
    bool ok;
    const dsm_atomic_u64 *count = dsm_space_region_count(space, region, audit->stripe);
    uint64_t value = dsm_unseal(dsm_load_relaxed_u64(count),
                                dsm_space_locator(space, DSM_CONTROL_SEGMENT, count), &ok);
    if (!ok || value != audit->region_objects[region])
      sound = dsm_audit_problem(audit, "count of the region differs", audit->route.nodes[0], value,
                                audit->region_objects[region]);
  }
  return sound;
}

bool dsm_audit_replicas(dsm_audit *audit) {
  unsigned primary = audit->route.nodes[0];
  uint64_t expected[DSM_REPLICAS_MAX] = {0};
  dsm_table table;
  bool sound = true;
  if (dsm_table_read(audit->call, primary, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]), hash;
    dsm_header header;
    if (slot <= DSM_SLOT_TOMBSTONE ||
        dsm_slot_object(audit->call, primary, audit->stripe, slot, &header, &hash) != DSM_OK)
      continue; /* reported with the primary's sub */
    const uint8_t *object =
        (const uint8_t *)dsm_object_at(audit->call->space, primary, dsm_slot_offset(slot));
    dsm_key key = {object + header.key_offset, header.key_bytes, header.key_kind, header.region,
                   hash};
    uint32_t wanted = replicas_of(audit, header.region);
    for (uint32_t replica = 0; replica < wanted; replica++) expected[replica]++;
    for (uint32_t replica = 1; replica < wanted; replica++)
      sound &= compare_object(audit, replica, &key, &header);
  }
  for (uint32_t replica = 1; replica < audit->route.count; replica++) {
    uint64_t live = live_at(audit, replica);
    unsigned node = audit->route.nodes[replica];
    bool moving = dsm_strays_read(audit->call->space, audit->stripe) >> node & 1;
    if (moving ? live < expected[replica] : live != expected[replica])
      sound = dsm_audit_problem(audit, "replica holds another number of keys", node, live,
                                expected[replica]);
  }
  return audit_counters(audit) && sound;
}

static bool empty(const dsm_audit *audit, unsigned node) {
  const dsm_space *space = audit->call->space;
  const dsm_sub_shm *sub = dsm_space_sub(space, node, audit->stripe);
  const dsm_atomic_u64 *words[] = {&sub->table, &sub->used, &sub->reserved};
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    if (dsm_load_relaxed_u64(words[i]) != dsm_seal(0, dsm_space_locator(space, node + 1, words[i])))
      return false;
  return true;
}

bool dsm_audit_strays(dsm_audit *audit) {
  const dsm_space *space = audit->call->space;
  uint64_t moving = dsm_strays_read(space, audit->stripe);
  bool sound = true;
  for (unsigned node = 0; node < space->node_count; node++) {
    if (!dsm_space_present(space, node) || dsm_route_names(&audit->route, node)) continue;
    bool good = dsm_audit_sub(audit, node);
    if (!(moving >> node & 1) && !empty(audit, node))
      good = dsm_audit_problem(audit, "node holds a stripe whose route does not name it", node,
                               audit->route.word, moving);
    if (!good && audit->repair) dsm_mend_stray(audit, node);
    sound &= good;
  }
  return sound;
}
