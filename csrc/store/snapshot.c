/* Reading for transactions. */
#include "snapshot.h"

#include "../mem/decision.h"
#include "stripe.h"

#define LOOKS 64u /* at a passing commit, before its lock is waited for */

static bool passing(const dsm_space *space, uint32_t stripe) {
  for (unsigned look = 0; look < LOOKS; look++) {
    if (DSM_LIKELY(!dsm_decision_passing(space, stripe))) return false;
    dsm_cpu_relax();
  }
  return true;
}

dsm_status dsm_snapshot_look(dsm_call *call, const dsm_key *key, dsm_sight *out) {
  uint32_t stripe = dsm_key_stripe(call->space, key->hash);
  if (DSM_UNLIKELY(passing(call->space, stripe)))
    return dsm_fail(call, DSM_LOCK_TIMEOUT, "a commit is passing", -1, stripe, 0, 0);
  dsm_status status = dsm_read_begin(call, key, &out->read);
  out->version = status == DSM_OK ? out->read.header.version : 0;
  return status;
}

dsm_status dsm_snapshot_again(dsm_call *call, const dsm_key *key, dsm_sight *sight,
                              uint64_t *present) {
  if (DSM_UNLIKELY(passing(call->space, sight->read.stripe)))
    return dsm_fail(call, DSM_LOCK_TIMEOUT, "a commit is passing", -1, sight->read.stripe, 0, 0);
  if (DSM_LIKELY(dsm_read_valid(call->space, &sight->read))) return DSM_OK;
  dsm_read now;
  dsm_status status = dsm_read_begin(call, key, &now);
  if (status != DSM_OK && status != DSM_NOT_FOUND) return status;
  *present = status == DSM_OK ? now.header.version : 0;
  if (*present != sight->version)
    return dsm_fail(call, DSM_ABORTED, "version", -1, sight->read.stripe, sight->version, *present);
  sight->read = now;
  return DSM_OK;
}

dsm_status dsm_snapshot_wait(dsm_call *call, uint32_t stripe) {
  dsm_route route;
  DSM_TRY(dsm_stripe_take(call, stripe, &route));
  dsm_stripe_drop(call, stripe, &route);
  return DSM_OK;
}
