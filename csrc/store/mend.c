/* Repairs of what an audit found, under the stripe's lock: the order of the steps.
 *
 * What is trusted: an object whose checksum holds, at whichever replica. Each sub is first made
 * whole around the objects that it still has (mend_sub.c); then every replica takes from the others
 * what it lacks; then those keys of which nobody has a value are marked as lost. A kill leaves
 * PENDING_MEND set, and the next who takes the stripe begins anew.
 */
#include "mend.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "heal.h"
#include "stripe.h"
#include "write.h"

/* Copies to replica `to` every valid object that replica `from` has and `to` lacks or has older. */
static bool refill(dsm_audit *audit, uint32_t from, uint32_t to, bool *whole) {
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
    dsm_status status = dsm_table_find(audit->call, target, audit->stripe, &key, &found);
    if (status == DSM_OK && found.offset && found.header.version >= header.version) continue;
    if (status == DSM_OK)
      status = dsm_transfer(audit->call, audit->stripe, source, target, &key, slot, &header);
    if (status != DSM_OK) {
      *whole = false;
      continue;
    }
    dsm_fetch_add_relaxed_u64(&dsm_space_recovery(audit->call->space)->objects_copied, 1);
    DSM_CRASH_POINT("mend.copied");
    mended = true;
  }
  return mended;
}

static dsm_key key_of(const dsm_audit *audit, const dsm_mend_key *gone) {
  dsm_key key = {gone->bytes, gone->length, gone->kind, gone->region, 0};
  key.hash = dsm_key_hash(audit->call->space, key.bytes, key.length, key.kind, key.region);
  return key;
}

/* Keys that were dropped with their damaged objects, and that no replica has brought back. */
static void mark_lost(dsm_audit *audit, const dsm_mend *mend) {
  static const dsm_value nothing = {.codec = DSM_CODEC_LOST};
  for (uint32_t i = 0; i < mend->key_count; i++) {
    dsm_key key = key_of(audit, &mend->keys[i]);
    dsm_found found;
    if (dsm_table_find(audit->call, audit->route.nodes[0], audit->stripe, &key, &found) != DSM_OK ||
        found.offset)
      continue;
    uint32_t copies =
        key.region < audit->region_count ? audit->region_replicas[key.region] : audit->route.count;
    if (dsm_put_counted(audit->call, &key, &nothing, &audit->route, copies) != DSM_OK) continue;
    dsm_fetch_add_relaxed_u64(&dsm_space_recovery(audit->call->space)->objects_lost, 1);
    DSM_CRASH_POINT("mend.marked");
  }
}

/* Corrects the counters from what the primary holds; more counted than held means lost keys. */
static bool recount_regions(dsm_audit *audit, const dsm_mend *mend) {
  dsm_space *space = audit->call->space;
  uint32_t objects[DSM_REGIONS_MAX] = {0};
  unsigned primary = audit->route.nodes[0];
  dsm_table table;
  bool mended = false;
  uint64_t missing = 0, before = dsm_heal_losses(space, audit->stripe);
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
    bool ok;
    dsm_atomic_u64 *count = dsm_space_region_count(space, region, audit->stripe);
    dsm_locator locator = dsm_space_locator(space, DSM_CONTROL_SEGMENT, count);
    uint64_t counted = dsm_unseal(dsm_load_relaxed_u64(count), locator, &ok);
    if (ok && counted == objects[region]) continue;
    if (ok && counted > objects[region]) missing += counted - objects[region];
    if (!ok && mend->unknown) missing++;
    if (missing) dsm_heal_set_losses(space, audit->stripe, before + missing);
    dsm_store_release_u64(count, dsm_seal(objects[region], locator));
    DSM_CRASH_POINT("mend.recounted");
    mended = true;
  }
  if (missing) dsm_fetch_add_relaxed_u64(&dsm_space_recovery(space)->objects_lost, missing);
  return mended;
}

static void forget_keys(dsm_mend *mend) {
  for (uint32_t i = 0; i < mend->key_count; i++) free(mend->keys[i].bytes);
  free(mend->keys);
}

bool dsm_mend_stripe(dsm_audit *audit, uint32_t unsound) {
  dsm_space *space = audit->call->space;
  dsm_atomic_u32 *pending = &dsm_space_lock(space, audit->stripe)->pending;
  dsm_mend mend = {.audit = audit};
  bool mended = false;
  mend.resumed = dsm_load_relaxed_u32(pending) & DSM_PENDING_MEND;
  dsm_fetch_or_acq_rel_u32(pending, DSM_PENDING_MEND);
  DSM_CRASH_POINT("mend.begun");
  for (uint32_t i = audit->route.count; i-- > 0;)
    /* A sub that a dead mender left may look sound, and lack what it had not yet put back. */
    if (unsound >> i & 1 || mend.resumed) mended |= dsm_mend_sub(&mend, i);
  DSM_CRASH_POINT("mend.subs");
  bool whole = true;
  for (uint32_t from = 0; from < audit->route.count; from++)
    for (uint32_t to = 0; to < audit->route.count; to++)
      if (from != to) mended |= refill(audit, from, to, &whole);
  /* What a replica lacks because it cannot take it is not lost. */
  if (whole) mark_lost(audit, &mend);
  if (whole) mended |= recount_regions(audit, &mend);
  forget_keys(&mend);
  if (mended) {
    dsm_audit_repaired(audit, "mended from what its replicas tell", -1, audit->stripe);
    /* What was put back may have an old version: a move that compares by version begins again. */
    dsm_fetch_add_relaxed_u32(&dsm_space_lock(space, audit->stripe)->repairs, 1);
    dsm_fetch_add_relaxed_u64(&dsm_space_recovery(space)->stripes_mended, 1);
  }
  return mended;
}

bool dsm_mend_leak(dsm_audit *audit, unsigned node, uint64_t page) {
  dsm_log log =
      dsm_log_make(audit->call, dsm_space_intent(audit->call->space, audit->stripe), audit->stripe);
  dsm_slab_retire(&log, node, audit->stripe, page);
  return dsm_log_commit(&log) == DSM_OK &&
         dsm_stripe_settle(audit->call, audit->stripe, node) == DSM_OK;
}
