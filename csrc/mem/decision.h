/* Decisions: the changes of several stripes, carried out all or not at all.
 *
 * A transaction lists the words that it will store in the log of a decision record, stripe by
 * stripe, and arms the intent of each stripe with the place of its part of the log, the locator of
 * the record's decision word and the number of the transaction. Storing that number in the decision
 * word is the moment of decision: before it a kill leaves nothing changed, after it whoever repairs
 * a stripe carries out that stripe's part, each by itself, in any order.
 *
 *   I  who commits holds the record's lock until every intent that names the record is cleared, so
 *      log and decision are not reused before; after a death, stripes are visited (store/claim.c)
 *   I  numbers grow and are never used twice for a record
 *   I  log entries carry a checksum in the intent, and the intent one of its own (I-10)
 *
 * operation              needs                       may be killed
 * dsm_decision_arm       record and stripe's lock    anywhere: undecided, nothing happens
 * dsm_decision_make      record, all stripes' locks  before: nothing; after: everything happens
 * dsm_decision_carry     stripe's lock               anywhere; the next taker stores all again
 * dsm_decision_recover   stripe's lock               anywhere, as above
 */
#ifndef DSM_MEM_DECISION_H
#define DSM_MEM_DECISION_H

#include "intent.h"

/* The part of a record's log that belongs to one stripe. */
typedef struct dsm_decision_part {
  uint32_t record, stripe;
  uint64_t first, count; /* entries of the record's log */
} dsm_decision_part;

#define DSM_DECISION_ENTRIES_MAX ((uint64_t)DSM_HOLDS_MAX * DSM_HOLD_ENTRIES)

static inline bool dsm_decision_refers(const dsm_intent_shm *intent) {
  return dsm_load_relaxed_u64(&intent->count) >> 32 == 1;
}

/* Writes the empty records of a new cluster. */
dsm_status dsm_decision_init(const dsm_space *space);
/* A sealed word of a record; DSM_CORRUPT if it does not verify. */
dsm_status dsm_decision_word(dsm_call *call, const dsm_atomic_u64 *word, uint64_t *value);
void dsm_decision_word_set(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value);

void dsm_decision_arm(dsm_call *call, const dsm_decision_part *part, uint64_t number);
void dsm_decision_make(dsm_call *call, uint32_t record, uint64_t number);
/* Stores the words of one stripe and clears its intent. */
void dsm_decision_carry(dsm_call *call, const dsm_decision_part *part);

/* What dsm_intent_recover does for an intent that refers to a decision. */
dsm_status dsm_decision_recover(dsm_call *call, dsm_intent_shm *intent, uint64_t salt);

/* True while a transaction has armed the stripe: a reader that must not mix the state before it
 * with the one after waits. Stale answers are settled by the versions that are compared next. */
static inline bool dsm_decision_passing(const dsm_space *space, uint32_t stripe) {
  const dsm_intent_shm *intent = dsm_space_intent(space, stripe);
  return dsm_load_acquire_u64(&intent->armed) != 0 && dsm_decision_refers(intent);
}

#endif
