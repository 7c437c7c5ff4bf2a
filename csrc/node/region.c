/* Regions: names, settings and sizes. */
#include "registry.h"

#include <string.h>

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "../store/heal.h"
#include "../store/region_record.h"

/* Index of the region of that name, or `count` if there is none. */
static dsm_status find(dsm_call *call, const char *name, uint32_t name_bytes, uint64_t count,
                       uint32_t *region) {
  for (*region = 0; *region < count; ++*region) {
    const dsm_region_shm *record = dsm_region_record(call->space, *region);
    if (!record)
      return dsm_fail(call, DSM_CORRUPT, "neither the region's record nor a copy verifies", -1, -1,
                      *region, 0);
    if (record->name_bytes == name_bytes && memcmp(record->name, name, name_bytes) == 0)
      return DSM_OK;
  }
  return DSM_OK;
}

static dsm_status create(dsm_call *call, uint32_t region, const char *name, uint32_t name_bytes,
                         const dsm_region_settings *settings) {
  dsm_space *space = call->space;
  uint64_t bytes = (uint64_t)space->stripe_count * 8;
  if (region >= DSM_REGIONS_MAX)
    return dsm_fail(call, DSM_TOO_MANY, "regions of the cluster", -1, -1, DSM_REGIONS_MAX, 0);
  dsm_status status =
      dsm_os_segment_back(&space->control, space->layout.region_counts + region * bytes, bytes);
  if (status == DSM_STORE_FULL)
    return dsm_fail(call, status, "no room for a region's counters", -1, -1, bytes, 0);
  DSM_TRY(status);
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    dsm_atomic_u64 *count = dsm_space_region_count(space, region, stripe);
    dsm_store_relaxed_u64(count, dsm_seal(0, dsm_space_locator(space, DSM_CONTROL_SEGMENT, count)));
  }
  DSM_CRASH_POINT("region.counted");
  dsm_region_shm *record = dsm_space_region(space, region);
  *record = (dsm_region_shm){.replicas = settings->replicas,
                             .allow_pickle = settings->allow_pickle,
                             .name_bytes = name_bytes};
  memcpy(record->name, name, name_bytes);
  record->check = dsm_region_checksum(record);
  dsm_region_record_copy(space, region);
  DSM_CRASH_POINT("region.filled");
  dsm_atomic_u64 *count = &dsm_space_control(space)->region_count;
  dsm_store_release_u64(count,
                        dsm_seal(region + 1, dsm_space_locator(space, DSM_CONTROL_SEGMENT, count)));
  return DSM_OK;
}

static dsm_status open_locked(dsm_call *call, const char *name, uint32_t name_bytes,
                              const dsm_region_settings *settings, bool match, uint32_t *region,
                              dsm_region_settings *actual) {
  uint64_t count;
  DSM_TRY(dsm_region_count(call, &count));
  DSM_TRY(find(call, name, name_bytes, count, region));
  if (*region == count) {
    *actual = *settings;
    return create(call, *region, name, name_bytes, settings);
  }
  const dsm_region_shm *record = dsm_space_region(call->space, *region);
  *actual = (dsm_region_settings){record->replicas, record->allow_pickle};
  if (match && actual->replicas != settings->replicas)
    return dsm_fail(call, DSM_USAGE, "replication_factor", -1, -1, settings->replicas,
                    actual->replicas);
  if (match && actual->allow_pickle != settings->allow_pickle)
    return dsm_fail(call, DSM_USAGE, "allow_pickle", -1, -1, settings->allow_pickle,
                    actual->allow_pickle);
  return DSM_OK;
}

dsm_status dsm_region_open(dsm_call *call, const char *name, uint32_t name_bytes,
                           const dsm_region_settings *settings, bool match, uint32_t *region,
                           dsm_region_settings *actual) {
  if (name_bytes == 0 || name_bytes > DSM_REGION_NAME_BYTES)
    return dsm_fail(call, DSM_USAGE, "bytes of the region's name", -1, -1, name_bytes,
                    DSM_REGION_NAME_BYTES);
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = open_locked(call, name, name_bytes, settings, match, region, actual);
  dsm_registry_drop(call);
  return status;
}

bool dsm_region_name(const dsm_space *space, uint32_t region, char *name, uint32_t *name_bytes) {
  const dsm_region_shm *record = region < DSM_REGIONS_MAX ? dsm_region_record(space, region) : NULL;
  if (!record) return false;
  memcpy(name, record->name, record->name_bytes);
  *name_bytes = record->name_bytes;
  return true;
}

dsm_status dsm_region_length(dsm_call *call, uint32_t region, uint64_t *length) {
  const dsm_space *space = call->space;
  *length = 0;
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    bool ok;
    const dsm_atomic_u64 *count = dsm_space_region_count(space, region, stripe);
    dsm_locator locator = dsm_space_locator(space, DSM_CONTROL_SEGMENT, count);
    uint64_t word = dsm_load_relaxed_u64(count), objects = dsm_unseal(word, locator, &ok);
    if (DSM_UNLIKELY(!ok)) {
      dsm_call own = dsm_call_make(call->space, DSM_LOCK_SLICE_MS);
      dsm_heal(&own, stripe);
      word = dsm_load_relaxed_u64(count);
      objects = dsm_unseal(word, locator, &ok);
    }
    if (!ok)
      return dsm_fail(call, DSM_CORRUPT, "count of the region does not verify", -1, stripe, word,
                      region);
    *length += objects;
  }
  return DSM_OK;
}
