/* Images, publishing, restoring, releasing; and the recovery that is made of them. */
#include "array_phase.h"

#include "../base/crash.h"
#include "array_directory.h"
#include "array_scrub.h"
#include "page_diff.h"

#define STATE_SERIAL_SHIFT 4
#define STATE_SERIAL_MASK (DSM_SEAL_VALUE_MASK >> STATE_SERIAL_SHIFT)

dsm_array_phase dsm_array_phase_read(const dsm_array *array, uint32_t session, uint64_t *state) {
  bool ok;
  *state = dsm_load_acquire_u64(&dsm_array_session(array, session)->state);
  uint64_t value = dsm_unseal(*state, dsm_array_session_salt(array, session), &ok);
  dsm_array_phase phase = (dsm_array_phase)(value & ((1u << STATE_SERIAL_SHIFT) - 1));
  return ok && phase < DSM_ARRAY_PHASES ? phase : DSM_ARRAY_PHASES;
}

static void state_store(const dsm_array *array, uint32_t session, uint64_t serial,
                        dsm_array_phase phase) {
  uint64_t value = (serial & STATE_SERIAL_MASK) << STATE_SERIAL_SHIFT | phase;
  dsm_store_seq_cst_u64(&dsm_array_session(array, session)->state,
                        dsm_seal(value, dsm_array_session_salt(array, session)));
}

static uint64_t serial_of(const dsm_array *array, uint32_t session) {
  bool ok;
  uint64_t raw = dsm_load_relaxed_u64(&dsm_array_session(array, session)->state);
  return dsm_unseal(raw, dsm_array_session_salt(array, session), &ok) >> STATE_SERIAL_SHIFT;
}

void dsm_array_phase_next(const dsm_array *array, uint32_t session) {
  state_store(array, session, serial_of(array, session) + 1, DSM_ARRAY_CLAIMED);
}

void dsm_array_phase_set(const dsm_array *array, uint32_t session, dsm_array_phase phase) {
  state_store(array, session, serial_of(array, session), phase);
}

void dsm_array_session_wake(const dsm_array *array, uint32_t session) {
  dsm_os_word_wake((const dsm_atomic_u32 *)(const void *)&dsm_array_session(array, session)->state,
                   UINT32_MAX);
}

bool dsm_array_stamp_raise(const dsm_array *array, uint64_t tile, bool held) {
  bool ok;
  dsm_atomic_u64 *word = &dsm_array_tile(array, tile)->stamp;
  uint64_t salt = dsm_array_tile_salt(array, tile);
  uint64_t stamp = dsm_unseal(dsm_load_relaxed_u64(word), salt, &ok);
  if (!ok) return false;
  stamp = held ? (stamp + 1) | 1 : (stamp | 1) + 1;
  dsm_store_seq_cst_u64(word, dsm_seal(stamp & DSM_SEAL_VALUE_MASK, salt));
  return true;
}

/* Memory for the tiles' image, where there is only an image. */
static dsm_status back_image(dsm_call *call, const dsm_array *array, const dsm_array_block *block) {
  const dsm_array_geometry_shm *geometry = &array->geometry;
  for (uint64_t tile = block->first; tile <= block->last; tile++) {
    dsm_atomic_u32 *imaged = &dsm_array_tile(array, tile)->imaged;
    if (dsm_load_relaxed_u32(imaged)) continue;
    uint64_t offset = tile * geometry->tile_bytes;
    uint64_t bytes = geometry->data_bytes - offset;
    if (bytes > geometry->tile_bytes) bytes = geometry->tile_bytes;
    dsm_status status = dsm_os_segment_back(&array->segments[1], array->data + offset, bytes);
    if (status == DSM_STORE_FULL)
      return dsm_fail(call, status, "no room for the undo image of a tile", -1, -1, bytes, 0);
    DSM_TRY(status);
    DSM_CRASH_POINT("array.image_backed");
    dsm_store_release_u32(imaged, 1);
  }
  return DSM_OK;
}

/* Backups equal the primary as long as everybody writes through sessions; once somebody may write
 * beside them, or where copy 1 is only an image, it is made true before the first store. */
