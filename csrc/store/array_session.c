/* Claiming a session, taking tiles, waiting for others, releasing. */
#include "array_session.h"

#include "../base/crash.h"
#include "array_directory.h"
#include "array_phase.h"

#define SPIN_ROUNDS 400

dsm_array_block dsm_array_block_make(const dsm_array *array, uint64_t low, uint64_t high) {
  dsm_array_block block = {.session = DSM_ARRAY_NO_SESSION, .low = low, .high = high, .first = 1};
  if (low >= high || high > array->geometry.data_bytes) return block;
  block.first = low / array->geometry.tile_bytes;
  block.last = (high - 1) / array->geometry.tile_bytes;
  return block;
}

uint32_t dsm_array_sessions(const dsm_array *array) {
  uint32_t high = dsm_load_acquire_u32(&dsm_array_header(array, 0)->sessions_high);
  return high < DSM_ARRAY_SESSIONS ? high : DSM_ARRAY_SESSIONS;
}

static void raise_high(const dsm_array *array, uint32_t session) {
  dsm_atomic_u32 *word = &dsm_array_header(array, 0)->sessions_high;
  uint32_t high = dsm_load_relaxed_u32(word);
  while (high < session + 1 && !dsm_cas_acq_rel_u32(word, &high, session + 1)) continue;
}

static bool claim_free(const dsm_array *array, dsm_array_block *block, uint32_t pid) {
  for (uint32_t i = 0; i < DSM_ARRAY_SESSIONS; i++) {
    dsm_array_session_shm *session = dsm_array_session(array, i);
    uint64_t expected = 0;
    if (dsm_load_relaxed_u64(&session->owner) != 0 ||
        !dsm_cas_acq_rel_u64(&session->owner, &expected, block->owner))
      continue;
    DSM_CRASH_POINT("session.owned");
    raise_high(array, i);
    dsm_store_relaxed_u32(&session->pid, pid);
    dsm_store_relaxed_u64(&session->first, block->first);
    dsm_store_relaxed_u64(&session->last, block->last);
    dsm_store_relaxed_u64(&session->low, block->low);
    dsm_store_relaxed_u64(&session->high, block->high);
    dsm_array_phase_next(array, i);
    DSM_CRASH_POINT("session.claimed");
    block->session = i;
    return true;
  }
  return false;
}

static dsm_status claim(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  if (block->session != DSM_ARRAY_NO_SESSION) return DSM_OK;
  block->owner = dsm_array_self(call->space);
  block->taken = 0;
  uint32_t pid =
      dsm_load_relaxed_u32(&dsm_space_participant(call->space, call->space->participant)->pid);
  if (claim_free(array, block, pid)) return DSM_OK;
  DSM_TRY(dsm_array_recover_all(call, array));
  if (claim_free(array, block, pid)) return DSM_OK;
  return dsm_fail(call, DSM_TOO_MANY, "open blocks of an array", -1, -1, DSM_ARRAY_SESSIONS, 0);
}

/* Whom we wait for, for the message. */
static dsm_status timed_out(dsm_call *call, const dsm_array *array, uint32_t holder,
                            const char *what, uint64_t tile) {
  dsm_os_process process;
  dsm_array_alive(call->space, dsm_load_acquire_u64(&dsm_array_session(array, holder)->owner),
                  &process);
  dsm_fail(call, DSM_LOCK_TIMEOUT, what, -1, -1, tile, call->wait_ms);
  call->fault.process = process;
  return DSM_LOCK_TIMEOUT;
}

static bool is_dead(const dsm_call *call, const dsm_array *array, uint32_t holder) {
  dsm_os_process process;
  uint64_t owner = dsm_load_acquire_u64(&dsm_array_session(array, holder)->owner);
  return owner != 0 && !dsm_array_alive(call->space, owner, &process);
}

