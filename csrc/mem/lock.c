/* Taking, repairing and dropping a lock of the control segment. */
#include "lock.h"

#include "../base/crash.h"

/* About three microseconds: longer than most critical sections, shorter than a futex round trip. */
#define SPIN_ROUNDS 96
#define SPIN_PAUSES 4

static dsm_os_lock spin(dsm_lock_shm *lock) {
  for (int round = 0; round < SPIN_ROUNDS; round++) {
    for (int pause = 0; pause < SPIN_PAUSES; pause++) dsm_cpu_relax();
    dsm_os_lock result = dsm_os_mutex_try(&lock->mutex);
    if (result != DSM_OS_LOCK_BUSY) return result;
  }
  return DSM_OS_LOCK_BUSY;
}

static dsm_status timed_out(dsm_call *call, const dsm_lock_shm *lock) {
  /* The owner may change while we look: the word only feeds the message. */
  uint32_t owner = dsm_load_relaxed_u32(&lock->owner);
  dsm_fail(call, DSM_LOCK_TIMEOUT, "lock held by another", -1, -1, 0, call->wait_ms);
  if (owner >= 1 && owner <= DSM_PARTICIPANTS_MAX) {
    const dsm_participant_shm *holder = dsm_space_participant(call->space, owner - 1);
    call->fault.process =
        (dsm_os_process){.pid = dsm_load_relaxed_u32(&holder->pid),
                         .start_ticks = dsm_load_relaxed_u64(&holder->start_ticks)};
  }
  return DSM_LOCK_TIMEOUT;
}

/* Counts what a dead owner's end has cost; it feeds reports only. */
static void blame(const dsm_call *call, const dsm_lock_shm *lock) {
  uint32_t owner = dsm_load_relaxed_u32(&lock->owner);
  if (owner < 1 || owner > DSM_PARTICIPANTS_MAX) return;
  dsm_fetch_add_relaxed_u32(&dsm_space_participant(call->space, owner - 1)->repaired, 1);
}

dsm_status dsm_lock_take_any(dsm_call *call, dsm_lock_shm *lock, bool *must_repair) {
  dsm_os_lock result = dsm_os_mutex_try(&lock->mutex);
  if (DSM_UNLIKELY(result == DSM_OS_LOCK_BUSY)) {
    result = spin(lock);
    if (result == DSM_OS_LOCK_BUSY && dsm_os_mutex_mend(&lock->mutex))
      result = dsm_os_mutex_try(&lock->mutex);
    if (result == DSM_OS_LOCK_BUSY && call->wait_ms > 0)
      result = dsm_os_mutex_wait(&lock->mutex, call->wait_ms);
    if (result == DSM_OS_LOCK_BUSY) return timed_out(call, lock);
  }
  DSM_CRASH_POINT("lock.taken");
  if (DSM_UNLIKELY(result == DSM_OS_LOCK_OWNER_DIED)) {
    dsm_fetch_or_acq_rel_u32(&lock->pending, DSM_PENDING_REPAIR);
    DSM_CRASH_POINT("lock.inherited");
    blame(call, lock);
    dsm_os_mutex_consistent(&lock->mutex);
  }
  dsm_store_relaxed_u32(&lock->owner, call->space->participant + 1);
  *must_repair = dsm_load_relaxed_u32(&lock->pending) & DSM_PENDING_REPAIR;
  return DSM_OK;
}

dsm_status dsm_lock_take(dsm_call *call, dsm_lock_shm *lock, bool *must_repair) {
  DSM_TRY(dsm_lock_take_any(call, lock, must_repair));
  if (DSM_LIKELY(dsm_load_relaxed_u32(&lock->quarantined) != 1)) return DSM_OK;
  dsm_os_mutex_unlock(&lock->mutex);
  return dsm_fail(call, DSM_CORRUPT, "quarantined after a failed repair", -1, -1, 0, 0);
}

void dsm_lock_repaired(dsm_lock_shm *lock, dsm_status outcome) {
  if (outcome == DSM_LOCK_TIMEOUT) return;
  if (outcome != DSM_OK) dsm_store_release_u32(&lock->quarantined, 1);
  dsm_fetch_add_relaxed_u32(&lock->repairs, 1);
  DSM_CRASH_POINT("lock.repaired");
  dsm_fetch_and_acq_rel_u32(&lock->pending, ~DSM_PENDING_REPAIR);
}

void dsm_lock_drop(dsm_lock_shm *lock) {
  DSM_CRASH_POINT("lock.drop");
  dsm_os_mutex_unlock(&lock->mutex);
}
