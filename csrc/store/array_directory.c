/* Finding, reserving and settling entries. */
#include "array_directory.h"

#include <string.h>

#include "../base/crash.h"
#include "../base/hash.h"
#include "../mem/nodes.h"

static uint64_t word_salt(const dsm_space *space, const void *word) {
  return dsm_space_locator(space, DSM_CONTROL_SEGMENT, word) ^ 0x4152524159ull;
}

/* Memory that was never used is zero, and a word of zero means none. */
static uint64_t word_read(const dsm_space *space, const dsm_atomic_u64 *word, bool *ok) {
  uint64_t raw = dsm_load_acquire_u64(word);
  if (raw == 0) return 0;
  bool good;
  uint64_t value = dsm_unseal(raw, word_salt(space, word), &good);
  if (!good) *ok = false;
  return value;
}

static void word_write(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value) {
  dsm_store_seq_cst_u64(word, value ? dsm_seal(value, word_salt(space, word)) : 0);
}

static uint64_t name_check(const dsm_array_entry_shm *entry) {
  return dsm_hash64(entry->name, sizeof entry->name, 0x4E414D45ull + entry->name_bytes);
}

static bool name_holds(const dsm_array_entry_shm *entry) {
  return entry->name_bytes > 0 && entry->name_bytes <= sizeof entry->name &&
         entry->check == name_check(entry);
}

static dsm_array_entry_shm *entry_of(const dsm_space *space, uint32_t entry) {
  return &dsm_space_arrays(space)->entries[entry];
}

uint64_t dsm_array_self(const dsm_space *space) {
  if (space->participant == DSM_NOBODY) return 0;
  uint64_t incarnation =
      dsm_load_relaxed_u32(&dsm_space_participant(space, space->participant)->incarnation);
  return ((uint64_t)space->participant + 1) | incarnation << 32;
}

bool dsm_array_alive(const dsm_space *space, uint64_t self, dsm_os_process *process) {
  uint32_t participant = (uint32_t)self - 1;
  *process = (dsm_os_process){0};
  if (participant >= DSM_PARTICIPANTS_MAX) return false;
  const dsm_participant_shm *slot = dsm_space_participant(space, participant);
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  dsm_os_process found = {.pid = dsm_load_relaxed_u32(&slot->pid),
                          .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
  if (dsm_load_relaxed_u32(&slot->incarnation) != (uint32_t)(self >> 32) ||
      kind == DSM_PARTICIPANT_FREE || kind == DSM_PARTICIPANT_DEAD)
    return false;
  *process = found;
  return dsm_os_process_alive(&found);
}

uint64_t dsm_array_directory_sum(const dsm_space *space) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < dsm_array_entries(space); i++) {
    uint64_t build = dsm_array_current(space, i);
    if (build) sum += dsm_hash64(&build, sizeof build, i);
  }
  return sum;
}

static dsm_status damaged(dsm_call *call, uint32_t entry) {
  return dsm_fail(call, DSM_CORRUPT, "entry of the directory of arrays", -1, -1, entry, 0);
}

/* Throws away what is not meant. Doing it twice, or being killed within, is harmless. */
static dsm_status settle_locked(dsm_call *call, uint32_t index) {
  const dsm_space *space = call->space;
  dsm_array_entry_shm *entry = entry_of(space, index);
  bool ok = true;
  uint64_t current = word_read(space, &entry->current, &ok);
  uint64_t next = word_read(space, &entry->next, &ok);
  uint64_t last = word_read(space, &entry->last, &ok);
  if (!ok) return damaged(call, index);
  if (next && next != current) dsm_array_unlink(space, next);
  DSM_CRASH_POINT("directory.unlinked");
  if (last && last != current) dsm_array_unlink(space, last);
  word_write(space, &entry->next, 0);
  DSM_CRASH_POINT("directory.cleared");
  word_write(space, &entry->last, 0);
  DSM_CRASH_POINT("directory.settled");
  dsm_store_seq_cst_u64(&entry->worker, 0);
  return DSM_OK;
}

/* True if a living process works on the entry; otherwise it is settled. */
static dsm_status settle_if_dead(dsm_call *call, uint32_t index, bool *busy) {
  dsm_array_entry_shm *entry = entry_of(call->space, index);
  dsm_os_process process = {0};
  uint64_t worker = dsm_load_acquire_u64(&entry->worker);
  *busy = worker != 0 && dsm_array_alive(call->space, worker, &process);
  if (*busy) {
    dsm_fail(call, DSM_LOCK_TIMEOUT, "array is being made, replaced or removed", -1, -1, index, 0);
    call->fault.process = process;
    return DSM_OK;
  }
  bool unsettled =
      worker || dsm_load_relaxed_u64(&entry->next) || dsm_load_relaxed_u64(&entry->last);
  return unsettled ? settle_locked(call, index) : DSM_OK;
}

