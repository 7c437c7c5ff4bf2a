/* Claims: having a decision record for the time of one commit.
 *
 * Any free record will do. Its lock is robust, so the next to claim it learns of the death of who
 * had it, and first visits every stripe that the dead transaction may have armed or taken extents
 * for: taking a stripe's lock repairs it. A stripe that cannot be visited now leaves the record
 * unclaimed, and another one is tried.
 *
 *   I  a record is claimed before the first stripe's lock and dropped after the last
 *   I  a record that is dropped has no armed intent and no filled hold, or is marked for a repair
 *
 * operation           blocks                              may be killed
 * dsm_claim           stripes of a dead one, ≤ wait_ms    anywhere; the next one repairs
 * dsm_claim_end       no                                  anywhere
 */
#ifndef DSM_STORE_CLAIM_H
#define DSM_STORE_CLAIM_H

#include "hold.h"

typedef struct dsm_claim {
  uint32_t record;
  uint64_t number; /* of this transaction */
} dsm_claim;

/* Claims a record with memory for so many holds. DSM_TOO_MANY beyond DSM_HOLDS_MAX, DSM_STORE_FULL,
 * DSM_LOCK_TIMEOUT if all records are in use or cannot be repaired. */
dsm_status dsm_claim_take(dsm_call *call, uint64_t holds, dsm_claim *out);
/* Gives the transaction its number and opens the holds; their places are written before. */
dsm_status dsm_claim_begin(dsm_call *call, dsm_claim *claim, uint64_t holds);
/* Drops the record. clean: all its holds are empty; else they go back with their stripes. */
void dsm_claim_end(dsm_call *call, const dsm_claim *claim, bool clean);

/* Repairs the records that a dead participant had. */
dsm_status dsm_claims_repair(dsm_call *call, uint32_t participant);

#endif
