/* Repairs of what a check found, under the stripe's lock.
 *
 * What is trusted: an object whose checksum holds, at whichever replica. A sub in which anything is
 * wrong is given up and filled again from a replica that is sound; where no replica is, slots that
 * name nothing valid are emptied and slabs are rebuilt around what is left. A kill in the middle
 * leaves a stripe that the next check mends further.
 */
#include "audit.h"
#include "route.h"
#include "stripe.h"
#include "write.h"

static dsm_log mend_log(dsm_audit *audit) {
  return dsm_log_make(audit->call, dsm_space_intent(audit->call->space, audit->stripe),
                      audit->stripe);
}

void dsm_mend_quarantine(dsm_audit *audit, uint32_t stripe) {
  dsm_lock_shm *lock = dsm_space_lock(audit->call->space, stripe);
  dsm_fail(audit->call, DSM_CORRUPT, "stripe was quarantined", -1, stripe, 0, 0);
  dsm_audit_fault(audit);
  dsm_store_release_u64(&dsm_space_intent(audit->call->space, stripe)->armed, 0);
  dsm_store_release_u32(&lock->quarantined, 0);
  audit->report->repaired++;
}

/* Empties a slot that names no valid object. */
static bool drop_slot(dsm_audit *audit, unsigned node, const dsm_atomic_u64 *slot) {
  dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_log log = mend_log(audit);
  dsm_log_set(&log, node + 1, slot, DSM_SLOT_TOMBSTONE);
  dsm_log_set_sealed(&log, node + 1, &sub->gen, dsm_log_get_sealed(&log, node + 1, &sub->gen) + 1);
  return dsm_log_commit(&log) == DSM_OK;
}

/* Rebuilds bits and lists of the sub's slabs from the extents that are referred to. Slabs without
 * any become unclaimed runs, which the walk over the arena gives back. A kill in the middle leaves
 * a sub that operations refuse and the next check rebuilds. */
static bool rebuild_slabs(dsm_audit *audit, uint32_t replica) {
  dsm_space *space = audit->call->space;
  unsigned node = audit->route.nodes[replica];
  dsm_sub_shm *sub = dsm_space_sub(space, node, audit->stripe);
  dsm_check_tell *tell = audit->tell;
  dsm_check_report report = *audit->report;
  audit->tell = NULL;
  bool sound = dsm_audit_sub(audit, node);
  audit->tell = tell;
  *audit->report = report;
  if (sound) return false;
  uint64_t heads[DSM_FIT_COUNT] = {0};
  dsm_log log = mend_log(audit);
  for (uint64_t first = 0; first < audit->extent_count;) {
    uint64_t page = audit->extents[first].offset / DSM_ARENA_PAGE_BYTES;
    bool apart;
    uint64_t bits = dsm_audit_slab_bits(audit, &first, &apart);
    dsm_run run;
    if (!apart || dsm_run_read(audit->call, node, page, &run) != DSM_OK ||
        run.kind != DSM_RUN_SLAB || run.stripe != audit->stripe)
      continue;
    dsm_slab_rebuild(&log, node, audit->stripe, page, bits, heads);
  }
  for (unsigned list = 0; list < DSM_FIT_COUNT; list++)
    dsm_store_release_u64(
        &sub->partial[list],
        dsm_seal(heads[list], dsm_space_locator(space, node + 1, &sub->partial[list])));
  return true;
}

static bool drop_bad_slots(dsm_audit *audit, unsigned node) {
  dsm_table table;
  bool mended = false;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    dsm_header header;
    dsm_key key;
    dsm_found found;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    if (slot <= DSM_SLOT_TOMBSTONE) continue;
    bool good = dsm_audit_object(audit, node, slot, &header, &key) &&
                dsm_table_find(audit->call, node, audit->stripe, &key, &found) == DSM_OK &&
                found.slot == &table.slots[i];
    if (!good) mended |= drop_slot(audit, node, &table.slots[i]);
  }
  return mended;
}

/* Recounts the slots. */
static bool recount(dsm_audit *audit, unsigned node) {
  dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_table table;
  uint64_t live = 0, filled = 0;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    filled += slot != DSM_SLOT_EMPTY;
    live += slot > DSM_SLOT_TOMBSTONE;
  }
  uint64_t wanted =
      dsm_seal(live << 22 | filled, dsm_space_locator(audit->call->space, node + 1, &sub->used));
  if (dsm_load_relaxed_u64(&sub->used) == wanted) return false;
  dsm_store_release_u64(&sub->used, wanted);
  return true;
}

