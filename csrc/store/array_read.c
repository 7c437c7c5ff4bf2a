/* Collect, copy, collect again. */
#include "array_read.h"

#include <stdlib.h>

#include "../base/copy.h"
#include "../base/crash.h"
#include "array_directory.h"
#include "array_session.h"

typedef struct seen {
  uint32_t holder; /* session + 1, or 0 */
  uint64_t stamp, state;
} seen;

static seen look(const dsm_array *array, uint64_t tile) {
  const dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  seen found = {.stamp = dsm_load_acquire_u64(&words->stamp)};
  found.holder = dsm_load_acquire_u32(&words->lock) & ~DSM_ARRAY_AWAITED;
  if (found.holder >= 1 && found.holder <= DSM_ARRAY_SESSIONS)
    found.state = dsm_load_acquire_u64(&dsm_array_session(array, found.holder - 1)->state);
  return found;
}

static bool same(seen left, seen right) {
  return left.holder == right.holder && left.stamp == right.stamp && left.state == right.state;
}

/* Bytes of the tile that must come from the image, a copy: [*from, *to), empty if none. */
static dsm_status image_range(dsm_call *call, const dsm_array *array, uint64_t tile, seen found,
                              uint32_t *image, uint64_t *from, uint64_t *to) {
  uint64_t state;
  *from = *to = *image = 0;
  if (found.holder == 0) return DSM_OK;
  if (found.holder > DSM_ARRAY_SESSIONS)
    return dsm_fail(call, DSM_CORRUPT, "lock of a tile", -1, -1, tile, found.holder);
  uint32_t holder = found.holder - 1;
  dsm_array_phase phase = dsm_array_phase_read(array, holder, &state);
  if (phase == DSM_ARRAY_PHASES)
    return dsm_fail(call, DSM_CORRUPT, "session of an array does not verify", -1, -1, holder,
                    state);
  if (state != found.state) return DSM_RETRY;
  if (phase != DSM_ARRAY_WRITING && phase != DSM_ARRAY_RESTORING) return DSM_OK;
  *image = dsm_array_image_copy(array);
  if (*image == 0) return DSM_LOCK_TIMEOUT;
  const dsm_array_session_shm *session = dsm_array_session(array, holder);
  *from = dsm_load_relaxed_u64(&session->low);
  *to = dsm_load_relaxed_u64(&session->high);
  return DSM_OK;
}

static uint64_t least(uint64_t left, uint64_t right) {
  return left < right ? left : right;
}

static uint64_t most(uint64_t left, uint64_t right) {
  return left > right ? left : right;
}

/* Copies the tile's part of [low, high): the image where it counts, the primary around it. */
static void copy_tile(const dsm_array *array, uint64_t low, uint64_t high, uint32_t copy,
                      uint64_t from, uint64_t to, uint8_t *target) {
  const uint8_t *primary = dsm_array_data(array, 0), *image = dsm_array_data(array, copy);
  from = least(most(from, low), high);
  to = least(most(to, from), high);
  dsm_copy_out(target, primary + low, from - low);
  if (to > from) dsm_copy_out(target + (from - low), image + from, to - from);
  dsm_copy_out(target + (to - low), primary + to, high - to);
}

static dsm_status copy_tiles(dsm_call *call, const dsm_array *array, uint64_t low, uint64_t high,
                             const seen *before, uint8_t *target) {
  uint64_t tile_bytes = array->geometry.tile_bytes, first = low / tile_bytes;
  uint32_t image;
  for (uint64_t at = low; at < high;) {
    uint64_t tile = at / tile_bytes, end = least((tile + 1) * tile_bytes, high), from, to;
    DSM_TRY(image_range(call, array, tile, before[tile - first], &image, &from, &to));
    copy_tile(array, at, end, image, from, to, target + (at - low));
    if (image && dsm_array_header(array, image)->magic != DSM_ARRAY_MAGIC) return DSM_RETRY;
    at = end;
  }
  return DSM_OK;
}

static dsm_status check_torn(dsm_call *call, const dsm_array *array, uint64_t first,
                             uint64_t last) {
  for (uint64_t tile = first; tile <= last; tile++) {
    uint32_t torn = dsm_load_acquire_u32(&dsm_array_tile(array, tile)->torn);
    if (torn) return dsm_fail(call, DSM_TORN, "torn tile", -1, -1, tile, torn);
  }
  return DSM_OK;
}

/* What was copied is the array's, from copies that were its own all the time: numbers never repeat,
 * and a primary that was lost has no magic, or none of its words. */
static dsm_status check_trusted(dsm_call *call, const dsm_array *array, const seen *before,
                                uint64_t first, uint64_t last) {
  if (!dsm_array_meant(call->space, array)) return DSM_RETRY;
  bool ok = dsm_array_trusted(array);
  for (uint64_t tile = first; tile <= last && ok; tile++)
    dsm_unseal(before[tile - first].stamp, dsm_array_tile_salt(array, tile), &ok);
  return ok ? DSM_OK : dsm_fail(call, DSM_CORRUPT, "primary of an array", -1, -1, first, last);
}

dsm_status dsm_array_snapshot_try(dsm_call *call, const dsm_array *array, uint64_t low,
                                  uint64_t high, void *target) {
  if (low >= high) return DSM_OK;
  uint64_t first = low / array->geometry.tile_bytes;
  uint64_t last = (high - 1) / array->geometry.tile_bytes;
  seen brief[64], *before = brief;
  if (last - first >= 64) before = malloc((last - first + 1) * sizeof *before);
  if (!before) return DSM_OS;
  for (uint64_t tile = first; tile <= last; tile++) before[tile - first] = look(array, tile);
  dsm_status status = copy_tiles(call, array, low, high, before, target);
  DSM_CRASH_POINT("array.snapshot");
  dsm_fence_acquire();
  for (uint64_t tile = first; tile <= last && status == DSM_OK; tile++)
    if (!same(before[tile - first], look(array, tile))) status = DSM_RETRY;
  if (status == DSM_OK) status = check_trusted(call, array, before, first, last);
  if (status == DSM_OK) status = check_torn(call, array, first, last);
  if (before != brief) free(before);
  return status;
}

uint64_t dsm_array_tile_version(const dsm_array *array, uint64_t tile) {
  bool ok;
  uint64_t raw = dsm_load_acquire_u64(&dsm_array_tile(array, tile)->stamp);
  return dsm_unseal(raw, dsm_array_tile_salt(array, tile), &ok) >> 1;
}

void dsm_array_usage_read(const dsm_array *array, dsm_array_usage *out) {
  *out = (dsm_array_usage){0};
  for (uint32_t i = 0; i < dsm_array_sessions(array); i++) {
    uint64_t state;
    dsm_array_phase phase = dsm_array_phase_read(array, i, &state);
    if (phase == DSM_ARRAY_READING)
      out->readers++;
    else if (phase != DSM_ARRAY_FREE)
      out->writers++;
  }
  for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++)
    out->torn += dsm_load_relaxed_u32(&dsm_array_tile(array, tile)->torn) != 0;
}