dsm_status dsm_array_image(dsm_call *call, const dsm_array *array, const dsm_array_block *block) {
  const dsm_array_geometry_shm *geometry = &array->geometry;
  bool only_image = geometry->replicas == 1;
  if (geometry->undo && only_image) DSM_TRY(back_image(call, array, block));
  if (geometry->undo && (only_image || dsm_load_acquire_u32(&dsm_array_header(array, 0)->raw))) {
    dsm_array_phase_set(array, block->session, DSM_ARRAY_IMAGING);
    DSM_CRASH_POINT("array.imaging");
    dsm_array_copy_out(array, block->low, block->high);
  }
  DSM_CRASH_POINT("array.imaged");
  dsm_array_phase_set(array, block->session, DSM_ARRAY_WRITING);
  DSM_CRASH_POINT("array.writing");
  return DSM_OK;
}

uint64_t dsm_array_copy_out(const dsm_array *array, uint64_t low, uint64_t high) {
  uint64_t pages = 0;
  if (!dsm_array_trusted(array)) return 0;
  for (uint32_t copy = 1; copy < array->geometry.copies; copy++)
    if (dsm_array_usable(array, copy))
      pages += dsm_page_diff_copy(dsm_array_data(array, copy) + low, dsm_array_data(array, 0) + low,
                                  high - low);
  return pages;
}

static void mark(const dsm_array *array, uint32_t copy, uint32_t session) {
  const dsm_array_session_shm *words = dsm_array_session(array, session);
  dsm_array_session_shm *to = dsm_array_mark(array, copy, session);
  dsm_store_relaxed_u64(&to->first, dsm_load_relaxed_u64(&words->first));
  dsm_store_relaxed_u64(&to->last, dsm_load_relaxed_u64(&words->last));
  dsm_store_relaxed_u32(&to->pid, dsm_load_relaxed_u32(&words->pid));
  dsm_store_seq_cst_u64(&to->state,
                        dsm_seal(DSM_ARRAY_PUBLISHING, dsm_array_session_salt(array, session)));
}

bool dsm_array_marked(const dsm_array *array, uint32_t copy, uint32_t session, uint64_t *first,
                      uint64_t *last) {
  const dsm_array_session_shm *from = dsm_array_mark(array, copy, session);
  uint64_t state = dsm_seal(DSM_ARRAY_PUBLISHING, dsm_array_session_salt(array, session));
  if (dsm_load_acquire_u64(&from->state) != state) return false;
  *first = dsm_load_relaxed_u64(&from->first);
  *last = dsm_load_relaxed_u64(&from->last);
  return *first <= *last && *last < array->geometry.tile_count;
}

uint64_t dsm_array_publish_out(const dsm_array *array, uint32_t session) {
  const dsm_array_session_shm *words = dsm_array_session(array, session);
  uint64_t low = dsm_load_relaxed_u64(&words->low), high = dsm_load_relaxed_u64(&words->high);
  uint64_t pages = 0;
  for (uint32_t copy = 1; copy < array->geometry.replicas; copy++) {
    if (!dsm_array_usable(array, copy) || !dsm_array_trusted(array)) continue;
    mark(array, copy, session);
    DSM_CRASH_POINT("array.marked");
    pages += dsm_page_diff_copy(dsm_array_data(array, copy) + low, dsm_array_data(array, 0) + low,
                                high - low);
    dsm_store_release_u64(&dsm_array_mark(array, copy, session)->state, 0);
    DSM_CRASH_POINT("array.unmarked");
  }
  return pages;
}

void dsm_array_replicate(const dsm_array *array) {
  if (array->geometry.replicas > 1) dsm_array_copy_out(array, 0, array->geometry.data_bytes);
}

bool dsm_array_copy_back(const dsm_array *array, uint64_t low, uint64_t high) {
  uint32_t image = dsm_array_image_copy(array);
  if (image == 0) return false;
  dsm_page_diff_copy(dsm_array_data(array, 0) + low, dsm_array_data(array, image) + low,
                     high - low);
  return true;
}

