/* The decision word of a non-blocking two-phase commit: one 64-bit word that anybody may swap once.
 *
 * Layout: transaction number in the upper 62 bits, outcome in the lower two. Opened by whoever
 * starts the transaction, swapped from "none" to "committed" or "aborted" exactly once, and read
 * for ever after. The first swap is the decision, whoever made it and however long it then lives:
 * that is why nobody waits for a dead coordinator.
 *
 * open × decide  never concurrent on one transaction: the word is opened before PREPARE is sent.
 * decide × decide, decide × read  concurrent from any process, lock-free, may be killed anywhere.
 * A word that already serves a later transaction says ABORTED to the earlier one: it is reused only
 * after every participant acknowledged a commit, so whoever still asks did not commit.
 */
#ifndef DSM_PROTO_TWO_PHASE_DECISION_H
#define DSM_PROTO_TWO_PHASE_DECISION_H

#include "../base/atomic.h"
#include "two_phase_commit.h"

#define DSM_DECISION_TRANSACTION_MAX ((UINT64_C(1) << 62) - 1)

static inline void dsm_decision_open(dsm_atomic_u64 *word, uint64_t transaction) {
  dsm_store_release_u64(word, transaction << 2);
}

static inline dsm_two_phase_outcome dsm_decision_read(const dsm_atomic_u64 *word,
                                                      uint64_t transaction) {
  uint64_t held = dsm_load_acquire_u64(word);
  if (held >> 2 != transaction) return DSM_OUTCOME_ABORTED;
  /* Bits that no one writes are damage; refusing to commit on them is the safe reading. */
  return (held & 3) <= DSM_OUTCOME_ABORTED ? (dsm_two_phase_outcome)(held & 3)
                                           : DSM_OUTCOME_ABORTED;
}

/* Returns what the word holds afterwards, which need not be what was wanted. */
static inline dsm_two_phase_outcome dsm_decision_decide(dsm_atomic_u64 *word, uint64_t transaction,
                                                        dsm_two_phase_outcome wanted) {
  uint64_t expected = transaction << 2;
  if (dsm_cas_acq_rel_u64(word, &expected, transaction << 2 | (uint64_t)wanted)) return wanted;
  return dsm_decision_read(word, transaction);
}

#endif
