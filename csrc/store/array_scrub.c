/* Hashing, judging and mending a tile. */
#include "array_scrub.h"

#include "../base/crash.h"
#include "../base/hash.h"
#include "array_directory.h"
#include "array_session.h"
#include "page_diff.h"

typedef struct extent {
  uint64_t low, bytes;
} extent;

static extent extent_of(const dsm_array *array, uint64_t tile) {
  uint64_t low = tile * array->geometry.tile_bytes, left = array->geometry.data_bytes - low;
  return (extent){low, left < array->geometry.tile_bytes ? left : array->geometry.tile_bytes};
}

static uint64_t hash_of(const dsm_array *array, uint32_t copy, extent where) {
  return dsm_hash64(dsm_array_data(array, copy) + where.low, where.bytes, array->geometry.build);
}

/* Binds a hash to its stamp, so that a pair that was not stored together is none. */
static uint64_t bound(uint64_t stamp, uint64_t sum) {
  uint64_t pair[2] = {stamp, sum};
  return dsm_hash64(pair, sizeof pair, 0x53554Dull);
}

static bool sum_known(const dsm_array *array, uint64_t tile, uint64_t stamp, uint64_t *sum) {
  const dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  *sum = dsm_load_acquire_u64(&words->sum);
  return dsm_load_acquire_u64(&words->sum_bound) == bound(stamp, *sum);
}

static void sum_settle(const dsm_array *array, uint64_t tile, uint64_t stamp, uint64_t sum) {
  dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  dsm_store_release_u64(&words->sum, sum);
  dsm_store_release_u64(&words->sum_bound, bound(stamp, sum));
}

void dsm_array_sum_carry(const dsm_array *array, uint64_t tile) {
  dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  uint64_t salt = dsm_array_tile_salt(array, tile), sum;
  bool ok;
  if (dsm_load_relaxed_u64(&words->sum_bound) == 0) return;
  uint64_t value = dsm_unseal(dsm_load_relaxed_u64(&words->stamp), salt, &ok);
  uint64_t before = dsm_seal(value & 1 ? value - 1 : value, salt);
  if (ok && sum_known(array, tile, before, &sum))
    dsm_store_release_u64(&words->sum_bound, bound(dsm_seal((value | 1) + 1, salt), sum));
}

static bool equal(const dsm_array *array, uint32_t left, uint32_t right, extent where) {
  return dsm_page_diff_count(dsm_array_data(array, left) + where.low,
                             dsm_array_data(array, right) + where.low, where.bytes) == 0;
}

int dsm_array_tile_best(const dsm_array *array, uint64_t tile, uint64_t stamp) {
  extent where = extent_of(array, tile);
  uint32_t replicas = array->geometry.replicas;
  uint64_t sum;
  bool agree = true;
  for (uint32_t copy = 1; copy < replicas; copy++)
    agree &= !dsm_array_usable(array, copy) || equal(array, 0, copy, where);
  if (agree) return -1;
  if (sum_known(array, tile, stamp, &sum))
    for (uint32_t copy = 0; copy < replicas; copy++)
      if (dsm_array_usable(array, copy) && hash_of(array, copy, where) == sum) return (int)copy;
  for (uint32_t copy = 0; copy < replicas; copy++)
    for (uint32_t other = copy + 1; other < replicas; other++)
      if (dsm_array_usable(array, copy) && dsm_array_usable(array, other) &&
          equal(array, copy, other, where))
        return (int)copy;
  return 0;
}

bool dsm_array_tile_mend(dsm_call *call, const dsm_array *array, uint64_t tile, int *best) {
  extent where = extent_of(array, tile);
  uint64_t salt = dsm_array_tile_salt(array, tile);
  dsm_array_block block = dsm_array_block_make(array, where.low, where.low + where.bytes);
  bool ok;
  *best = -1;
  block.holds = true;
  if (dsm_array_write_begin(call, array, &block) != DSM_OK) {
    dsm_array_cancel(call, array, &block);
    return false;
  }
  uint64_t held = dsm_unseal(dsm_load_relaxed_u64(&dsm_array_tile(array, tile)->stamp), salt, &ok);
  uint64_t before = dsm_seal(held - 1, salt); /* when nobody held it, taking it raised it by one */
  if (ok && dsm_array_trusted(array) && !dsm_array_is_raw(array))
    *best = dsm_array_tile_best(array, tile, before);
  for (uint32_t copy = 0; *best >= 0 && copy < array->geometry.replicas; copy++) {
    if (copy == (uint32_t)*best || !dsm_array_usable(array, copy)) continue;
    dsm_page_diff_copy(dsm_array_data(array, copy) + where.low,
                       dsm_array_data(array, (uint32_t)*best) + where.low, where.bytes);
    DSM_CRASH_POINT("scrub.tile");
  }
  dsm_array_cancel(call, array, &block);
  return *best >= 0;
}

uint64_t dsm_array_scrub_tile(dsm_call *call, const dsm_array *array, uint64_t tile, bool *mended) {
  extent where = extent_of(array, tile);
  dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  uint64_t stamp = dsm_load_acquire_u64(&words->stamp), known;
  bool ok;
  int best;
  *mended = false;
  uint64_t value = dsm_unseal(stamp, dsm_array_tile_salt(array, tile), &ok);
  if (!ok || (value & 1) || array->geometry.replicas < 2 || dsm_array_is_raw(array)) return 64;
  uint64_t sum = hash_of(array, 0, where);
  bool agree = true;
  for (uint32_t copy = 1; copy < array->geometry.replicas; copy++)
    agree &= equal(array, 0, copy, where);
  dsm_fence_acquire();
  if (dsm_load_relaxed_u64(&words->stamp) != stamp || dsm_array_is_raw(array) ||
      !dsm_array_trusted(array) || !dsm_array_meant(call->space, array))
    return where.bytes; /* somebody wrote: the next round looks again */
  if (agree && !(sum_known(array, tile, stamp, &known) && known == sum))
    sum_settle(array, tile, stamp, sum);
  if (!agree) *mended = dsm_array_tile_mend(call, array, tile, &best);
  if (*mended) dsm_array_note_mended(call->space, 1);
  return where.bytes * array->geometry.replicas;
}
