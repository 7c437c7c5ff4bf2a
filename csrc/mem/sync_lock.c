/* Taking, giving back and burying a lock: one word. */
#include "sync_lock.h"

#include "../base/atomic_ordered.h"
#include "../base/crash.h"
#include "sync_kind.h"

#define OWNER 0 /* words of the record */
#define DIED 1  /* pid of the latest dead owner << 32 | its party */
#define DEPTH 2
#define ABANDONED (1u << 31)
#define SPIN_ROUNDS 100
#define PARTY_MASK ((1u << 29) - 1)

static uint64_t word_of(const dsm_space *space, uint32_t thread) {
  return (uint64_t)thread << 32 | dsm_sync_party_self(space);
}

dsm_status dsm_sync_lock_try(dsm_call *call, const dsm_sync *sync, uint32_t thread, bool *died,
                             uint32_t *died_pid) {
  dsm_sync_shm *record = sync->record;
  uint64_t mine = word_of(call->space, thread);
  uint64_t now = dsm_load_relaxed_u64(&record->words[OWNER]);
  *died = false;
  while (now == 0 || now & ABANDONED) {
    if (!dsm_cas_u64(&record->words[OWNER], &now, mine, DSM_ORDER_SEQ_CST, DSM_ORDER_RELAXED))
      continue;
    DSM_CRASH_POINT("sync.lock.taken");
    dsm_store_relaxed_u64(&record->words[DEPTH], 1);
    if (DSM_UNLIKELY(now != 0)) {
      uint64_t told = dsm_load_acquire_u64(&record->words[DIED]);
      *died = true;
      *died_pid = ((uint32_t)told ^ (uint32_t)now) & PARTY_MASK ? 0 : (uint32_t)(told >> 32);
    }
    return DSM_OK;
  }
  if (now != mine || !sync->settings[DSM_SYNC_LOCK_REENTRANT]) return DSM_RETRY;
  uint64_t depth = dsm_load_relaxed_u64(&record->words[DEPTH]);
  dsm_store_relaxed_u64(&record->words[DEPTH], depth + 1);
  return DSM_OK;
}

bool dsm_sync_lock_spin(const dsm_space *space, const dsm_sync *sync) {
  for (int round = 0; round < SPIN_ROUNDS; round++) {
    uint64_t now = dsm_load_relaxed_u64(&sync->record->words[OWNER]);
    if (now == 0 || now & ABANDONED) return true;
    /* A thread of our own process may need what we hold in order to go on: the interpreter. */
    if (dsm_sync_party_participant((uint32_t)now & PARTY_MASK) == space->participant) return false;
    dsm_cpu_relax();
  }
  return false;
}

dsm_status dsm_sync_lock_release(dsm_call *call, const dsm_sync *sync, uint32_t thread) {
  dsm_sync_shm *record = sync->record;
  uint64_t now = dsm_load_relaxed_u64(&record->words[OWNER]);
  if (now != word_of(call->space, thread))
    return dsm_fail(call, DSM_NOT_OWNER, "lock is not held by this thread", -1, -1, now, thread);
  uint64_t depth = dsm_load_relaxed_u64(&record->words[DEPTH]);
  if (depth > 1) {
    dsm_store_relaxed_u64(&record->words[DEPTH], depth - 1);
    return DSM_OK;
  }
  dsm_exchange_u64(&record->words[OWNER], 0, DSM_ORDER_SEQ_CST);
  DSM_CRASH_POINT("sync.lock.released");
  dsm_sync_wake_ordered(sync, 0, 1);
  return DSM_OK;
}

bool dsm_sync_lock_mine(const dsm_space *space, const dsm_sync *sync, uint32_t thread) {
  return dsm_load_relaxed_u64(&sync->record->words[OWNER]) == word_of(space, thread);
}

void dsm_sync_lock_holder(const dsm_space *space, const dsm_sync *sync, dsm_sync_holder *out) {
  uint64_t now = dsm_load_acquire_u64(&sync->record->words[OWNER]);
  *out = (dsm_sync_holder){0};
  uint32_t participant = dsm_sync_party_participant((uint32_t)now & PARTY_MASK);
  if (now == 0 || now & ABANDONED || participant >= DSM_PARTICIPANTS_MAX) return;
  const dsm_participant_shm *slot = dsm_space_participant(space, participant);
  out->party = (uint32_t)now & PARTY_MASK;
  out->thread = (uint32_t)(now >> 32);
  if (dsm_sync_party_make(participant, dsm_load_acquire_u32(&slot->incarnation)) != out->party)
    return;
  out->pid = dsm_load_relaxed_u32(&slot->pid);
  out->start_ticks = dsm_load_relaxed_u64(&slot->start_ticks);
}

uint32_t dsm_sync_lock_depth(const dsm_sync *sync) {
  return (uint32_t)dsm_load_relaxed_u64(&sync->record->words[DEPTH]);
}

void dsm_sync_lock_depth_set(const dsm_sync *sync, uint32_t depth) {
  dsm_store_relaxed_u64(&sync->record->words[DEPTH], depth);
}

/* The pid is stored before the mark that makes it of interest; two who bury the same owner store
 * the same, and one who comes late is found out by the party beside it. */
dsm_status dsm__sync_lock_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                               uint32_t incarnation, bool killed, bool *changed) {
  (void)killed;
  dsm_sync_shm *record = sync->record;
  uint64_t now = dsm_load_acquire_u64(&record->words[OWNER]);
  dsm_sync_party party = (uint32_t)now & PARTY_MASK;
  if (now == 0 || now & ABANDONED) return DSM_OK;
  if (dsm_sync_party_participant(party) >= DSM_PARTICIPANTS_MAX)
    return dsm_sync_damaged(call, sync, "owner of a lock");
  if (dsm_sync_party_participant(party) != participant ||
      !dsm_sync_up_to(party >> 9, incarnation, DSM_SYNC_INCARNATION_BITS))
    return DSM_OK;
  const dsm_participant_shm *slot = dsm_space_participant(call->space, participant);
  uint64_t pid = (party >> 9) == (incarnation & DSM_SYNC_INCARNATION_MASK)
                     ? dsm_load_relaxed_u32(&slot->pid)
                     : 0;
  dsm_store_release_u64(&record->words[DIED], pid << 32 | party);
  DSM_CRASH_POINT("sync.lock.told");
  *changed = dsm_cas_u64(&record->words[OWNER], &now, now | ABANDONED, DSM_ORDER_SEQ_CST,
                         DSM_ORDER_RELAXED);
  return DSM_OK;
}
