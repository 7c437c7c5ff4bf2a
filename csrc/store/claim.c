/* Claiming decision records. */
#include "claim.h"

#include "../base/crash.h"
#include "../mem/decision.h"
#include "../mem/lock.h"

#define HOLDS_STEP 256u /* a page of holds */

/* Visits the stripes that the record's dead owner may have armed or taken extents for. */
static dsm_status visit(dsm_call *call, uint32_t record) {
  dsm_decision_shm *decision = dsm_space_decision(call->space, record);
  const dsm_hold_shm *holds = dsm_space_holds(call->space, record);
  uint64_t count, backed;
  uint32_t visited = UINT32_MAX; /* the holds lie stripe by stripe, mostly */
  DSM_TRY(dsm_decision_word(call, &decision->hold_count, &count));
  DSM_TRY(dsm_decision_word(call, &decision->backed, &backed));
  if (count > backed || backed > DSM_HOLDS_MAX)
    return dsm_fail(call, DSM_CORRUPT, "holds of a decision record", -1, -1, count, backed);
  for (uint64_t i = 0; i < count; i++) {
    uint32_t stripe = dsm_hold_stripe(call->space, &holds[i]);
    if (stripe == UINT32_MAX || stripe == visited) continue;
    /* Empty holds too: an armed intent of the stripe may be about to fill one. */
    visited = stripe;
    dsm_route route;
    DSM_TRY(dsm_stripe_take(call, stripe, &route));
    dsm_status status = dsm_holds_release(call, stripe);
    dsm_stripe_drop(call, stripe, &route);
    DSM_TRY(status);
    DSM_CRASH_POINT("claim.visited");
  }
  dsm_decision_word_set(call->space, &decision->hold_count, 0);
  return DSM_OK;
}

/* Takes the record's lock if it is free, and repairs the record if it must be. */
static dsm_status take(dsm_call *call, uint32_t record) {
  dsm_lock_shm *lock = &dsm_space_decision(call->space, record)->lock;
  dsm_call quick = *call;
  bool must_repair;
  quick.wait_ms = 0;
  dsm_status status = dsm_lock_take(&quick, lock, &must_repair);
  if (status == DSM_OK && must_repair) {
    status = visit(&quick, record);
    /* What cannot be visited now, for whatever reason, is left to a later claim: a record whose
     * intents may still be armed must not be used again. */
    if (status == DSM_OK)
      dsm_lock_repaired(lock, DSM_OK);
    else
      dsm_lock_drop(lock);
  }
  if (status != DSM_OK) call->fault = quick.fault;
  return status;
}

static uint64_t rounded_up(uint64_t holds) {
  uint64_t result = HOLDS_STEP;
  while (result < holds) result *= 2;
  return result;
}

/* Memory for the holds and for the log; taken once, then kept. */
static dsm_status back(dsm_call *call, uint32_t record, uint64_t holds) {
  const dsm_space *space = call->space;
  dsm_decision_shm *decision = dsm_space_decision(space, record);
  uint64_t backed, wanted = rounded_up(holds);
  DSM_TRY(dsm_decision_word(call, &decision->backed, &backed));
  if (DSM_LIKELY(holds <= backed)) return DSM_OK;
  uint64_t log_bytes = DSM_HOLD_ENTRIES * sizeof(dsm_intent_entry_shm);
  uint64_t first = (uint64_t)record * DSM_HOLDS_MAX;
  dsm_status status =
      dsm_os_segment_back(&space->control, space->layout.holds + first * sizeof(dsm_hold_shm),
                          wanted * sizeof(dsm_hold_shm));
  if (status == DSM_OK)
    status = dsm_os_segment_back(&space->control, space->layout.decision_logs + first * log_bytes,
                                 wanted * log_bytes);
  if (status != DSM_OK)
    return dsm_fail(call, status, "no room for a transaction's log", -1, -1, wanted * log_bytes, 0);
  DSM_CRASH_POINT("claim.backed");
  dsm_decision_word_set(space, &decision->backed, wanted);
  return DSM_OK;
}

dsm_status dsm_claim_take(dsm_call *call, uint64_t holds, dsm_claim *out) {
  if (holds > DSM_HOLDS_MAX)
    return dsm_fail(call, DSM_TOO_MANY, "copies of objects written in one transaction", -1, -1,
                    DSM_HOLDS_MAX, holds);
  dsm_status status = DSM_LOCK_TIMEOUT;
  for (uint32_t i = 0; i < DSM_DECISIONS_MAX; i++) {
    out->record = (call->space->participant + i) % DSM_DECISIONS_MAX;
    status = take(call, out->record);
    if (status == DSM_OK) break;
  }
  DSM_TRY(status);
  DSM_CRASH_POINT("claim.taken");
  status = back(call, out->record, holds);
  if (status != DSM_OK) dsm_lock_drop(&dsm_space_decision(call->space, out->record)->lock);
  return status;
}

dsm_status dsm_claim_begin(dsm_call *call, dsm_claim *claim, uint64_t holds) {
  dsm_decision_shm *decision = dsm_space_decision(call->space, claim->record);
  uint64_t begun, decided;
  DSM_TRY(dsm_decision_word(call, &decision->number, &begun));
  DSM_TRY(dsm_decision_word(call, &decision->decision, &decided));
  claim->number = (begun > decided ? begun : decided) + 1;
  dsm_decision_word_set(call->space, &decision->number, claim->number);
  DSM_CRASH_POINT("claim.numbered");
  dsm_decision_word_set(call->space, &decision->hold_count, holds);
  DSM_CRASH_POINT("claim.opened");
  return DSM_OK;
}

void dsm_claim_end(dsm_call *call, const dsm_claim *claim, bool clean) {
  dsm_decision_shm *decision = dsm_space_decision(call->space, claim->record);
  if (clean)
    dsm_decision_word_set(call->space, &decision->hold_count, 0);
  else
    dsm_fetch_or_acq_rel_u32(&decision->lock.pending, DSM_PENDING_REPAIR);
  DSM_CRASH_POINT("claim.ended");
  dsm_lock_drop(&decision->lock);
}

dsm_status dsm_claims_repair(dsm_call *call, uint32_t participant) {
  dsm_status first = DSM_OK;
  for (uint32_t i = 0; i < DSM_DECISIONS_MAX; i++) {
    dsm_lock_shm *lock = &dsm_space_decision(call->space, i)->lock;
    if (dsm_load_relaxed_u32(&lock->owner) != participant + 1) continue;
    dsm_status status = take(call, i);
    if (status == DSM_OK) dsm_lock_drop(lock);
    if (status != DSM_OK && first == DSM_OK) first = status;
  }
  return first;
}
