/* Semaphore: a total, and a cell per participant. */
#include "sync_semaphore.h"

#include "../base/crash.h"
#include "lock.h"
#include "sync_kind.h"

#define TOTAL 0 /* words of the record */
#define AVAILABLE 1
#define COUNT_BITS 24 /* a cell: incarnation 20 | count 24 */
#define COUNT_MASK ((1ull << COUNT_BITS) - 1)

static dsm_atomic_u64 *cell_of(const dsm_sync *sync, uint32_t participant) {
  return (dsm_atomic_u64 *)(void *)sync->heap + participant;
}

void dsm__sync_semaphore_init(const dsm_space *space, const dsm_sync *sync) {
  uint64_t value = sync->settings[DSM_SYNC_SEMAPHORE_VALUE];
  dsm_sync_set(space, &sync->record->words[TOTAL], value);
  dsm_sync_set(space, &sync->record->words[AVAILABLE], value);
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) dsm_sync_set(space, cell_of(sync, i), 0);
}

static dsm_status read_cell(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                            uint64_t *cell) {
  bool ok;
  *cell = dsm_sync_get(call->space, cell_of(sync, participant), &ok);
  return ok ? DSM_OK : dsm_sync_damaged(call, sync, "permits of a process");
}

dsm_status dsm__sync_semaphore_repair(dsm_call *call, const dsm_sync *sync) {
  bool ok;
  uint64_t total = dsm_sync_get(call->space, &sync->record->words[TOTAL], &ok), held = 0, cell;
  if (!ok) return dsm_sync_damaged(call, sync, "total of a semaphore");
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) {
    DSM_TRY(read_cell(call, sync, i, &cell));
    held += cell & COUNT_MASK;
  }
  if (held > total) return dsm_sync_damaged(call, sync, "permits held of a semaphore");
  dsm_sync_set(call->space, &sync->record->words[AVAILABLE], total - held);
  return DSM_OK;
}

/* The cell of this process. What an earlier process of the slot left is given back on the way. */
static dsm_status own_cell(dsm_call *call, const dsm_sync *sync, uint64_t *cell) {
  uint32_t self = call->space->participant;
  uint64_t incarnation = dsm_sync_party_self(call->space) >> 9;
  DSM_TRY(read_cell(call, sync, self, cell));
  if (*cell >> COUNT_BITS == incarnation) return DSM_OK;
  bool stale = *cell & COUNT_MASK;
  *cell = incarnation << COUNT_BITS;
  dsm_sync_set(call->space, cell_of(sync, self), *cell);
  return stale ? dsm__sync_semaphore_repair(call, sync) : DSM_OK;
}

static dsm_status try_locked(dsm_call *call, const dsm_sync *sync, uint32_t *left) {
  bool ok;
  uint64_t cell;
  dsm_space *space = call->space;
  DSM_TRY(own_cell(call, sync, &cell));
  uint64_t available = dsm_sync_get(space, &sync->record->words[AVAILABLE], &ok);
  if (!ok) return dsm_sync_damaged(call, sync, "available permits");
  if (available == 0) return DSM_RETRY;
  dsm_sync_set(space, cell_of(sync, space->participant), cell + 1);
  DSM_CRASH_POINT("sync.semaphore.held");
  dsm_sync_set(space, &sync->record->words[AVAILABLE], available - 1);
  *left = (uint32_t)available - 1;
  return DSM_OK;
}

dsm_status dsm_sync_semaphore_try(dsm_call *call, const dsm_sync *sync, uint32_t *left) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = try_locked(call, sync, left);
  dsm_lock_drop(&sync->record->lock);
  return status;
}

/* Added ones first: killed in between, the process's death returns what it still holds. */
static dsm_status release_locked(dsm_call *call, const dsm_sync *sync, uint32_t permits) {
  bool ok;
  uint64_t cell;
  dsm_space *space = call->space;
  dsm_sync_shm *record = sync->record;
  DSM_TRY(own_cell(call, sync, &cell));
  uint64_t total = dsm_sync_get(space, &record->words[TOTAL], &ok);
  if (!ok) return dsm_sync_damaged(call, sync, "total of a semaphore");
  uint64_t held = cell & COUNT_MASK, returned = permits < held ? permits : held;
  uint64_t added = permits - returned;
  if (added && sync->settings[DSM_SYNC_SEMAPHORE_BOUNDED])
    return dsm_fail(call, DSM_USAGE, "permits held by this process", -1, -1, permits, held);
  if (total + added > DSM_SYNC_PERMITS_MAX)
    return dsm_fail(call, DSM_OVERFLOW, "permits", -1, -1, total, added);
  if (added) dsm_sync_set(space, &record->words[TOTAL], total + added);
  DSM_CRASH_POINT("sync.semaphore.added");
  if (returned) dsm_sync_set(space, cell_of(sync, space->participant), cell - returned);
  DSM_CRASH_POINT("sync.semaphore.returned");
  uint64_t available = dsm_sync_get(space, &record->words[AVAILABLE], &ok);
  if (!ok) return dsm_sync_damaged(call, sync, "available permits");
  dsm_sync_set(space, &record->words[AVAILABLE], available + permits);
  return DSM_OK;
}

dsm_status dsm_sync_semaphore_release(dsm_call *call, const dsm_sync *sync, uint32_t permits) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = release_locked(call, sync, permits);
  dsm_lock_drop(&sync->record->lock);
  if (status == DSM_OK) dsm_sync_wake(sync, 0, permits);
  return status;
}

dsm_status dsm_sync_semaphore_value(dsm_call *call, const dsm_sync *sync, uint32_t *value) {
  bool ok;
  *value = (uint32_t)dsm_sync_get(call->space, &sync->record->words[AVAILABLE], &ok);
  return ok ? DSM_OK : dsm_sync_damaged(call, sync, "available permits");
}

static bool dead_cell(uint64_t cell, uint32_t incarnation) {
  return cell & COUNT_MASK &&
         dsm_sync_up_to((uint32_t)(cell >> COUNT_BITS), incarnation, DSM_SYNC_INCARNATION_BITS);
}

dsm_status dsm__sync_semaphore_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                                    uint32_t incarnation, bool killed, bool *changed) {
  (void)killed;
  uint64_t cell;
  /* Without the lock: a living process does not take for a dead one, so what is seen stays. */
  DSM_TRY(read_cell(call, sync, participant, &cell));
  bool inherited = dsm_load_relaxed_u32(&sync->record->lock.owner) == participant + 1;
  if (!dead_cell(cell, incarnation) && !inherited) return DSM_OK;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = read_cell(call, sync, participant, &cell);
  if (status == DSM_OK && dead_cell(cell, incarnation)) {
    dsm_sync_set(call->space, cell_of(sync, participant), cell & ~COUNT_MASK);
    DSM_CRASH_POINT("sync.semaphore.buried");
    status = dsm__sync_semaphore_repair(call, sync);
    *changed = true;
  }
  dsm_lock_drop(&sync->record->lock);
  return status;
}
