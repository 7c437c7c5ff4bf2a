/* Beginning, opening and ending a checkpoint's cut; what it knows of a stripe. */
#include "cut.h"

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "array_directory.h"
#include "stripe.h"

static dsm_locator salt(const dsm_space *space, const dsm_atomic_u64 *word) {
  return dsm_space_locator(space, DSM_CONTROL_SEGMENT, word);
}

static uint64_t sealed_read(const dsm_space *space, const dsm_atomic_u64 *word, bool *ok) {
  uint64_t raw = dsm_load_acquire_u64(word);
  *ok = raw == 0;
  return raw == 0 ? 0 : dsm_unseal(raw, salt(space, word), ok);
}

static void sealed_write(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value) {
  dsm_store_release_u64(word, dsm_seal(value, salt(space, word)));
}

static dsm_atomic_u64 *cut_word(const dsm_space *space) {
  return &dsm_space_control(space)->cut;
}

/* Takes every stripe once: whoever still stored for an earlier number is done then. */
static dsm_status sweep(dsm_call *call) {
  for (uint32_t stripe = 0; stripe < call->space->stripe_count; stripe++) {
    dsm_route route;
    DSM_TRY(dsm_stripe_take(call, stripe, &route));
    dsm_stripe_drop(call, stripe, &route);
  }
  return DSM_OK;
}

static void limbo_hints(const dsm_space *space) {
  dsm_fence_seq_cst();
  for (uint32_t node = 0; node < space->node_count; node++)
    if (dsm_space_present(space, node))
      dsm_store_release_u32(&dsm_space_node(space, node)->arena.limbo_hint, 1);
}

/* All that was saved goes; only when nobody can be storing there. */
static void discard(const dsm_space *space) {
  dsm_cut_shm *cut = dsm_space_cut(space);
  uint64_t backed = dsm_load_acquire_u64(&cut->backed_bytes);
  if (backed > space->layout.saved_bytes) backed = space->layout.saved_bytes;
  if (backed) dsm_os_segment_discard(&space->control, space->layout.saved, backed);
  DSM_CRASH_POINT("cut.discarded");
  dsm_store_release_u64(&cut->backed_bytes, 0);
  dsm_store_release_u64(&cut->pin_count, 0);
  dsm_store_release_u64(&cut->saved_bytes, 0);
}

/* The place of whom that died, or a free one. */
static dsm_status claim(dsm_call *call) {
  dsm_cut_shm *cut = dsm_space_cut(call->space);
  for (;;) {
    uint64_t owner = dsm_load_acquire_u64(&cut->owner);
    dsm_os_process process;
    if (owner != 0 && dsm_array_alive(call->space, owner, &process)) {
      dsm_fail(call, DSM_LOCK_TIMEOUT, "another checkpoint is being taken", -1, -1, owner, 0);
      call->fault.process = process;
      return DSM_LOCK_TIMEOUT;
    }
    if (dsm_cas_acq_rel_u64(&cut->owner, &owner, dsm_array_self(call->space))) return DSM_OK;
  }
}

static dsm_status prepare(dsm_call *call, uint64_t *number) {
  const dsm_space *space = call->space;
  dsm_cut_shm *cut = dsm_space_cut(space);
  const dsm_layout *layout = &space->layout;
  if (dsm_load_acquire_u64(cut_word(space)) != 0) {
    dsm_store_seq_cst_u64(cut_word(space), 0);
    limbo_hints(space);
  }
  DSM_CRASH_POINT("cut.claimed");
  if (dsm_load_acquire_u64(&cut->saved_bytes) || dsm_load_acquire_u64(&cut->pin_count)) {
    DSM_TRY(sweep(call));
    discard(space);
  }
  bool ok;
  *number = sealed_read(space, &cut->number, &ok) + 1;
  if (!ok) return dsm_fail(call, DSM_CORRUPT, "number of the checkpoint", -1, -1, 0, 0);
  sealed_write(space, &cut->number, *number);
  DSM_CRASH_POINT("cut.numbered");
  uint64_t stripes = (uint64_t)space->stripe_count * sizeof(dsm_cut_stripe_shm);
  dsm_status status = dsm_os_segment_back(&space->control, layout->cut_stripes, stripes);
  if (status == DSM_OK)
    status = dsm_os_segment_back(&space->control, layout->cut_pins, (uint64_t)DSM_CUT_PINS_MAX * 8);
  if (status != DSM_OK)
    return dsm_fail(call, status, "no room for a checkpoint's tables", -1, -1, stripes, 0);
  dsm_cut_back(call);
  return DSM_OK;
}

