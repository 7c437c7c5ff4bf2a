/* Intent records: a multi-step change as a list of absolute words, carried out all or not at all.
 *
 * An operation first fills memory that nothing refers to, then lists in its intent every word that
 * it will store, in the order of the stores (backups first, primary last; a published word before
 * the generation, the generation before what makes old memory reusable). Arming the intent is the
 * moment of decision: before it a kill leaves nothing changed, after it whoever repairs stores the
 * rest. Storing twice is harmless, since the values are absolute (I-2).
 *
 *   I  armed is 0 or a checksum of the record, so damage is told from a true intent (I-10).
 *   I  the words listed are protected by the lock whose intent this is (or by a lock nested in it).
 *   I  an intent with a decision locator is carried out only if that word holds `decided`: several
 *      stripes then change by one store elsewhere. The single-key operations leave it 0.
 *
 * A dsm_log is the intent under construction. Reads through it see its own pending stores. The
 * first damaged word it meets makes it fail: later reads give 0 and dsm_log_commit refuses with
 * DSM_CORRUPT.
 */
#ifndef DSM_MEM_INTENT_H
#define DSM_MEM_INTENT_H

#include "space.h"

typedef struct dsm_log {
  dsm_call *call;
  dsm_intent_shm *intent;
  uint64_t salt;
  unsigned count; /* entries listed */
  unsigned first; /* entries before this one cannot be of interest to reads (another node's) */
  dsm_status status;
  struct {
    uint64_t page, bits;
    unsigned fit;
  } touched[4]; /* slabs taken from or given to, not yet listed (store/slab.h) */
  unsigned touched_count;
} dsm_log;

/* The salt is the number of the record, so that an intent copied elsewhere does not verify. */
static inline dsm_log dsm_log_make(dsm_call *call, dsm_intent_shm *intent, uint64_t salt) {
  return (dsm_log){.call = call, .intent = intent, .salt = salt};
}

static inline void dsm_log_corrupt(dsm_log *log, const char *what, unsigned segment, uint64_t left,
                                   uint64_t right) {
  if (log->status == DSM_OK)
    log->status = dsm_fail(log->call, DSM_CORRUPT, what, (int)segment - 1, -1, left, right);
}

/* Pending value of the word if this log stores to it, its present value otherwise. */
static inline uint64_t dsm_log_get(const dsm_log *log, unsigned segment,
                                   const dsm_atomic_u64 *word) {
  dsm_locator locator = dsm_space_locator(log->call->space, segment, word);
  for (unsigned i = log->count; i > log->first; i--)
    if (dsm_load_relaxed_u64(&log->intent->entries[i - 1].locator) == locator)
      return dsm_load_relaxed_u64(&log->intent->entries[i - 1].value);
  return dsm_load_relaxed_u64(word);
}

static inline void dsm_log_append(dsm_log *log, dsm_locator locator, uint64_t value) {
  DSM_ASSERT(log->count < DSM_INTENT_ENTRIES_MAX);
  dsm_intent_entry_shm *entry = &log->intent->entries[log->count++];
  dsm_store_relaxed_u64(&entry->locator, locator);
  dsm_store_relaxed_u64(&entry->value, value);
}

/* Lists the store; a second store to the same word replaces the value but keeps the first place. */
static inline void dsm_log_set(dsm_log *log, unsigned segment, const dsm_atomic_u64 *word,
                               uint64_t value) {
  dsm_locator locator = dsm_space_locator(log->call->space, segment, word);
  for (unsigned i = log->count; i > log->first; i--)
    if (dsm_load_relaxed_u64(&log->intent->entries[i - 1].locator) == locator) {
      dsm_store_relaxed_u64(&log->intent->entries[i - 1].value, value);
      return;
    }
  dsm_log_append(log, locator, value);
}

/* Lists a store to a word that is listed once only: no look for an earlier entry. */
static inline void dsm_log_once(dsm_log *log, unsigned segment, const dsm_atomic_u64 *word,
                                uint64_t value) {
  dsm_log_append(log, dsm_space_locator(log->call->space, segment, word), value);
}

/* Value of a sealed word that this log has not stored to. */
static inline uint64_t dsm_log_read_sealed(dsm_log *log, unsigned segment,
                                           const dsm_atomic_u64 *word) {
  bool ok;
  uint64_t raw = dsm_load_relaxed_u64(word);
  uint64_t value = dsm_unseal(raw, dsm_space_locator(log->call->space, segment, word), &ok);
  if (DSM_UNLIKELY(!ok)) dsm_log_corrupt(log, "sealed word does not verify", segment, raw, 0);
  return value;
}

static inline void dsm_log_once_sealed(dsm_log *log, unsigned segment, const dsm_atomic_u64 *word,
                                       uint64_t value) {
  dsm_locator locator = dsm_space_locator(log->call->space, segment, word);
  dsm_log_append(log, locator, dsm_seal(value, locator));
}

static inline uint64_t dsm_log_get_sealed(dsm_log *log, unsigned segment,
                                          const dsm_atomic_u64 *word) {
  bool ok;
  uint64_t raw = dsm_log_get(log, segment, word);
  uint64_t value = dsm_unseal(raw, dsm_space_locator(log->call->space, segment, word), &ok);
  if (DSM_UNLIKELY(!ok)) dsm_log_corrupt(log, "sealed word does not verify", segment, raw, 0);
  return value;
}

static inline void dsm_log_set_sealed(dsm_log *log, unsigned segment, const dsm_atomic_u64 *word,
                                      uint64_t value) {
  dsm_log_set(log, segment, word,
              dsm_seal(value, dsm_space_locator(log->call->space, segment, word)));
}

/* Arms the intent, stores its words in order, clears it. Nothing is stored if the log has failed.
 */
dsm_status dsm_log_commit(dsm_log *log);

/* True if an intent may store to that word: inside a segment, and never a lock or an intent. */
bool dsm_intent_word_fits(const dsm_space *space, dsm_locator locator);

/* Carries out an armed intent whose owner is dead, or finds none. The lock must be held.
 * DSM_CORRUPT if the record does not verify or points outside the segments. */
dsm_status dsm_intent_recover(dsm_call *call, dsm_intent_shm *intent, uint64_t salt);

/* Drops an intent that does not verify. The lock must be held. */
void dsm_intent_give_up(dsm_intent_shm *intent);

#endif