static uint64_t deadline(const dsm_call *call) {
  return dsm_os_monotonic_ns() + (uint64_t)call->wait_ms * 1000000u;
}

/* Waits until the lock word is no longer `word`: a spin, then a sleep until the deadline. Deals
 * with a dead holder. DSM_OK: look again. */
static dsm_status await_tile(dsm_call *call, const dsm_array *array, uint64_t tile, uint32_t word,
                             uint64_t until) {
  dsm_atomic_u32 *lock = &dsm_array_tile(array, tile)->lock;
  uint32_t holder = (word & ~DSM_ARRAY_AWAITED) - 1;
  if (holder >= DSM_ARRAY_SESSIONS)
    return dsm_fail(call, DSM_CORRUPT, "lock of a tile", -1, -1, tile, word);
  for (int round = 0; round < SPIN_ROUNDS; round++) {
    if (dsm_load_relaxed_u32(lock) != word) return DSM_OK;
    dsm_cpu_relax();
  }
  if (is_dead(call, array, holder)) return dsm_array_recover(call, array, holder);
  uint64_t now = dsm_os_monotonic_ns();
  if (now >= until) return timed_out(call, array, holder, "tile of an array is held", tile);
  if (!(word & DSM_ARRAY_AWAITED) && !dsm_cas_acq_rel_u32(lock, &word, word | DSM_ARRAY_AWAITED))
    return DSM_OK;
  uint64_t left_us = (until - now) / 1000 + 1;
  uint32_t slice_us = DSM_LOCK_SLICE_MS * 1000;
  dsm_os_word_wait(lock, word | DSM_ARRAY_AWAITED,
                   left_us < slice_us ? (uint32_t)left_us : slice_us);
  return DSM_OK;
}

static dsm_status take_tile(dsm_call *call, const dsm_array *array, const dsm_array_block *block,
                            uint64_t tile) {
  dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  uint64_t until = deadline(call);
  uint32_t awaited = 0;
  for (;;) {
    uint32_t word = dsm_load_acquire_u32(&words->lock);
    if ((word & ~DSM_ARRAY_AWAITED) != 0) {
      awaited = DSM_ARRAY_AWAITED;
      DSM_TRY(await_tile(call, array, tile, word, until));
      continue;
    }
    /* Who has slept cannot know whether others still do, so it keeps the mark for the release. */
    uint32_t mine = (block->session + 1) | awaited | (word & DSM_ARRAY_AWAITED);
    if (dsm_cas_acq_rel_u32(&words->lock, &word, mine)) break;
  }
  DSM_CRASH_POINT("tile.locked");
  bool sound = dsm_array_stamp_raise(array, tile, true);
  DSM_CRASH_POINT("tile.stamped");
  if (sound || block->holds) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "stamp of a tile does not verify", -1, -1, tile, 0);
}

static dsm_status check_torn(dsm_call *call, const dsm_array *array, const dsm_array_block *block) {
  if (block->accepts_torn || block->holds) return DSM_OK;
  for (uint64_t tile = block->first; tile <= block->last; tile++) {
    uint32_t torn = dsm_load_acquire_u32(&dsm_array_tile(array, tile)->torn);
    if (torn) return dsm_fail(call, DSM_TORN, "torn tile", -1, -1, tile, torn);
  }
  return DSM_OK;
}

/* With the tiles held: whether anything may begin here. Who only holds others off needs no sound
 * primary. */
static dsm_status check_meant(dsm_call *call, const dsm_array *array,
                              const dsm_array_block *block) {
  if (!dsm_array_meant(call->space, array)) return DSM_RETRY;
  if (block->holds || dsm_array_trusted(array)) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "primary of an array", -1, -1, array->number, 0);
}