dsm_status dsm_cut_begin(dsm_call *call, uint64_t *number) {
  DSM_TRY(claim(call));
  dsm_status status = prepare(call, number);
  if (status != DSM_OK) dsm_store_release_u64(&dsm_space_cut(call->space)->owner, 0);
  return status;
}

dsm_status dsm_cut_open(dsm_call *call, uint64_t number, uint64_t arrays_sum) {
  const dsm_space *space = call->space;
  DSM_TRY(dsm_registry_take(call));
  bool same = dsm_array_directory_sum(space) == arrays_sum;
  DSM_CRASH_POINT("cut.opening");
  if (same) dsm_store_seq_cst_u64(cut_word(space), dsm_seal(number, salt(space, cut_word(space))));
  DSM_CRASH_POINT("cut.open");
  dsm_registry_drop(call);
  return same ? DSM_OK : DSM_RETRY;
}

void dsm_cut_back(dsm_call *call) {
  const dsm_space *space = call->space;
  dsm_cut_shm *cut = dsm_space_cut(space);
  uint64_t used = dsm_load_relaxed_u64(&cut->saved_bytes);
  uint64_t backed = dsm_load_acquire_u64(&cut->backed_bytes);
  uint64_t wanted = (used / DSM_CUT_AHEAD_BYTES + 2) * DSM_CUT_AHEAD_BYTES;
  if (wanted > space->layout.saved_bytes) wanted = space->layout.saved_bytes;
  if (backed >= wanted || used + DSM_CUT_AHEAD_BYTES / 2 <= backed) return;
  if (dsm_os_segment_back(&space->control, space->layout.saved + backed, wanted - backed) != DSM_OK)
    return;
  while (backed < wanted && !dsm_cas_acq_rel_u64(&cut->backed_bytes, &backed, wanted)) continue;
}

void dsm_cut_end(dsm_call *call, uint64_t number, bool clean) {
  const dsm_space *space = call->space;
  (void)number;
  dsm_store_seq_cst_u64(cut_word(space), 0);
  DSM_CRASH_POINT("cut.closed");
  dsm_nodes_catch_up(call);
  limbo_hints(space);
  /* Else a writer may still store for it. If a stripe is held for too long, the next one discards.
   */
  dsm_call quiet = *call;
  if (clean || sweep(&quiet) == DSM_OK) discard(space);
  DSM_CRASH_POINT("cut.ended");
  dsm_store_release_u64(&dsm_space_cut(space)->owner, 0);
}

void dsm_cut_bury(dsm_call *call) {
  const dsm_space *space = call->space;
  dsm_cut_shm *cut = dsm_space_cut(space);
  dsm_os_process process;
  uint64_t owner = dsm_load_acquire_u64(&cut->owner);
  if (owner == 0 || dsm_array_alive(space, owner, &process) ||
      !dsm_cas_acq_rel_u64(&cut->owner, &owner, dsm_array_self(space)))
    return;
  DSM_CRASH_POINT("cut.buried");
  dsm_cut_end(call, 0, false);
}

dsm_status dsm_cut_look_at(dsm_call *call, uint64_t number, uint32_t stripe, dsm_cut_look *out) {
  const dsm_space *space = call->space;
  const dsm_cut_stripe_shm *record = dsm_space_cut_stripe(space, stripe);
  bool ok_state, ok_gen, ok_saved;
  uint64_t state = sealed_read(space, &record->state, &ok_state);
  *out = (dsm_cut_look){.noted = state >> 1 == number};
  if (!ok_state)
    return dsm_fail(call, DSM_CORRUPT, "stripe's record of the checkpoint", -1, stripe, state, 0);
  if (!out->noted) return DSM_OK;
  out->gen = sealed_read(space, &record->gen, &ok_gen);
  out->saved = sealed_read(space, &record->saved, &ok_saved);
  if (ok_gen && ok_saved) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "stripe's record of the checkpoint", -1, stripe, out->gen,
                  out->saved);
}

void dsm_cut_walked(dsm_call *call, uint64_t number, uint32_t stripe) {
  sealed_write(call->space, &dsm_space_cut_stripe(call->space, stripe)->state, number << 1 | 1);
  DSM_CRASH_POINT("cut.walked");
}

bool dsm_cut_spoiled(const dsm_space *space, uint64_t number) {
  const dsm_cut_shm *cut = dsm_space_cut(space);
  bool ok_spoiled, ok_word;
  uint64_t spoiled = sealed_read(space, &cut->spoiled, &ok_spoiled);
  uint64_t running = sealed_read(space, cut_word(space), &ok_word);
  return !ok_spoiled || !ok_word || spoiled == number || running != number ||
         dsm_load_acquire_u64(&cut->owner) != dsm_array_self(space);
}
