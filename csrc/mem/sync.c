/* Finding, making and repairing records; sleeping and waking. */
#include "sync.h"

#include <string.h>

#include "../base/crash.h"
#include "../base/hash.h"
#include "lock.h"
#include "sync_kind.h"

#define CHECK_SEED 0x53594E43ull
#define CHECKED_BYTES (offsetof(dsm_sync_shm, lock) - offsetof(dsm_sync_shm, kind))
#define MAY_SLEEP 1u
/* About three microseconds: shorter than falling asleep and being woken. */
#define SPIN_ROUNDS 64

static uint64_t record_check(const dsm_sync_shm *record, uint32_t index) {
  return dsm_hash64(&record->kind, CHECKED_BYTES, CHECK_SEED + index);
}

static bool record_holds(const dsm_sync_shm *record, uint32_t index) {
  return record->check == record_check(record, index) && record->kind >= DSM_SYNC_LOCK &&
         record->kind <= DSM_SYNC_ATOMIC && record->name_bytes <= DSM_SYNC_NAME_BYTES &&
         record->heap_offset <= DSM_SYNC_HEAP_BYTES &&
         record->heap_bytes <= DSM_SYNC_HEAP_BYTES - record->heap_offset;
}

static void point(const dsm_space *space, uint32_t index, dsm_sync *out) {
  dsm_sync_shm *record = dsm_space_sync(space, index);
  *out = (dsm_sync){.record = record,
                    .heap = space->control.base + space->layout.sync_heap + record->heap_offset,
                    .index = index,
                    .kind = record->kind};
  memcpy(out->settings, record->settings, sizeof out->settings);
}

static dsm_status back(dsm_call *call, uint64_t offset, uint64_t bytes) {
  dsm_status status = dsm_os_segment_back(&call->space->control, offset, bytes);
  return status == DSM_STORE_FULL
             ? dsm_fail(call, status, "no room for an object of synchronisation", -1, -1, bytes, 0)
             : status;
}

/* Records are never removed, and each has its check as the last of what makes it whole. */
static dsm_status count_anew(dsm_call *call, uint64_t damaged, uint32_t *count) {
  const dsm_space *space = call->space;
  dsm_atomic_u64 *word = &dsm_space_control(space)->sync_count;
  for (*count = 0; *count < DSM_SYNCS_MAX; ++*count) {
    DSM_TRY(back(call, space->layout.syncs + *count * sizeof(dsm_sync_shm), sizeof(dsm_sync_shm)));
    if (!record_holds(dsm_space_sync(space, *count), *count)) break;
  }
  uint64_t salt = dsm_space_locator(space, DSM_CONTROL_SEGMENT, word);
  dsm_cas_acq_rel_u64(word, &damaged, dsm_seal(*count, salt));
  DSM_CRASH_POINT("sync.counted");
  return DSM_OK;
}

dsm_status dsm_sync_count(dsm_call *call, uint32_t *count) {
  bool ok;
  dsm_atomic_u64 *word = &dsm_space_control(call->space)->sync_count;
  uint64_t raw = dsm_load_acquire_u64(word);
  uint64_t value = dsm_unseal(raw, dsm_space_locator(call->space, DSM_CONTROL_SEGMENT, word), &ok);
  if (DSM_UNLIKELY(!ok || value > DSM_SYNCS_MAX)) return count_anew(call, raw, count);
  *count = (uint32_t)value;
  return DSM_OK;
}

dsm_status dsm_sync_at(dsm_call *call, uint32_t index, dsm_sync *out) {
  uint32_t count;
  DSM_TRY(dsm_sync_count(call, &count));
  if (index >= count)
    return dsm_fail(call, DSM_CORRUPT, "number of a synchronisation record", -1, -1, index, count);
  if (!record_holds(dsm_space_sync(call->space, index), index))
    return dsm_fail(call, DSM_CORRUPT, "synchronisation record does not verify", -1, -1, index, 0);
  point(call->space, index, out);
  return DSM_OK;
}

