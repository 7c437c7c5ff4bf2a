/* Examining and mending one stripe, by whoever holds its lock. */
#include "heal.h"

#include <stdlib.h>
#include <string.h>

#include "../base/crash.h"
#include "audit.h"
#include "region_record.h"
#include "stripe.h"

static void read_regions(dsm_audit *audit) {
  const dsm_space *space = audit->call->space;
  uint64_t count;
  audit->region_count = dsm_region_count(audit->call, &count) == DSM_OK ? (uint32_t)count : 0;
  for (uint32_t i = 0; i < audit->region_count; i++) {
    const dsm_region_shm *record = dsm_region_record(space, i);
    audit->region_replicas[i] = record ? record->replicas : DSM_REPLICAS_MAX;
  }
}

bool dsm_audit_stripe(dsm_audit *audit, uint32_t *unsound) {
  *unsound = 0;
  read_regions(audit);
  memset(audit->region_objects, 0, sizeof audit->region_objects);
  for (uint32_t replica = 0; replica < audit->route.count; replica++) {
    if (!dsm_audit_sub(audit, audit->route.nodes[replica])) *unsound |= 1u << replica;
  }
  bool strays = dsm_audit_strays(audit);
  return dsm_audit_replicas(audit) && strays && *unsound == 0;
}

bool dsm_audit_mended(dsm_audit *audit, uint32_t unsound) {
  dsm_check_tell *tell = audit->tell;
  dsm_mend_stripe(audit, unsound);
  uint64_t problems = audit->report->problems;
  audit->tell = NULL;
  bool sound = dsm_audit_stripe(audit, &unsound);
  audit->tell = tell;
  audit->report->problems = problems;
  if (sound)
    dsm_fetch_and_acq_rel_u32(&dsm_space_lock(audit->call->space, audit->stripe)->pending,
                              ~DSM_PENDING_MEND);
  return sound;
}

dsm_status dsm_heal_locked(dsm_call *call, uint32_t stripe, dsm_route *route) {
  dsm_check_report report = {0};
  dsm_call own = *call;
  dsm_audit audit = {
      .call = &own, .report = &report, .repair = true, .stripe = stripe, .route = *route};
  uint32_t unsound;
  bool sound = dsm_audit_stripe(&audit, &unsound);
  if (sound)
    dsm_fetch_and_acq_rel_u32(&dsm_space_lock(call->space, stripe)->pending, ~DSM_PENDING_MEND);
  else
    sound = dsm_audit_mended(&audit, unsound);
  free(audit.extents);
  if (sound) return DSM_OK;
  call->fault = own.fault;
  call->fault.stripe = stripe;
  return DSM_CORRUPT;
}

dsm_status dsm_heal(dsm_call *call, uint32_t stripe) {
  dsm_route route;
  /* Whoever takes a stripe that is marked so mends it; so the mark alone would do, but for what the
   * taker has to say of it. */
  DSM_TRY(dsm_stripe_take(call, stripe, &route));
  dsm_status status = dsm_heal_locked(call, stripe, &route);
  dsm_stripe_drop(call, stripe, &route);
  return status;
}

void dsm_heal_ask(const dsm_space *space, uint32_t stripe) {
  dsm_fetch_or_acq_rel_u32(&dsm_space_lock(space, stripe)->pending, DSM_PENDING_MEND);
  dsm_heal_ask_arenas(space);
}

void dsm_heal_ask_arenas(const dsm_space *space) {
  dsm_fetch_add_relaxed_u32(&dsm_space_recovery(space)->asked, 1);
}

uint64_t dsm_heal_losses(const dsm_space *space, uint32_t stripe) {
  const dsm_lock_shm *lock = dsm_space_lock(space, stripe);
  const dsm_atomic_u64 *word = dsm_space_losses(space, stripe);
  bool ok;
  if (DSM_LIKELY(!(dsm_load_acquire_u32(&lock->pending) & DSM_PENDING_LOST))) return 0;
  return dsm_unseal(dsm_load_acquire_u64(word), dsm_space_locator(space, DSM_CONTROL_SEGMENT, word),
                    &ok);
}

void dsm_heal_set_losses(const dsm_space *space, uint32_t stripe, uint64_t count) {
  dsm_lock_shm *lock = dsm_space_lock(space, stripe);
  dsm_atomic_u64 *word = dsm_space_losses(space, stripe);
  dsm_store_release_u64(
      word, count ? dsm_seal(count, dsm_space_locator(space, DSM_CONTROL_SEGMENT, word)) : 0);
  DSM_CRASH_POINT("heal.losses");
  if (count)
    dsm_fetch_or_acq_rel_u32(&lock->pending, DSM_PENDING_LOST);
  else
    dsm_fetch_and_acq_rel_u32(&lock->pending, ~DSM_PENDING_LOST);
}

dsm_status dsm_heal_named(dsm_call *call, uint32_t stripe, uint64_t *named) {
  dsm_route route;
  dsm_table table;
  *named = 0;
  DSM_TRY(dsm_stripe_take(call, stripe, &route));
  dsm_status status = dsm_table_read(call, route.nodes[0], stripe, &table);
  for (uint32_t i = 0; status == DSM_OK && table.slots && i < table.capacity; i++) {
    dsm_header header;
    uint64_t hash, slot = dsm_load_relaxed_u64(&table.slots[i]);
    if (slot > DSM_SLOT_TOMBSTONE &&
        dsm_slot_object(call, route.nodes[0], stripe, slot, &header, &hash) == DSM_OK)
      *named += header.codec == DSM_CODEC_LOST;
  }
  if (dsm_heal_losses(call->space, stripe) == 0) dsm_heal_set_losses(call->space, stripe, 0);
  dsm_stripe_drop(call, stripe, &route);
  return status;
}

dsm_status dsm_heal_accept(dsm_call *call, uint32_t stripe) {
  dsm_route route;
  DSM_TRY(dsm_stripe_take(call, stripe, &route));
  dsm_heal_set_losses(call->space, stripe, 0);
  dsm_stripe_drop(call, stripe, &route);
  return DSM_OK;
}