/* Gives up a sub: it becomes empty, and its runs are found unclaimed by the walk over the arena. */
static void give_up(dsm_audit *audit, unsigned node) {
  dsm_space *space = audit->call->space;
  dsm_sub_shm *sub = dsm_space_sub(space, node, audit->stripe);
  uint64_t highest = 0;
  for (uint32_t i = 0; i < audit->route.count; i++) {
    bool ok;
    unsigned other = audit->route.nodes[i];
    const dsm_atomic_u64 *gen = &dsm_space_sub(space, other, audit->stripe)->gen;
    uint64_t value =
        dsm_unseal(dsm_load_relaxed_u64(gen), dsm_space_locator(space, other + 1, gen), &ok);
    if (ok && value > highest) highest = value;
  }
  dsm_stripe_init(space, node, audit->stripe);
  dsm_store_release_u64(&sub->gen,
                        dsm_seal(highest + 1, dsm_space_locator(space, node + 1, &sub->gen)));
}

/* Copies to replica `to` every valid object that replica `from` has and `to` lacks or has older. */
static bool refill(dsm_audit *audit, uint32_t from, uint32_t to) {
  unsigned source = audit->route.nodes[from], target = audit->route.nodes[to];
  dsm_table table;
  bool mended = false;
  if (dsm_table_read(audit->call, source, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    dsm_header header;
    dsm_key key;
    dsm_found found;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    if (slot <= DSM_SLOT_TOMBSTONE || !dsm_audit_object(audit, source, slot, &header, &key))
      continue;
    if (header.region < audit->region_count && to >= audit->region_replicas[header.region])
      continue;
    if (dsm_table_find(audit->call, target, audit->stripe, &key, &found) != DSM_OK) continue;
    if (found.offset && found.header.version >= header.version) continue;
    mended |=
        dsm_transfer(audit->call, audit->stripe, source, target, &key, slot, &header) == DSM_OK;
  }
  return mended;
}

static bool recount_regions(dsm_audit *audit) {
  dsm_space *space = audit->call->space;
  uint32_t objects[DSM_REGIONS_MAX] = {0};
  unsigned primary = audit->route.nodes[0];
  dsm_table table;
  bool mended = false;
  if (dsm_table_read(audit->call, primary, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    dsm_header header;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]), hash;
    if (slot > DSM_SLOT_TOMBSTONE &&
        dsm_slot_object(audit->call, primary, audit->stripe, slot, &header, &hash) == DSM_OK &&
        header.region < DSM_REGIONS_MAX)
      objects[header.region]++;
  }
  for (uint32_t region = 0; region < audit->region_count; region++) {
    dsm_atomic_u64 *count = dsm_space_region_count(space, region, audit->stripe);
    uint64_t wanted =
        dsm_seal(objects[region], dsm_space_locator(space, DSM_CONTROL_SEGMENT, count));
    if (dsm_load_relaxed_u64(count) == wanted) continue;
    dsm_store_release_u64(count, wanted);
    mended = true;
  }
  return mended;
}

bool dsm_mend_stripe(dsm_audit *audit, uint32_t unsound) {
  const dsm_space *space = audit->call->space;
  bool mended = false;
  uint32_t all = (1u << audit->route.count) - 1;
  for (uint32_t i = 0; i < audit->route.count; i++) {
    unsigned node = audit->route.nodes[i];
    if ((unsound >> i & 1) && unsound != all) {
      give_up(audit, node);
      mended = true;
    } else {
      mended |= drop_bad_slots(audit, node);
      mended |= recount(audit, node);
      if (unsound >> i & 1) mended |= rebuild_slabs(audit, i);
    }
  }
  for (uint32_t from = 0; from < audit->route.count; from++)
    for (uint32_t to = 0; to < audit->route.count; to++)
      if (from != to) mended |= refill(audit, from, to);
  mended |= recount_regions(audit);
  if (mended) audit->report->repaired++;
  /* What was put back may have an old version: a move that compares by version begins again. */
  if (mended) dsm_fetch_add_relaxed_u32(&dsm_space_lock(space, audit->stripe)->repairs, 1);
  return mended;
}

void dsm_mend_stray(dsm_audit *audit, unsigned node) {
  if (dsm_strays_read(audit->call->space, audit->stripe) >> node & 1)
    give_up(audit, node);
  else
    dsm_strays_add(audit->call->space, audit->stripe, 1ull << node); /* the next move tidies it */
  audit->report->repaired++;
}

bool dsm_mend_leak(dsm_audit *audit, unsigned node, uint64_t page) {
  dsm_log log = mend_log(audit);
  dsm_slab_retire(&log, node, audit->stripe, page);
  return dsm_log_commit(&log) == DSM_OK &&
         dsm_stripe_settle(audit->call, audit->stripe, node) == DSM_OK;
}
