/* The looks. */
#include "array_watch.h"

#include <string.h>

#include "../store/array_directory.h"
#include "../store/array_heal.h"

#define LOOKS 64u /* arrays per look, so that many of them cost no more at once */
#define PAUSE_NS 1000000000u
#define PAUSE_FACTOR 10u

static void heal(dsm_array_seen *seen, dsm_call *call, uint32_t entry, uint64_t number) {
  dsm_array_healed done;
  uint64_t began_ns = dsm_os_monotonic_ns();
  if (began_ns < seen->again_ns ||
      dsm_space_control(call->space)->config.detection.recovery == DSM_RECOVERY_NONE)
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