/* Readers that were here before our locks: they are waited for; later ones wait for us. */
static dsm_status await_readers(dsm_call *call, const dsm_array *array,
                                const dsm_array_block *block) {
  uint64_t until = deadline(call);
  dsm_fence_seq_cst();
  for (uint32_t i = 0; i < dsm_array_sessions(array); i++) {
    dsm_array_session_shm *reader = dsm_array_session(array, i);
    while (i != block->session) {
      uint64_t state, now;
      dsm_array_phase phase = dsm_array_phase_read(array, i, &state);
      if (phase != DSM_ARRAY_READING || dsm_load_relaxed_u64(&reader->first) > block->last ||
          dsm_load_relaxed_u64(&reader->last) < block->first)
        break;
      if (is_dead(call, array, i)) {
        DSM_TRY(dsm_array_recover(call, array, i));
        continue;
      }
      now = dsm_os_monotonic_ns();
      if (now >= until)
        return timed_out(call, array, i, "tile of an array is being read", block->first);
      uint64_t left_us = (until - now) / 1000 + 1;
      uint32_t slice_us = DSM_LOCK_SLICE_MS * 1000;
      dsm_os_word_wait((const dsm_atomic_u32 *)(const void *)&reader->state, (uint32_t)state,
                       left_us < slice_us ? (uint32_t)left_us : slice_us);
    }
  }
  return DSM_OK;
}

static dsm_status write_begin(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  DSM_TRY(claim(call, array, block));
  for (; block->taken <= block->last - block->first; block->taken++)
    DSM_TRY(take_tile(call, array, block, block->first + block->taken));
  DSM_TRY(check_meant(call, array, block));
  DSM_TRY(await_readers(call, array, block));
  DSM_TRY(check_torn(call, array, block));
  return block->holds ? DSM_OK : dsm_array_image(call, array, block);
}

dsm_status dsm_array_write_begin(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  if (block->first > block->last) return check_meant(call, array, block);
  dsm_status status = write_begin(call, array, block);
  if (status != DSM_OK && status != DSM_LOCK_TIMEOUT) dsm_array_cancel(call, array, block);
  return status;
}

/* DSM_OK if no tile is held by a writer, now that we are announced. */
static dsm_status look_at_tiles(dsm_call *call, const dsm_array *array,
                                const dsm_array_block *block, uint64_t until) {
  for (uint64_t tile = block->first; tile <= block->last; tile++) {
    uint32_t word = dsm_load_acquire_u32(&dsm_array_tile(array, tile)->lock);
    if ((word & ~DSM_ARRAY_AWAITED) == 0) continue;
    /* Withdrawn first: the writer may be waiting for us. */
    dsm_array_phase_set(array, block->session, DSM_ARRAY_CLAIMED);
    dsm_array_session_wake(array, block->session);
    dsm_status status = await_tile(call, array, tile, word, until);
    return status == DSM_OK ? DSM_RETRY : status;
  }
  return DSM_OK;
}

static dsm_status read_begin(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  DSM_TRY(claim(call, array, block));
  uint64_t until = deadline(call);
  dsm_status status;
  do {
    dsm_array_phase_set(array, block->session, DSM_ARRAY_READING);
    DSM_CRASH_POINT("session.reading");
    dsm_fence_seq_cst();
    status = look_at_tiles(call, array, block, until);
  } while (status == DSM_RETRY);
  DSM_TRY(status);
  DSM_TRY(check_meant(call, array, block));
  return check_torn(call, array, block);
}

dsm_status dsm_array_read_begin(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  if (block->first > block->last) return check_meant(call, array, block);
  dsm_status status = read_begin(call, array, block);
  if (status != DSM_OK && status != DSM_LOCK_TIMEOUT) dsm_array_cancel(call, array, block);
  return status;
}

void dsm_array_cancel(dsm_call *call, const dsm_array *array, dsm_array_block *block) {
  (void)call;
  if (block->session == DSM_ARRAY_NO_SESSION) return;
  dsm_array_release(array, block->session, block->first, block->last);
  block->session = DSM_ARRAY_NO_SESSION;
}
