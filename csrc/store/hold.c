/* Taking extents into holds and giving them back. */
#include "hold.h"

#include "../base/crash.h"
#include "../mem/decision.h"
#include "table.h"

#define RUN_BIT (1ull << 42)
#define GRAIN_BITS 36
#define GRAIN_MASK ((1ull << GRAIN_BITS) - 1)
#define USED_LIVE_BITS 22

static dsm_locator locator_of(const dsm_space *space, const dsm_atomic_u64 *word) {
  return dsm_space_locator(space, DSM_CONTROL_SEGMENT, word);
}

void dsm_hold_place(const dsm_space *space, dsm_hold_shm *hold, unsigned node, uint32_t stripe) {
  dsm_store_release_u64(&hold->place,
                        dsm_seal((uint64_t)stripe << 8 | node, locator_of(space, &hold->place)));
}

/* The place of a hold: false if it was never used or is damaged. */
static bool place_read(const dsm_space *space, const dsm_hold_shm *hold, unsigned *node,
                       uint32_t *stripe) {
  bool ok;
  uint64_t place =
      dsm_unseal(dsm_load_acquire_u64(&hold->place), locator_of(space, &hold->place), &ok);
  *node = (unsigned)(place & 255);
  *stripe = (uint32_t)(place >> 8);
  return ok && *node < DSM_NODES_MAX && dsm_space_present(space, *node) &&
         place >> 8 < space->stripe_count;
}

uint32_t dsm_hold_stripe(const dsm_space *space, const dsm_hold_shm *hold) {
  unsigned node;
  uint32_t stripe;
  return place_read(space, hold, &node, &stripe) ? stripe : UINT32_MAX;
}

uint64_t dsm_hold_word(const dsm_space *space, const dsm_hold_shm *hold, uint64_t offset,
                       const dsm_extent *extent) {
  uint64_t grains = (extent->bytes + DSM_GRAIN_BYTES - 1) / DSM_GRAIN_BYTES;
  uint64_t value = extent->aligned ? RUN_BIT | offset / DSM_ARENA_PAGE_BYTES
                                   : grains << GRAIN_BITS | offset / DSM_GRAIN_BYTES;
  return dsm_seal(value, locator_of(space, &hold->extent));
}

/* The run that the sub has reserved, for an object that is not live yet. */
static uint64_t take_run(dsm_log *log, unsigned node, uint32_t stripe) {
  const dsm_space *space = log->call->space;
  dsm_sub_shm *sub = dsm_space_sub(space, node, stripe);
  uint64_t page = dsm_log_read_sealed(log, node + 1, &sub->reserved);
  if (log->status == DSM_OK && (page < space->layout.data_page || page >= space->layout.page_count))
    dsm_log_corrupt(log, "reserved run outside the segment", node + 1, page, 0);
  if (log->status != DSM_OK) return 0;
  dsm_log_once_sealed(log, node + 1, &sub->reserved, 0);
  uint64_t offset = page * DSM_ARENA_PAGE_BYTES;
  dsm_store_release_u64(&dsm_object_at(space, node, offset)->version, 0);
  return offset;
}

dsm_status dsm_holds_take(dsm_call *call, dsm_hold_shm *holds, const uint8_t *nodes, uint32_t count,
                          uint32_t stripe, const dsm_extent *wanted, uint64_t *offsets) {
  uint64_t slabs[DSM_REPLICAS_MAX];
  uint64_t pages = (wanted->bytes + DSM_ARENA_PAGE_BYTES - 1) / DSM_ARENA_PAGE_BYTES;
  for (uint32_t i = 0; i < count; i++)
    DSM_TRY(wanted->aligned
                ? dsm_stripe_reserve_run(call, nodes[i], stripe, DSM_RUN_VALUE, pages)
                : dsm_stripe_reserve_extent(call, nodes[i], stripe, wanted->bytes, &slabs[i]));
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  for (uint32_t i = 0; i < count && log.status == DSM_OK; i++) {
    log.first = log.count;
    offsets[i] = wanted->aligned ? take_run(&log, nodes[i], stripe)
                                 : dsm_slab_take(&log, nodes[i], stripe, wanted->bytes, slabs[i]);
    dsm_log_once(&log, DSM_CONTROL_SEGMENT, &holds[i].extent,
                 dsm_hold_word(call->space, &holds[i], offsets[i], wanted));
    dsm_slab_finish(&log, nodes[i], stripe);
  }
  return dsm_log_commit(&log);
}

static void give_run(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page) {
  dsm_run run;
  log->status = dsm_run_read(log->call, node, page, &run);
  if (log->status == DSM_OK && (run.kind != DSM_RUN_VALUE || run.stripe != stripe))
    dsm_log_corrupt(log, "held run is not the stripe's", node + 1, run.kind, run.stripe);
  if (log->status == DSM_OK) dsm_slab_retire(log, node, stripe, page);
}