void dsm_array_release(const dsm_array *array, uint32_t session, uint64_t first, uint64_t last) {
  dsm_array_session_shm *words = dsm_array_session(array, session);
  uint64_t state;
  bool wrote = dsm_array_phase_read(array, session, &state) != DSM_ARRAY_CLAIMED;
  for (uint64_t tile = first; tile <= last; tile++) {
    dsm_atomic_u32 *lock = &dsm_array_tile(array, tile)->lock;
    if ((dsm_load_acquire_u32(lock) & ~DSM_ARRAY_AWAITED) != session + 1) continue;
    if (!wrote) dsm_array_sum_carry(array, tile);
    dsm_array_stamp_raise(array, tile, false);
    DSM_CRASH_POINT("tile.released");
    if (dsm_exchange_acq_rel_u32(lock, 0) & DSM_ARRAY_AWAITED) dsm_os_word_wake(lock, 1);
  }
  dsm_array_phase_set(array, session, DSM_ARRAY_FREE);
  dsm_array_session_wake(array, session);
  DSM_CRASH_POINT("session.freed");
  dsm_store_release_u64(&words->owner, 0);
}

static void clear_torn(const dsm_array *array, const dsm_array_block *block) {
  if (!block->accepts_torn) return;
  for (uint64_t tile = block->first; tile <= block->last; tile++)
    dsm_store_release_u32(&dsm_array_tile(array, tile)->torn, 0);
}

/* Without an image nobody knows what the dead writer had stored. */
static void mark_torn(const dsm_array *array, uint32_t session, uint64_t first, uint64_t last) {
  uint32_t pid = dsm_load_relaxed_u32(&dsm_array_session(array, session)->pid);
  for (uint64_t tile = first; tile <= last; tile++) {
    if ((dsm_load_relaxed_u32(&dsm_array_tile(array, tile)->lock) & ~DSM_ARRAY_AWAITED) !=
        session + 1)
      continue;
    dsm_store_release_u32(&dsm_array_tile(array, tile)->torn, pid ? pid : UINT32_MAX);
    DSM_CRASH_POINT("array.torn");
  }
}

/* The primary may have been damaged, or even replaced, while the block was open. Then nothing of it
 * may reach the copies, and its writer is told. */
static bool may_publish(const dsm_call *call, const dsm_array *array,
                        const dsm_array_block *block) {
  uint64_t state;
  return dsm_array_trusted(array) && dsm_array_meant(call->space, array) &&
         dsm_array_phase_read(array, block->session, &state) == DSM_ARRAY_WRITING &&
         dsm_load_relaxed_u64(&dsm_array_session(array, block->session)->owner) == block->owner;
}

static dsm_status refuse(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  dsm_array_cancel(call, array, block);
  return dsm_fail(call, DSM_CORRUPT, "primary of an array was damaged under an open block", -1, -1,
                  array->number, 0);
}

dsm_status dsm_array_write_publish(dsm_call *call, const dsm_array *array, dsm_array_block *block,
                                   uint64_t *pages) {
  *pages = 0;
  if (block->session == DSM_ARRAY_NO_SESSION) return DSM_OK;
  if (!may_publish(call, array, block)) return refuse(call, array, block);
  if (array->geometry.replicas > 1) {
    dsm_array_phase_set(array, block->session, DSM_ARRAY_PUBLISHING);
    DSM_CRASH_POINT("array.publishing");
    *pages = dsm_array_publish_out(array, block->session);
    if (!dsm_array_trusted(array)) return refuse(call, array, block);
  }
  DSM_CRASH_POINT("array.copied");
  clear_torn(array, block);
  dsm_array_phase_set(array, block->session, DSM_ARRAY_DONE);
  DSM_CRASH_POINT("array.done");
  dsm_array_cancel(call, array, block);
  return DSM_OK;
}

dsm_status dsm_array_write_restore(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  if (block->session == DSM_ARRAY_NO_SESSION) return DSM_OK;
  if (!may_publish(call, array, block)) return refuse(call, array, block);
  dsm_array_phase_set(array, block->session, DSM_ARRAY_RESTORING);
  DSM_CRASH_POINT("array.restoring");
  bool restored = dsm_array_copy_back(array, block->low, block->high);
  if (restored)
    clear_torn(array, block);
  else
    mark_torn(array, block->session, block->first, block->last);
  dsm_array_phase_set(array, block->session, DSM_ARRAY_DONE);
  DSM_CRASH_POINT("array.restored");
  dsm_array_cancel(call, array, block);
  return restored ? DSM_OK
                  : dsm_fail(call, DSM_TORN, "no image to restore a block from", -1, -1,
                             block->first, 0);
}