static bool in_use(const dsm_array_entry_shm *entry) {
  return dsm_load_relaxed_u64(&entry->current) || dsm_load_relaxed_u64(&entry->worker) ||
         dsm_load_relaxed_u64(&entry->next) || dsm_load_relaxed_u64(&entry->last);
}

bool dsm_array_directory_holds(const dsm_space *space) {
  bool ok;
  const dsm_atomic_u64 *builds = &dsm_space_arrays(space)->builds;
  dsm_unseal(dsm_load_acquire_u64(builds), word_salt(space, builds), &ok);
  return ok;
}

uint32_t dsm_array_entries(const dsm_space *space) {
  uint32_t high = dsm_load_acquire_u32(&dsm_space_arrays(space)->high);
  return high < DSM_ARRAYS_MAX ? high : DSM_ARRAYS_MAX;
}

/* The entry of that name, or the first free one and DSM_NOT_FOUND. */
static dsm_status find_locked(dsm_call *call, const char *name, uint32_t name_bytes,
                              uint32_t *entry) {
  uint32_t high = dsm_array_entries(call->space);
  if (!dsm_array_directory_holds(call->space)) return damaged(call, DSM_ARRAYS_MAX);
  *entry = high;
  for (uint32_t i = 0; i < high; i++) {
    const dsm_array_entry_shm *candidate = entry_of(call->space, i);
    if (candidate->name_bytes == 0) return damaged(call, i); /* one that was ever used keeps it */
    if (!in_use(candidate)) {
      if (*entry == high) *entry = i;
      continue;
    }
    if (!name_holds(candidate)) return damaged(call, i);
    if (candidate->name_bytes != name_bytes || memcmp(candidate->name, name, name_bytes) != 0)
      continue;
    *entry = i;
    return DSM_OK;
  }
  return DSM_NOT_FOUND;
}

static dsm_status look_up(dsm_call *call, const char *name, uint32_t name_bytes, uint32_t *entry,
                          uint64_t *build) {
  bool busy, ok = true;
  DSM_TRY(find_locked(call, name, name_bytes, entry));
  DSM_TRY(settle_if_dead(call, *entry, &busy));
  *build = word_read(call->space, &entry_of(call->space, *entry)->current, &ok);
  if (!ok) return damaged(call, *entry);
  if (*build) return DSM_OK;
  return busy ? DSM_LOCK_TIMEOUT : DSM_NOT_FOUND;
}

dsm_status dsm_array_find(dsm_call *call, const char *name, uint32_t name_bytes, uint32_t *entry,
                          uint64_t *build) {
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = look_up(call, name, name_bytes, entry, build);
  dsm_registry_drop(call);
  return status;
}

void dsm_array_directory_init(const dsm_space *space) {
  dsm_atomic_u64 *builds = &dsm_space_arrays(space)->builds;
  dsm_store_relaxed_u64(builds, dsm_seal(0, word_salt(space, builds)));
}

static dsm_status next_build(dsm_call *call, uint64_t *build) {
  bool ok = true;
  dsm_atomic_u64 *builds = &dsm_space_arrays(call->space)->builds;
  *build = word_read(call->space, builds, &ok) + 1;
  if (!ok) return damaged(call, DSM_ARRAYS_MAX);
  word_write(call->space, builds, *build);
  return DSM_OK;
}

static dsm_status claim(dsm_call *call, uint32_t index, uint64_t *build) {
  dsm_array_entry_shm *entry = entry_of(call->space, index);
  DSM_TRY(next_build(call, build));
  DSM_CRASH_POINT("directory.numbered");
  dsm_store_seq_cst_u64(&entry->worker, dsm_array_self(call->space));
  DSM_CRASH_POINT("directory.claimed");
  word_write(call->space, &entry->next, *build);
  return DSM_OK;
}

static dsm_status reserve_new_locked(dsm_call *call, const char *name, uint32_t name_bytes,
                                     uint32_t *entry, uint64_t *build) {
  dsm_status status = look_up(call, name, name_bytes, entry, build);
  if (status == DSM_OK) return DSM_RETRY;
  if (status != DSM_NOT_FOUND) return status;
  /* A settled entry of the same name is free by now, so the look finds the first free one. */
  status = find_locked(call, name, name_bytes, entry);
  if (status != DSM_NOT_FOUND) return status == DSM_OK ? damaged(call, *entry) : status;
  if (*entry >= DSM_ARRAYS_MAX)
    return dsm_fail(call, DSM_TOO_MANY, "arrays of a cluster", -1, -1, DSM_ARRAYS_MAX, 0);
  dsm_array_entry_shm *taken = entry_of(call->space, *entry);
  memset(taken->name, 0, sizeof taken->name);
  memcpy(taken->name, name, name_bytes);
  taken->name_bytes = name_bytes;
  taken->check = name_check(taken);
  DSM_CRASH_POINT("directory.named");
  dsm_atomic_u32 *high = &dsm_space_arrays(call->space)->high;
  if (dsm_load_relaxed_u32(high) <= *entry) dsm_store_release_u32(high, *entry + 1);
  return claim(call, *entry, build);
}

