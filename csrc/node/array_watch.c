/* The looks. */
#include "array_watch.h"

#include <string.h>

#include "../store/array_directory.h"
#include "../store/array_heal.h"
#include "../store/array_scrub.h"

#define LOOKS 64u /* arrays per look, so that many of them cost no more at once */
#define PAUSE_NS 1000000000u
#define PAUSE_FACTOR 10u
#define ROUND_PAUSE_NS 10000000000ull /* between two rounds of scrubbing */
#define LAG_NS_MAX 200000000u         /* pace that was not used is not saved for long */

static void heal(dsm_array_seen *seen, dsm_call *call, uint32_t entry, uint64_t number) {
  dsm_array_healed done;
  uint64_t began_ns = dsm_os_monotonic_ns();
  if (began_ns < seen->again_ns || call->space->config.detection.recovery == DSM_RECOVERY_NONE)
    return;
  dsm_status status = dsm_array_heal(call, entry, number, &done);
  uint64_t now_ns = dsm_os_monotonic_ns();
  if (status == DSM_NO_REPLICAS) *seen = (dsm_array_seen){.number = number};
  if (status == DSM_OK || status == DSM_RETRY || status == DSM_NO_REPLICAS) return;
  seen->again_ns = now_ns + PAUSE_NS + PAUSE_FACTOR * (now_ns - began_ns);
}

static void look(dsm_array_seen *seen, dsm_call *call, uint32_t entry) {
  dsm_array array;
  uint64_t number = dsm_array_current(call->space, entry);
  if (!number || (seen->number == number && seen->copies == 0)) return;
  if (seen->number == number && dsm_array_named(call->space, number, seen->copies, seen->bytes))
    return;
  dsm_status status = dsm_array_look(call, entry, number, &array);
  bool sound = status == DSM_OK && array.lost == 0 && array.unnamed == 0 &&
               (dsm_array_words_hold(&array) || dsm_array_words_hold(&array));
  if (sound) {
    *seen = (dsm_array_seen){
        .number = number, .bytes = array.segments[0].bytes, .copies = array.geometry.copies};
  }
  if (status == DSM_OK) dsm_array_close(&array);
  if (!sound && status != DSM_RETRY) heal(seen, call, entry, number);
}

void dsm_array_watch_look(dsm_array_watch *watch, dsm_cluster *cluster, bool deep,
                          const dsm_atomic_u32 *stop) {
  dsm_space *space = &cluster->space;
  uint32_t entries = dsm_array_entries(space);
  if (deep) memset(watch->seen, 0, sizeof watch->seen);
  for (uint32_t looks = 0; looks < entries && (deep || looks < LOOKS); looks++) {
    if (dsm_load_acquire_u32(stop) == 1 || !dsm_cluster_running(cluster)) return;
    if (++watch->next >= entries) watch->next = 0;
    dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
    look(&watch->seen[watch->next], &call, watch->next);
  }
}

void dsm_array_watch_close(dsm_array_watch *watch) {
  if (watch->mapped) dsm_array_close(&watch->array);
  watch->mapped = false;
}

/* The next array, or a pause after the last. */
static void turn(dsm_array_watch *watch, dsm_space *space) {
  dsm_array_watch_close(watch);
  watch->tile = 0;
  if (++watch->entry < dsm_array_entries(space)) return;
  watch->entry = 0;
  watch->scrub_at_ns = dsm_os_monotonic_ns() + ROUND_PAUSE_NS;
  dsm_fetch_add_relaxed_u64(&dsm_space_arrays(space)->rounds, 1);
}

/* Maps the array of the entry, if there is one and it is sound; others are for the looks. */
static bool map(dsm_array_watch *watch, dsm_call *call) {
  if (watch->mapped && dsm_array_meant(call->space, &watch->array)) return true;
  dsm_array_watch_close(watch);
  watch->tile = 0;
  uint64_t number = dsm_array_current(call->space, watch->entry);
  watch->mapped = number && dsm_array_open(call, watch->entry, number, &watch->array) == DSM_OK;
  if (watch->mapped && dsm_array_trusted(&watch->array) && !dsm_array_words_hold(&watch->array))
    memset(watch->seen, 0, sizeof watch->seen); /* the next look heals it */
  return watch->mapped;
}

void dsm_array_watch_scrub(dsm_array_watch *watch, dsm_cluster *cluster, uint64_t rate) {
  dsm_space *space = &cluster->space;
  uint64_t now_ns = dsm_os_monotonic_ns();
  dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
  bool mended;
  if (now_ns < watch->scrub_at_ns || dsm_array_entries(space) == 0) return;
  if (watch->scrub_at_ns + LAG_NS_MAX < now_ns) watch->scrub_at_ns = now_ns;
  if (!map(watch, &call) || watch->tile >= watch->array.geometry.tile_count) {
    turn(watch, space);
    return;
  }
  uint64_t bytes = dsm_array_scrub_tile(&call, &watch->array, watch->tile++, &mended);
  dsm_fetch_add_relaxed_u64(&dsm_space_arrays(space)->scrubbed, bytes);
  watch->scrub_at_ns += bytes * 1000000000u / rate;
}