static void list_give(dsm_log *log, dsm_hold_shm *hold, unsigned node, uint32_t stripe) {
  uint64_t raw = dsm_load_acquire_u64(&hold->extent);
  if (raw == 0 || log->status != DSM_OK) return;
  bool ok;
  uint64_t value = dsm_unseal(raw, locator_of(log->call->space, &hold->extent), &ok);
  if (!ok) {
    dsm_log_corrupt(log, "hold does not verify", node + 1, raw, 0);
    return;
  }
  log->first = log->count;
  if (value & RUN_BIT)
    give_run(log, node, stripe, value & ~RUN_BIT);
  else
    dsm_slab_give(log, node, stripe, (value & GRAIN_MASK) * DSM_GRAIN_BYTES,
                  (value >> GRAIN_BITS) * DSM_GRAIN_BYTES);
  dsm_log_once(log, DSM_CONTROL_SEGMENT, &hold->extent, 0);
  dsm_slab_finish(log, node, stripe);
}

dsm_status dsm_holds_give(dsm_call *call, dsm_hold_shm *holds, const uint8_t *nodes, uint32_t count,
                          uint32_t stripe) {
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  for (uint32_t i = 0; i < count; i++) list_give(&log, &holds[i], nodes[i], stripe);
  if (log.count == 0) return log.status;
  DSM_TRY(dsm_log_commit(&log));
  DSM_CRASH_POINT("hold.given");
  /* Each gives back one run at most, and a sub has room for a few: so settle at once. */
  bool owed =
      dsm_load_relaxed_u32(&dsm_space_lock(call->space, stripe)->pending) & DSM_PENDING_SETTLE;
  for (uint32_t i = 0; i < count && owed; i++) DSM_TRY(dsm_stripe_settle(call, stripe, nodes[i]));
  return DSM_OK;
}

/* Holds of a record that may be in use; 0 if its words do not verify: then some are lost, and what
 * they hold is found by a check. */
static uint64_t holds_of(dsm_call *call, uint32_t record) {
  const dsm_decision_shm *decision = dsm_space_decision(call->space, record);
  dsm_call quiet = *call;
  uint64_t count, backed;
  if (dsm_decision_word(&quiet, &decision->hold_count, &count) != DSM_OK ||
      dsm_decision_word(&quiet, &decision->backed, &backed) != DSM_OK || backed > DSM_HOLDS_MAX)
    return 0;
  return count < backed ? count : backed;
}

dsm_status dsm_holds_release(dsm_call *call, uint32_t stripe) {
  for (uint32_t record = 0; record < DSM_DECISIONS_MAX; record++) {
    dsm_hold_shm *holds = dsm_space_holds(call->space, record);
    uint64_t count = holds_of(call, record);
    for (uint64_t i = 0; i < count; i++) {
      unsigned node;
      uint32_t held;
      /* The word first: a hold names the stripe from before it is filled until it is empty, and
       * nobody else fills or empties one that names a stripe whose lock we have. */
      if (dsm_load_acquire_u64(&holds[i].extent) == 0) continue;
      if (!place_read(call->space, &holds[i], &node, &held) || held != stripe) continue;
      uint8_t nodes[] = {(uint8_t)node};
      DSM_TRY(dsm_holds_give(call, &holds[i], nodes, 1, stripe));
    }
  }
  return DSM_OK;
}

dsm_status dsm_hold_tidy(dsm_call *call, uint32_t stripe, unsigned node) {
  dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  uint64_t used = dsm_log_read_sealed(&log, node + 1, &sub->used);
  uint64_t table = dsm_log_read_sealed(&log, node + 1, &sub->table);
  if (log.status != DSM_OK || used >> USED_LIVE_BITS || table == 0) return log.status;
  dsm_log_set_sealed(&log, node + 1, &sub->table, 0);
  dsm_log_set_sealed(&log, node + 1, &sub->used, 0);
  dsm_log_set_sealed(&log, node + 1, &sub->gen, dsm_log_get_sealed(&log, node + 1, &sub->gen) + 1);
  dsm_table_drop(&log, node, stripe);
  dsm_slab_finish(&log, node, stripe);
  dsm_slab_give_spare(&log, node, stripe);
  DSM_TRY(dsm_log_commit(&log));
  return dsm_stripe_settle(call, stripe, node);
}

void dsm_holds_forget(dsm_call *call, uint32_t stripe, unsigned node) {
  for (uint32_t record = 0; record < DSM_DECISIONS_MAX; record++) {
    dsm_hold_shm *holds = dsm_space_holds(call->space, record);
    uint64_t count = holds_of(call, record);
    for (uint64_t i = 0; i < count; i++) {
      unsigned held_node;
      uint32_t held;
      if (dsm_load_acquire_u64(&holds[i].extent) == 0 ||
          !place_read(call->space, &holds[i], &held_node, &held) || held != stripe ||
          held_node != node)
        continue;
      dsm_store_release_u64(&holds[i].extent, 0);
    }
  }
}