static bool is_asked_for(const dsm_sync_shm *record, const dsm_sync_request *request) {
  return record->kind == (uint32_t)request->kind && record->name_bytes == request->name_bytes &&
         memcmp(record->name, request->name, request->name_bytes) == 0;
}

/* What lies behind the count belongs to nobody, so a kill before the last store leaves nothing. */
static dsm_status create(dsm_call *call, const dsm_sync_request *request, uint32_t index,
                         uint64_t heap_offset, dsm_sync *out) {
  dsm_space *space = call->space;
  uint64_t heap_bytes = (request->heap_bytes + DSM_PAGE_BYTES - 1) & ~(DSM_PAGE_BYTES - 1ull);
  if (index >= DSM_SYNCS_MAX)
    return dsm_fail(call, DSM_TOO_MANY, "objects of synchronisation", -1, -1, DSM_SYNCS_MAX, 0);
  if (heap_bytes > DSM_SYNC_HEAP_BYTES - heap_offset)
    return dsm_fail(call, DSM_TOO_MANY, "bytes for queues and atomic arrays", -1, -1,
                    DSM_SYNC_HEAP_BYTES, heap_offset);
  DSM_TRY(back(call, space->layout.syncs + index * sizeof(dsm_sync_shm), sizeof(dsm_sync_shm)));
  if (heap_bytes) DSM_TRY(back(call, space->layout.sync_heap + heap_offset, heap_bytes));
  dsm_sync_shm *record = dsm_space_sync(space, index);
  memset(record, 0, sizeof *record);
  record->kind = request->kind;
  record->name_bytes = request->name_bytes;
  memcpy(record->settings, request->settings, sizeof record->settings);
  record->heap_offset = heap_offset;
  record->heap_bytes = heap_bytes;
  memcpy(record->name, request->name, request->name_bytes);
  DSM_TRY(dsm_os_mutex_init(&record->lock.mutex));
  point(space, index, out);
  dsm_sync_kind_init(space, out);
  dsm_store_release_u64((dsm_atomic_u64 *)(void *)&record->check, record_check(record, index));
  DSM_CRASH_POINT("sync.filled");
  dsm_sync_set(space, &dsm_space_control(space)->sync_count, index + 1);
  return DSM_OK;
}

static dsm_status open_locked(dsm_call *call, const dsm_sync_request *request, dsm_sync *out) {
  uint32_t count;
  uint64_t heap_end = 0;
  DSM_TRY(dsm_sync_count(call, &count));
  for (uint32_t index = 0; index < count; index++) {
    DSM_TRY(dsm_sync_at(call, index, out));
    if (is_asked_for(out->record, request)) return DSM_OK;
    heap_end = out->record->heap_offset + out->record->heap_bytes;
  }
  return create(call, request, count, heap_end, out);
}

dsm_status dsm_sync_open(dsm_call *call, const dsm_sync_request *request, dsm_sync *out) {
  if (request->name_bytes == 0 || request->name_bytes > DSM_SYNC_NAME_BYTES)
    return dsm_fail(call, DSM_USAGE, "bytes of the name", -1, -1, request->name_bytes,
                    DSM_SYNC_NAME_BYTES);
  bool must_repair;
  dsm_lock_shm *lock = &dsm_space_control(call->space)->registry;
  DSM_TRY(dsm_lock_take(call, lock, &must_repair));
  if (must_repair) dsm_lock_repaired(lock, DSM_OK);
  dsm_status status = open_locked(call, request, out);
  dsm_lock_drop(lock);
  return status;
}

dsm_status dsm_sync_take(dsm_call *call, const dsm_sync *sync) {
  bool must_repair;
  DSM_TRY(dsm_lock_take(call, &sync->record->lock, &must_repair));
  if (DSM_LIKELY(!must_repair)) return DSM_OK;
  dsm_status status = dsm_sync_kind_repair(call, sync);
  dsm_lock_repaired(&sync->record->lock, status);
  if (status != DSM_OK) dsm_lock_drop(&sync->record->lock);
  return status;
}

