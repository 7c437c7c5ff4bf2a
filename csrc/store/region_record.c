/* Verifying and restoring the records of regions. */
#include "region_record.h"

#include "../base/copy.h"
#include "../base/crash.h"

const dsm_region_shm *dsm_region_record(const dsm_space *space, uint32_t region) {
  dsm_region_shm *record = dsm_space_region(space, region);
  if (DSM_LIKELY(dsm_region_record_holds(record))) return record;
  for (uint32_t node = 0; node < space->node_count; node++) {
    const dsm_region_shm *copy = dsm_space_node_region(space, node, region);
    if (!dsm_region_record_holds(copy)) continue;
    dsm_copy_in(record, copy, sizeof *record);
    DSM_CRASH_POINT("region.restored");
    return dsm_region_record_holds(record) ? record : NULL;
  }
  return NULL;
}

void dsm_region_record_copy(const dsm_space *space, uint32_t region) {
  for (uint32_t node = 0; node < space->node_count; node++) {
    dsm_copy_in(dsm_space_node_region(space, node, region), dsm_space_region(space, region),
                sizeof(dsm_region_shm));
    DSM_CRASH_POINT("region.copied");
  }
}

dsm_status dsm_region_count(dsm_call *call, uint64_t *count) {
  const dsm_space *space = call->space;
  bool ok;
  dsm_atomic_u64 *word = &dsm_space_control(space)->region_count;
  dsm_locator locator = dsm_space_locator(space, DSM_CONTROL_SEGMENT, word);
  uint64_t raw = dsm_load_acquire_u64(word);
  *count = dsm_unseal(raw, locator, &ok);
  if (DSM_LIKELY(ok && *count <= DSM_REGIONS_MAX)) return DSM_OK;
  for (*count = 0; *count < DSM_REGIONS_MAX; ++*count)
    if (!dsm_region_record(space, (uint32_t)*count)) break;
  if (*count == 0)
    return dsm_fail(call, DSM_CORRUPT, "count of regions does not verify", -1, -1, raw, 0);
  dsm_cas_acq_rel_u64(word, &raw, dsm_seal(*count, locator));
  return DSM_OK;
}
