/* Sealing and verifying frames; taking records off a payload. */
#include "frame.h"

#include <string.h>

#include "../base/hash.h"
#include "../base/limits.h"

static uint64_t check_of(const uint8_t *frame, uint64_t payload_bytes) {
  return dsm_hash64(frame + 8, dsm_frame_room(payload_bytes) - 8, DSM_FRAME_MAGIC);
}

uint8_t *dsm_frame_payload(const dsm_frames *frames, uint64_t payload_bytes) {
  if (payload_bytes > DSM_FRAME_BYTES_MAX ||
      frames->capacity - frames->used < dsm_frame_room(payload_bytes))
    return NULL;
  return frames->bytes + frames->used + sizeof(dsm_frame);
}

void dsm_frame_seal(dsm_frames *frames, const dsm_frame *head) {
  uint8_t *frame = frames->bytes + frames->used;
  uint64_t room = dsm_frame_room(head->bytes), filled = sizeof *head + head->bytes;
  dsm_frame sealed = *head;
  sealed.magic = DSM_FRAME_MAGIC;
  sealed.file = frames->file;
  sealed.offset = frames->written + frames->used;
  memset(frame + filled, 0, room - filled);
  memcpy(frame, &sealed, sizeof sealed);
  sealed.check = check_of(frame, head->bytes);
  memcpy(frame, &sealed.check, sizeof sealed.check);
  frames->used += room;
}

dsm_status dsm_frame_head(const void *bytes, uint64_t offset, uint64_t file, dsm_frame *out) {
  memcpy(out, bytes, sizeof *out);
  bool good = out->magic == DSM_FRAME_MAGIC && out->offset == offset &&
              (file == 0 || out->file == file) && out->bytes <= DSM_FRAME_BYTES_MAX &&
              out->kind >= DSM_FRAME_BEGIN && out->kind <= DSM_FRAME_END;
  return good ? DSM_OK : DSM_CORRUPT;
}

bool dsm_frame_holds(const void *bytes, const dsm_frame *head) {
  return head->check == check_of(bytes, head->bytes);
}

bool dsm_record_next(const uint8_t *payload, uint64_t bytes, bool whole, uint64_t *at,
                     dsm_record *record, const uint8_t **key, const uint8_t **value) {
  if (*at == bytes) return false;
  uint64_t left = bytes - *at, start = *at;
  *at = UINT64_MAX;
  if (left < sizeof *record) return false;
  memcpy(record, payload + start, sizeof *record);
  left -= sizeof *record;
  uint64_t key_room = dsm_padded(record->key_bytes);
  if (record->key_bytes > DSM_KEY_BYTES_MAX || key_room > left ||
      record->value_bytes >= DSM_VALUE_BYTES_MAX)
    return false;
  left -= key_room;
  *key = payload + start + sizeof *record;
  *value = *key + key_room;
  if (whole && dsm_padded(record->value_bytes) > left) return false;
  *at = whole ? bytes - left + dsm_padded(record->value_bytes) : bytes - left;
  return true;
}