dsm_status dsm_array_reserve_new(dsm_call *call, const char *name, uint32_t name_bytes,
                                 uint32_t *entry, uint64_t *build) {
  if (name_bytes == 0 || name_bytes > DSM_REGION_NAME_BYTES)
    return dsm_fail(call, DSM_USAGE, "bytes of the array's name", -1, -1, name_bytes,
                    DSM_REGION_NAME_BYTES);
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = reserve_new_locked(call, name, name_bytes, entry, build);
  dsm_registry_drop(call);
  return status;
}

dsm_status dsm_array_reserve(dsm_call *call, uint32_t entry, uint64_t current, uint64_t *build) {
  bool busy;
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = settle_if_dead(call, entry, &busy);
  if (status == DSM_OK && dsm_array_current(call->space, entry) != current) status = DSM_RETRY;
  if (status == DSM_OK && busy) status = DSM_LOCK_TIMEOUT;
  if (status == DSM_OK) status = claim(call, entry, build);
  dsm_registry_drop(call);
  return status;
}

dsm_status dsm_array_publish(dsm_call *call, uint32_t index, uint64_t build) {
  dsm_array_entry_shm *entry = entry_of(call->space, index);
  DSM_TRY(dsm_registry_take(call));
  word_write(call->space, &entry->last, dsm_array_current(call->space, index));
  DSM_CRASH_POINT("directory.last");
  word_write(call->space, &entry->current, build);
  DSM_CRASH_POINT("directory.published");
  dsm_registry_drop(call);
  return DSM_OK;
}

dsm_status dsm_array_settle(dsm_call *call, uint32_t entry) {
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = DSM_OK;
  if (dsm_load_relaxed_u64(&entry_of(call->space, entry)->worker) == dsm_array_self(call->space))
    status = settle_locked(call, entry);
  dsm_registry_drop(call);
  return status;
}

uint64_t dsm_array_current(const dsm_space *space, uint32_t entry) {
  bool ok = true;
  uint64_t build = word_read(space, &entry_of(space, entry)->current, &ok);
  return ok ? build : 0;
}

bool dsm_array_entry_name(const dsm_space *space, uint32_t entry, char *name,
                          uint32_t *name_bytes) {
  const dsm_array_entry_shm *found = entry_of(space, entry);
  if (!dsm_array_current(space, entry) || !name_holds(found)) return false;
  memcpy(name, found->name, found->name_bytes);
  *name_bytes = found->name_bytes;
  return true;
}

void dsm_array_note_lost(const dsm_space *space, uint32_t entry, uint64_t number) {
  dsm_atomic_u32 *noted = &entry_of(space, entry)->noted;
  if (dsm_exchange_acq_rel_u32(noted, (uint32_t)number) != (uint32_t)number)
    dsm_fetch_add_relaxed_u64(&dsm_space_arrays(space)->lost, 1);
}

void dsm_array_note_mended(const dsm_space *space, uint64_t copies) {
  if (copies) dsm_fetch_add_relaxed_u64(&dsm_space_arrays(space)->mended, copies);
}

dsm_status dsm_array_settle_dead(dsm_call *call) {
  uint32_t high = dsm_array_entries(call->space);
  for (uint32_t i = 0; i < high; i++) {
    dsm_os_process process;
    uint64_t worker = dsm_load_acquire_u64(&entry_of(call->space, i)->worker);
    if (worker == 0 || dsm_array_alive(call->space, worker, &process)) continue;
    bool busy;
    DSM_TRY(dsm_registry_take(call));
    dsm_status status = settle_if_dead(call, i, &busy);
    dsm_registry_drop(call);
    DSM_TRY(status);
  }
  return DSM_OK;
}

void dsm_array_unlink_all(const dsm_space *space) {
  uint32_t high = dsm_array_entries(space);
  for (uint32_t i = 0; i < high; i++) {
    const dsm_array_entry_shm *entry = entry_of(space, i);
    bool ok = true;
    uint64_t builds[3] = {word_read(space, &entry->current, &ok),
                          word_read(space, &entry->next, &ok), word_read(space, &entry->last, &ok)};
    for (unsigned word = 0; word < 3; word++)
      if (builds[word]) dsm_array_unlink(space, builds[word]);
  }
}
