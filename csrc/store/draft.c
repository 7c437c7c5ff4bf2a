/* Making and writing drafts. */
#include "draft.h"

#include "../base/crash.h"

dsm_status dsm_draft_make(dsm_call *call, const dsm_key *key, const dsm_value *value,
                          dsm_draft *out) {
  if (key->length > DSM_KEY_BYTES_MAX)
    return dsm_fail(call, DSM_KEY_TOO_LONG, "key bytes", -1, -1, key->length, DSM_KEY_BYTES_MAX);
  uint64_t room = call->space->layout.node_bytes - call->space->layout.data;
  if (value->length >= DSM_VALUE_BYTES_MAX || value->length + key->length + 192 > room)
    return dsm_fail(call, DSM_STORE_FULL, "value is larger than a node's segment", -1, -1,
                    value->length, room);
  *out = (dsm_draft){.flags = value->length >= DSM_LAZY_BYTES_MIN ? DSM_OBJECT_LAZY : 0};
  if (dsm_header_bytes(out->flags) + key->length + value->length > DSM_SMALL_BYTES_MAX)
    out->flags |= DSM_OBJECT_ALIGNED;
  out->shape = value->length | (uint64_t)value->codec << 40 | (uint64_t)out->flags << 48 |
               (uint64_t)key->kind << 56;
  out->binding = (uint64_t)key->region << 16 | key->length;
  dsm_header header;
  dsm_header_decode(&header, 1, out->shape, out->binding);
  out->key_offset = header.key_offset;
  out->value_offset = header.value_offset;
  out->bytes = header.value_offset + value->length;
  if (!(out->flags & DSM_OBJECT_LAZY) && value->part_count == 1)
    out->value_hash = dsm_value_hash(value->parts[0].bytes, value->length);
  return DSM_OK;
}

void dsm_draft_write(dsm_draft *draft, const dsm_key *key, const dsm_value *value, uint64_t version,
                     dsm_object_shm *object) {
  uint8_t *bytes = (uint8_t *)object;
  /* A reader that meets a byte of this object in memory that it still takes for another one's must
   * see the generation that freed that memory. */
  dsm_fence_release();
  dsm_store_relaxed_u64(&object->version, 0);
  DSM_CRASH_POINT("draft.begun");
  dsm_copy_in(bytes + draft->key_offset, key->bytes, key->length);
  uint64_t at = draft->value_offset;
  for (uint32_t i = 0; i < value->part_count; i++) {
    dsm_copy_in(bytes + at, value->parts[i].bytes, value->parts[i].length);
    at += value->parts[i].length;
    DSM_CRASH_POINT("draft.part");
  }
  bool lazy = draft->flags & DSM_OBJECT_LAZY;
  if (!lazy && draft->value_hash == 0)
    draft->value_hash = dsm_value_hash(bytes + draft->value_offset, value->length);
  uint64_t checksum = dsm_object_checksum(version, draft->shape, draft->binding, key->hash,
                                          lazy ? 0 : draft->value_hash);
  if (lazy) dsm_store_relaxed_u64(dsm_object_settled(object), 0);
  dsm_store_relaxed_u64(&object->shape, draft->shape);
  dsm_store_relaxed_u64(&object->binding, checksum << 32 | draft->binding);
}

dsm_draft dsm_draft_of(const dsm_header *header) {
  return (dsm_draft){.bytes = header->value_offset + header->value_bytes,
                     .shape = header->shape,
                     .binding = header->binding,
                     .value_offset = header->value_offset,
                     .key_offset = header->key_offset,
                     .flags = header->flags};
}

void dsm_draft_copy(const dsm_draft *draft, const dsm_object_shm *source, dsm_object_shm *object) {
  dsm_fence_release(); /* as above */
  dsm_store_relaxed_u64(&object->version, 0);
  DSM_CRASH_POINT("draft.begun");
  uint64_t skipped = sizeof object->version;
  dsm_copy_across((uint8_t *)object + skipped, (const uint8_t *)source + skipped,
                  draft->bytes - skipped);
  DSM_CRASH_POINT("draft.copied");
}