static dsm_status finish(dsm_call *call, const dsm_array *array, uint32_t session) {
  const dsm_array_session_shm *words = dsm_array_session(array, session);
  const dsm_array_geometry_shm *geometry = &array->geometry;
  uint64_t state;
  dsm_array_phase phase = dsm_array_phase_read(array, session, &state);
  uint64_t first = dsm_load_relaxed_u64(&words->first), last = dsm_load_relaxed_u64(&words->last);
  uint64_t low = dsm_load_relaxed_u64(&words->low), high = dsm_load_relaxed_u64(&words->high);
  /* FREE: killed before it had begun or after it had ended; its words may be the former owner's. */
  if (phase == DSM_ARRAY_FREE) last = (first = 1) - 1;
  bool sound = phase == DSM_ARRAY_FREE || (last < geometry->tile_count && first <= last &&
                                           low <= high && high <= geometry->data_bytes);
  if (phase == DSM_ARRAY_PHASES || !sound)
    return dsm_fail(call, DSM_CORRUPT, "session of an array does not verify", -1, -1, session,
                    state);
  bool writing = phase == DSM_ARRAY_WRITING || phase == DSM_ARRAY_RESTORING;
  bool restorable = geometry->undo || phase == DSM_ARRAY_RESTORING;
  bool whole = !writing || (restorable && dsm_array_copy_back(array, low, high));
  if (phase == DSM_ARRAY_IMAGING) dsm_array_copy_out(array, low, high);
  if (phase == DSM_ARRAY_PUBLISHING) dsm_array_publish_out(array, session);
  /* Half of what a doubted primary published is in the copies, and nobody knows the other half. */
  if (phase == DSM_ARRAY_PUBLISHING && !dsm_array_trusted(array)) whole = false;
  if (!whole) mark_torn(array, session, first, last);
  DSM_CRASH_POINT("array.recovered");
  dsm_array_release(array, session, first, last);
  return DSM_OK;
}

dsm_status dsm_array_recover(dsm_call *call, const dsm_array *array, uint32_t session) {
  dsm_os_process process;
  dsm_atomic_u64 *owner = &dsm_array_session(array, session)->owner;
  uint64_t seen = dsm_load_acquire_u64(owner);
  if (seen == 0 || dsm_array_alive(call->space, seen, &process)) return DSM_OK;
  if (!dsm_cas_acq_rel_u64(owner, &seen, dsm_array_self(call->space))) return DSM_OK;
  DSM_CRASH_POINT("session.inherited");
  if (dsm_array_meant(call->space, array)) return finish(call, array, session);
  /* The array was healed since we mapped it: our copies are not its copies. While a dead one's
   * tiles were held it could not be, so nothing is lost by leaving this to others. */
  uint64_t mine = dsm_array_self(call->space);
  dsm_cas_acq_rel_u64(owner, &mine, seen);
  return DSM_RETRY;
}

dsm_status dsm_array_recover_all(dsm_call *call, const dsm_array *array) {
  dsm_status first = DSM_OK;
  for (uint32_t i = 0; i < dsm_array_sessions(array); i++) {
    dsm_status status = dsm_array_recover(call, array, i);
    if (first == DSM_OK) first = status;
  }
  return first;
}

dsm_status dsm_array_release_dead(dsm_call *call) {
  uint32_t entries = dsm_array_entries(call->space);
  if (entries == 0) return DSM_OK;
  dsm_status first = dsm_array_settle_dead(call);
  for (uint32_t i = 0; i < entries; i++) {
    uint64_t build = dsm_array_current(call->space, i);
    dsm_array array;
    /* One that goes meanwhile, or cannot be mapped, has nobody to be released for. */
    if (!build || dsm_array_look(call, i, build, &array) != DSM_OK) continue;
    dsm_status status = dsm_array_usable(&array, 0) ? dsm_array_recover_all(call, &array) : DSM_OK;
    if (first == DSM_OK) first = status;
    dsm_array_close(&array);
  }
  return first;
}
