/* Mapping an array, whatever is left of it: by its names, then at processes that still have it. */
#include <string.h>

#include "array.h"
#include "array_directory.h"

/* Maps a copy whose name is gone from a participant that has it open. DSM_LOCK_TIMEOUT if there is
 * one whose files we may not see: it may be writing there, so nobody may do without its copy. */
static dsm_status borrow(dsm_call *call, dsm_array *out, uint32_t copy) {
  const dsm_space *space = call->space;
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  bool hidden = false;
  dsm_array_segment_name(name, space, out->number, copy);
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    uint32_t kind = dsm_load_acquire_u32(&slot->kind);
    dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                              .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
    if (kind == DSM_PARTICIPANT_FREE || kind == DSM_PARTICIPANT_DEAD ||
        !dsm_os_process_alive(&process))
      continue;
    dsm_status status = dsm_os_segment_borrow(name, &process, &out->segments[copy]);
    if (status == DSM_OK) {
      out->unnamed |= 1u << copy;
      return DSM_OK;
    }
    if (status == DSM_NOT_FOUND) continue;
    hidden = true;
    call->fault.process = process;
  }
  if (!hidden) return DSM_NOT_FOUND;
  dsm_os_process process = call->fault.process;
  dsm_fail(call, DSM_LOCK_TIMEOUT, "file of an array is gone, but for a process that hides its", -1,
           -1, copy, out->number);
  call->fault.process = process;
  return DSM_LOCK_TIMEOUT;
}

static dsm_status map_copy(dsm_call *call, dsm_array *out, uint32_t copy) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  if (out->segments[copy].base) return DSM_OK;
  dsm_array_segment_name(name, call->space, out->number, copy);
  dsm_status status = dsm_os_segment_open(name, &out->segments[copy]);
  return status == DSM_CORRUPT ? DSM_OK : status; /* cut to nothing: lost, but not gone */
}

/* A verified header of this array; the geometry is taken from the first. */
static bool tells(dsm_call *call, dsm_array *out, uint32_t copy, bool *told, uint64_t *bytes) {
  if (!out->segments[copy].base || dsm_array_valid(call, out, copy) != DSM_OK) return false;
  const dsm_array_geometry_shm *geometry = &dsm_array_header(out, copy)->geometry;
  if (geometry->build > out->number || geometry->copies <= copy ||
      geometry->cluster_id != call->space->config.cluster_id)
    return false;
  if (!*told) {
    out->geometry = *geometry;
    *told = dsm_array_lay_out(out, bytes);
  }
  return *told && out->segments[copy].bytes == *bytes &&
         memcmp(geometry, &out->geometry, sizeof *geometry) == 0;
}

static dsm_status look(dsm_call *call, dsm_array *out) {
  bool told = false;
  uint64_t bytes = 0;
  uint32_t copies = DSM_ARRAY_COPIES_MAX;
  for (uint32_t copy = 0; copy < copies; copy++) {
    dsm_status status = map_copy(call, out, copy);
    if (status != DSM_OK && status != DSM_NO_CLUSTER)
      return dsm_fail(call, status, "segment of an array cannot be opened", -1, -1, out->number,
                      copy);
    tells(call, out, copy, &told, &bytes);
    if (told) copies = out->geometry.copies;
  }
  for (uint32_t copy = 0; copy < copies; copy++) {
    char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
    dsm_array_segment_name(name, call->space, out->number, copy);
    if (out->segments[copy].base || dsm_os_segment_size(name) > 0) continue;
    dsm_status status = borrow(call, out, copy);
    if (status != DSM_OK && status != DSM_NOT_FOUND) return status;
    tells(call, out, copy, &told, &bytes);
    if (told) copies = out->geometry.copies;
  }
  if (!told)
    return dsm_fail(call, DSM_NO_REPLICAS, "no copy of the array tells its header", -1, -1,
                    out->number, 0);
  for (uint32_t copy = 0; copy < copies; copy++)
    if (!tells(call, out, copy, &told, &bytes)) out->lost |= 1u << copy;
  for (uint32_t copy = 0; copy < copies; copy++) /* nothing beyond a file's end is ever touched */
    if (out->segments[copy].base && out->segments[copy].bytes != bytes)
      dsm_os_segment_close(&out->segments[copy]);
  return DSM_OK;
}

dsm_status dsm_array_look(dsm_call *call, uint32_t entry, uint64_t number, dsm_array *out) {
  *out = (dsm_array){.entry = entry, .number = number};
  for (uint32_t copy = 0; copy < DSM_ARRAY_COPIES_MAX; copy++) out->segments[copy].handle = -1;
  dsm_status status = look(call, out);
  bool whole = status == DSM_OK && out->lost == 0 && out->unnamed == 0;
  if (!whole && dsm_array_current(call->space, entry) != number) status = DSM_RETRY;
  if (status != DSM_OK) dsm_array_close(out);
  return status;
}

dsm_status dsm_array_open(dsm_call *call, uint32_t entry, uint64_t number, dsm_array *out) {
  DSM_TRY(dsm_array_look(call, entry, number, out));
  if (out->lost == 0) return DSM_OK;
  uint32_t copy = (uint32_t)__builtin_ctz(out->lost);
  dsm_array_close(out);
  return dsm_fail(call, DSM_CORRUPT, "copy of an array is lost", -1, -1, copy, number);
}
