/* Making and verifying the segments of an array. */
#define _GNU_SOURCE
#include "array.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../base/crash.h"
#include "../base/hash.h"

static uint64_t page_round(uint64_t bytes) {
  return (bytes + DSM_PAGE_BYTES - 1) & ~(uint64_t)(DSM_PAGE_BYTES - 1);
}

void dsm_array_segment_name(char *out, const dsm_space *space, uint64_t number, uint32_t copy) {
  const dsm_config_shm *config = &space->config;
  snprintf(out, DSM_ARRAY_SEGMENT_NAME_BYTES, "/dsm-%u-%.*s-a%016" PRIx64 "%" PRIx64 "-%" PRIu32,
           dsm_os_user(), (int)sizeof config->name, config->name, config->cluster_id, number, copy);
}

uint64_t dsm_array_header_check(const dsm_array_header_shm *header, uint32_t copy) {
  uint64_t geometry =
      dsm_hash64(&header->geometry, sizeof header->geometry, DSM_ARRAY_MAGIC + copy);
  return dsm_hash64(header + 1, header->geometry.description_bytes, geometry);
}

bool dsm_array_lay_out(dsm_array *array, uint64_t *bytes) {
  const dsm_array_geometry_shm *geometry = &array->geometry;
  if (geometry->data_bytes > DSM_ARRAY_BYTES_MAX || geometry->replicas < 1 ||
      geometry->replicas > DSM_REPLICAS_MAX || geometry->copies > DSM_ARRAY_COPIES_MAX ||
      geometry->copies < geometry->replicas || geometry->dimensions > DSM_ARRAY_DIMENSIONS_MAX ||
      geometry->description_bytes > DSM_ARRAY_DESCRIPTION_MAX || geometry->undo > 1 ||
      geometry->fortran > 1 || geometry->tile_bytes < 1 ||
      geometry->tile_count !=
          (geometry->data_bytes + geometry->tile_bytes - 1) / geometry->tile_bytes)
    return false;
  array->sessions = page_round(sizeof(dsm_array_header_shm) + geometry->description_bytes);
  array->tiles = array->sessions + DSM_ARRAY_SESSIONS * sizeof(dsm_array_session_shm);
  array->data = page_round(array->tiles + geometry->tile_count * sizeof(dsm_array_tile_shm));
  *bytes = array->data + page_round(geometry->data_bytes);
  return true;
}

static dsm_status store_full(dsm_call *call, dsm_status status, uint64_t bytes) {
  return status == DSM_STORE_FULL
             ? dsm_fail(call, status, "no room for the array's elements", -1, -1, bytes, 0)
             : status;
}

static void fill_header(dsm_array *array, uint32_t copy, const char *description) {
  dsm_array_header_shm *header = dsm_array_header(array, copy);
  header->layout_version = DSM_LAYOUT_VERSION;
  header->copy = copy;
  header->geometry = array->geometry;
  memcpy(header + 1, description, array->geometry.description_bytes);
  header->check = dsm_array_header_check(header, copy);
  header->magic = DSM_ARRAY_MAGIC;
}

void dsm_array_fill_words(const dsm_array *array) {
  for (uint32_t i = 0; i < DSM_ARRAY_SESSIONS; i++)
    dsm_store_relaxed_u64(&dsm_array_session(array, i)->state,
                          dsm_seal(0, dsm_array_session_salt(array, i)));
  for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++)
    dsm_store_relaxed_u64(&dsm_array_tile(array, tile)->stamp,
                          dsm_seal(0, dsm_array_tile_salt(array, tile)));
}

dsm_status dsm_array_create_copy(dsm_call *call, dsm_array *array, uint32_t copy,
                                 const char *description) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  uint64_t bytes;
  if (!dsm_array_lay_out(array, &bytes)) return DSM_USAGE;
  dsm_array_segment_name(name, call->space, array->number, copy);
  DSM_TRY(dsm_os_segment_create(name, bytes, &array->segments[copy]));
  DSM_CRASH_POINT("array.segment");
  const dsm_os_segment *segment = &array->segments[copy];
  /* Backups have no words of tiles; an undo image gets memory tile by tile. */
  bool only_image = copy >= array->geometry.replicas;
  uint64_t head = copy == 0 ? array->data : only_image ? array->sessions : array->tiles;
  DSM_TRY(store_full(call, dsm_os_segment_back(segment, 0, head), head));
  if (copy < array->geometry.replicas && array->geometry.data_bytes > 0)
    DSM_TRY(store_full(call, dsm_os_segment_back(segment, array->data, bytes - array->data),
                       bytes - array->data));
  DSM_CRASH_POINT("array.backed");
  fill_header(array, copy, description);
  return DSM_OK;
}

dsm_status dsm_array_create(dsm_call *call, const dsm_array_geometry_shm *geometry,
                            const char *description, dsm_array *out) {
  uint64_t bytes;
  *out = (dsm_array){.geometry = *geometry, .number = geometry->build, .entry = DSM_ARRAYS_MAX};
  for (uint32_t copy = 0; copy < DSM_ARRAY_COPIES_MAX; copy++) out->segments[copy].handle = -1;
  dsm_array_geometry_shm *made = &out->geometry;
  made->cluster_id = call->space->config.cluster_id;
  made->copies = made->replicas == 1 && made->undo ? 2 : made->replicas;
  if (made->tile_bytes)
    made->tile_count = (made->data_bytes + made->tile_bytes - 1) / made->tile_bytes;
  if (!dsm_array_lay_out(out, &bytes))
    return dsm_fail(call, DSM_USAGE, "bytes of an array", -1, -1, made->data_bytes,
                    DSM_ARRAY_BYTES_MAX);
  dsm_status status = DSM_OK;
  for (uint32_t copy = 0; copy < made->copies && status == DSM_OK; copy++)
    status = dsm_array_create_copy(call, out, copy, description);
  if (status == DSM_OK) dsm_array_fill_words(out);
  if (status != DSM_OK) dsm_array_close(out);
  return status;
}

dsm_status dsm_array_valid(dsm_call *call, const dsm_array *array, uint32_t copy) {
  const dsm_array_header_shm *header = dsm_array_header(array, copy);
  if (dsm_os_segment_truncated(&array->segments[copy]))
    return dsm_fail(call, DSM_CORRUPT, "segment of an array was cut", -1, -1, copy,
                    array->segments[copy].bytes);
  if (header->magic != DSM_ARRAY_MAGIC || header->layout_version != DSM_LAYOUT_VERSION)
    return dsm_fail(call, DSM_CORRUPT, "magic of an array's segment", -1, -1, header->magic,
                    DSM_ARRAY_MAGIC);
  uint64_t described = header->geometry.description_bytes;
  if (described > array->segments[copy].bytes - sizeof *header || header->copy != copy ||
      header->check != dsm_array_header_check(header, copy))
    return dsm_fail(call, DSM_CORRUPT, "header of an array does not verify", -1, -1, copy,
                    header->check);
  return DSM_OK;
}

void dsm_array_close(dsm_array *array) {
  for (uint32_t copy = 0; copy < DSM_ARRAY_COPIES_MAX; copy++)
    dsm_os_segment_close(&array->segments[copy]);
}

void dsm_array_unlink(const dsm_space *space, uint64_t number) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  for (uint32_t copy = DSM_ARRAY_COPIES_MAX; copy > 0; copy--) {
    dsm_array_segment_name(name, space, number, copy - 1);
    dsm_os_segment_unlink(name);
    DSM_CRASH_POINT("array.unlinked");
  }
}