uint32_t dsm_sync_prepare(const dsm_sync *sync, unsigned which) {
  dsm_atomic_u32 *word = &sync->record->sleep[which];
  uint32_t value = dsm_fetch_or_acq_rel_u32(word, MAY_SLEEP) | MAY_SLEEP;
  /* Either the waker sees our bit, or the try that follows sees its change. */
  dsm_fence_seq_cst();
  return value;
}

bool dsm_sync_awaited(const dsm_sync *sync, unsigned which) {
  return dsm_load_relaxed_u32(&sync->record->sleep[which]) & MAY_SLEEP;
}

void dsm_sync_sleep(const dsm_sync *sync, unsigned which, uint32_t prepared, uint32_t wait_us) {
  const dsm_atomic_u32 *word = &sync->record->sleep[which];
  for (int round = 0; round < SPIN_ROUNDS; round++) {
    if (dsm_load_relaxed_u32(word) != prepared) return;
    dsm_cpu_relax();
  }
  dsm_os_word_wait(word, prepared, wait_us);
}

void dsm_sync_wake(const dsm_sync *sync, unsigned which, uint32_t waiters) {
  dsm_fence_seq_cst();
  dsm_sync_wake_ordered(sync, which, waiters);
}

void dsm_sync_wake_ordered(const dsm_sync *sync, unsigned which, uint32_t waiters) {
  dsm_atomic_u32 *word = &sync->record->sleep[which];
  uint32_t value = dsm_load_seq_cst_u32(word);
  while (value & MAY_SLEEP) {
    if (!dsm_cas_acq_rel_u32(word, &value, (value + 2) & ~MAY_SLEEP)) continue;
    DSM_CRASH_POINT("sync.wake");
    dsm_os_word_wake(word, waiters);
    return;
  }
}

dsm_status dsm_sync_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                         uint32_t incarnation, bool killed) {
  bool changed = false;
  DSM_TRY(dsm_sync_kind_bury(call, sync, participant, incarnation, killed, &changed));
  if (!changed) return DSM_OK;
  DSM_CRASH_POINT("sync.buried");
  dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  dsm_sync_wake(sync, 1, DSM_SYNC_EVERYONE);
  return DSM_OK;
}

dsm_status dsm_sync_bury_all(dsm_call *call, uint32_t participant, uint32_t incarnation,
                             bool killed) {
  uint32_t count;
  dsm_status worst = DSM_OK;
  DSM_TRY(dsm_sync_count(call, &count));
  for (uint32_t index = 0; index < count; index++) {
    dsm_sync sync;
    if (dsm_sync_at(call, index, &sync) != DSM_OK) continue; /* its users are told when they come */
    if (dsm_sync_bury(call, &sync, participant, incarnation, killed) == DSM_LOCK_TIMEOUT)
      worst = DSM_LOCK_TIMEOUT;
    /* The dead may have been about to wake others, or have been woken in their place. */
    dsm_sync_wake(&sync, 0, DSM_SYNC_EVERYONE);
    dsm_sync_wake(&sync, 1, DSM_SYNC_EVERYONE);
  }
  return worst;
}

dsm_status dsm_sync_watch(dsm_call *call, const dsm_sync *sync) {
  dsm_space *space = call->space;
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  for (uint32_t i = 0; i < high && i < DSM_PARTICIPANTS_MAX; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    /* In this order: identity is stored before incarnation, and that before the kind. */
    uint32_t kind = dsm_load_acquire_u32(&slot->kind);
    uint32_t incarnation = dsm_load_acquire_u32(&slot->incarnation);
    dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                              .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
    if (kind == DSM_PARTICIPANT_FREE || kind == DSM_PARTICIPANT_DEAD) continue;
    if (dsm_os_process_alive(&process)) incarnation--;
    DSM_TRY(dsm_sync_bury(call, sync, i, incarnation, true));
  }
  return DSM_OK;
}
