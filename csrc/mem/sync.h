/* Objects of synchronisation: records of the control segment, found by kind and name.
 *
 *   I  a record exists once the count of records says so; its first lines never change after that,
 *      and a record is never removed. Its share of the heap follows that of the record before it.
 *   I  every change of state becomes true by ONE store (the commit); what else a change stores is
 *      derived and is computed anew by whoever inherits the record's lock from a dead owner. So a
 *      kill anywhere leaves the old state or the new one, and no log is needed.
 *   I  what is held is recorded with its holder (participant, incarnation), so that dsm_sync_bury
 *      can take it from the dead.
 *   I  waiting is sleeping on a word until it changes: prepare, try, sleep. A wake may be lost with
 *      a killed waker, so sleeps are sliced (I-4), and burying wakes all sleepers.
 *
 * operation           blocks             may be killed
 * dsm_sync_open       registry lock      anywhere; the record is there or not
 * dsm_sync_take       record's lock      anywhere; the next taker repairs
 * dsm_sync_wake       no                 anywhere; sleepers look again after their slice
 * dsm_sync_bury       record's lock      anywhere; doing it again is harmless
 */
#ifndef DSM_MEM_SYNC_H
#define DSM_MEM_SYNC_H

#include "space.h"

#define DSM_SYNC_EVERYONE UINT32_MAX

/* A record in this process: where it lies, and a copy of what bounds every access to it, taken when
 * the record was verified. */
typedef struct dsm_sync {
  dsm_sync_shm *record;
  uint8_t *heap;
  uint32_t index;
  uint32_t kind;
  uint64_t settings[DSM_SYNC_SETTINGS];
} dsm_sync;

typedef struct dsm_sync_request {
  dsm_sync_kind kind;
  const char *name;
  uint32_t name_bytes;
  uint64_t settings[DSM_SYNC_SETTINGS];
  uint64_t heap_bytes;
} dsm_sync_request;

/* Opens or creates. The settings of an existing record stay; who asked for others compares them.
 * DSM_TOO_MANY, DSM_STORE_FULL, DSM_CORRUPT, DSM_LOCK_TIMEOUT. */
dsm_status dsm_sync_open(dsm_call *call, const dsm_sync_request *request, dsm_sync *out);
/* How many records there are. */
dsm_status dsm_sync_count(dsm_call *call, uint32_t *count);
/* The record of that index, if it verifies. */
dsm_status dsm_sync_at(dsm_call *call, uint32_t index, dsm_sync *out);

/* The record's lock, with what a dead owner left repaired. Dropped by dsm_lock_drop. */
dsm_status dsm_sync_take(dsm_call *call, const dsm_sync *sync);

/* Takes from the participant what it holds in this record, up to and including that incarnation.
 * `killed`: it ended without leaving. */
dsm_status dsm_sync_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                         uint32_t incarnation, bool killed);
/* The same in every record, waking all who wait. DSM_LOCK_TIMEOUT if some record must be tried
 * again. */
dsm_status dsm_sync_bury_all(dsm_call *call, uint32_t participant, uint32_t incarnation,
                             bool killed);
/* What a waiter does after a slice in which nothing happened: looks whether somebody who holds
 * something here is gone, and buries it. So waits end without any service thread. */
dsm_status dsm_sync_watch(dsm_call *call, const dsm_sync *sync);

/* Says that somebody may sleep; returns what to pass to dsm_sync_sleep. Then try once more. */
uint32_t dsm_sync_prepare(const dsm_sync *sync, unsigned which);
/* Whether somebody said so since the last wake; who gave up meanwhile still counts. */
bool dsm_sync_awaited(const dsm_sync *sync, unsigned which);
/* Spins briefly, then sleeps until the word changes, at most wait_us. */
void dsm_sync_sleep(const dsm_sync *sync, unsigned which, uint32_t prepared, uint32_t wait_us);
/* After a change: costs a load unless somebody may sleep. Who was woken and leaves something for
 * the next one wakes that one. */
void dsm_sync_wake(const dsm_sync *sync, unsigned which, uint32_t waiters);
/* The same after a change that was itself a sequentially consistent operation. */
void dsm_sync_wake_ordered(const dsm_sync *sync, unsigned which, uint32_t waiters);

/* Who does it: incarnation (20 bits) and participant + 1 (9 bits); never 0. */
typedef uint32_t dsm_sync_party;
#define DSM_SYNC_INCARNATION_BITS 20u
#define DSM_SYNC_INCARNATION_MASK ((1u << DSM_SYNC_INCARNATION_BITS) - 1)

static inline dsm_sync_party dsm_sync_party_make(uint32_t participant, uint32_t incarnation) {
  return (incarnation & DSM_SYNC_INCARNATION_MASK) << 9 | (participant + 1);
}

static inline dsm_sync_party dsm_sync_party_self(const dsm_space *space) {
  const dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  return dsm_sync_party_make(space->participant, dsm_load_relaxed_u32(&slot->incarnation));
}

static inline uint32_t dsm_sync_party_participant(dsm_sync_party party) {
  return (party & 511u) - 1;
}

/* Whether the incarnation is `last` or came before it; numbers of `bits` bits that wrap around. */
static inline bool dsm_sync_up_to(uint32_t incarnation, uint32_t last, unsigned bits) {
  return ((last - incarnation) & ((1u << bits) - 1)) < 1u << (bits - 1);
}

static inline uint64_t dsm_sync_get(const dsm_space *space, const dsm_atomic_u64 *word, bool *ok) {
  return dsm_unseal(dsm_load_acquire_u64(word), dsm_space_locator(space, DSM_CONTROL_SEGMENT, word),
                    ok);
}

static inline void dsm_sync_set(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value) {
  dsm_store_release_u64(word, dsm_seal(value & DSM_SEAL_VALUE_MASK,
                                       dsm_space_locator(space, DSM_CONTROL_SEGMENT, word)));
}

static inline dsm_status dsm_sync_damaged(dsm_call *call, const dsm_sync *sync, const char *what) {
  return dsm_fail(call, DSM_CORRUPT, what, -1, -1, sync->index, sync->kind);
}

#endif
