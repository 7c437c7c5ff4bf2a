/* Frames: the pieces of a checkpoint file, each of which verifies by itself.
 *
 * A file is frames, one after another, each 64 bytes of header and a payload padded to 64. The
 * header repeats the file's random number and the place of the frame in the file, and its check
 * covers all other bytes of the frame: so a flipped bit, a frame out of its place, one of another
 * file and a file that was cut are all told from a true one. docs/checkpoint-format.md shows it.
 *
 * Frames are made in a private buffer, which the caller writes out; they need no seeking. Pure.
 */
#ifndef DSM_STORE_FRAME_H
#define DSM_STORE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

#define DSM_FRAME_MAGIC 0x454D415246004D53ull /* "SM\0FRAME" */
#define DSM_FRAME_BYTES_MAX (256u << 10)      /* of a payload */
#define DSM_FRAME_ALIGN 64u

typedef enum dsm_frame_kind {
  DSM_FRAME_BEGIN = 1,   /* text: what was saved, and how to make a cluster like it */
  DSM_FRAME_REGIONS = 2, /* text: the regions in order */
  DSM_FRAME_OBJECTS = 3, /* records of one stripe */
  DSM_FRAME_VALUE = 4,   /* part of one large value: its record, and bytes from `detail[0]` on */
  DSM_FRAME_LIVE = 5,    /* version and key hash of each object of one stripe */
  DSM_FRAME_ARRAY = 6,   /* text: an array's geometry */
  DSM_FRAME_TILE = 7,    /* bytes of an array's elements */
  DSM_FRAME_GENS = 8,    /* generations of stripes, from `subject` on */
  DSM_FRAME_TILES = 9,   /* versions of an array's tiles, from `detail[0]` on */
  DSM_FRAME_END = 10,    /* text: the totals; the last frame */
} dsm_frame_kind;

typedef struct dsm_frame {
  uint64_t check; /* over everything below and the padded payload */
  uint64_t magic;
  uint64_t file;    /* random number of the file */
  uint64_t offset;  /* of this frame in it */
  uint32_t kind;    /* dsm_frame_kind */
  uint32_t bytes;   /* of the payload, without padding */
  uint64_t subject; /* stripe or array */
  uint64_t detail[2];
} dsm_frame;
_Static_assert(sizeof(dsm_frame) == DSM_FRAME_ALIGN, "the payload begins a line");

/* One object, as it stands in a payload: this, the key padded to 8, the value padded to 8. */
typedef struct dsm_record {
  uint64_t version, value_bytes;
  uint32_t key_bytes;
  uint16_t region;
  uint8_t key_kind, codec;
} dsm_record;
_Static_assert(sizeof(dsm_record) == 24, "no padding enters a file");

/* One object of a stripe in a LIVE frame. */
typedef struct dsm_mark {
  uint64_t version, key_hash;
} dsm_mark;

static inline uint64_t dsm_padded(uint64_t bytes) {
  return (bytes + 7) & ~7ull;
}

static inline uint64_t dsm_frame_room(uint64_t payload_bytes) {
  return sizeof(dsm_frame) + ((payload_bytes + DSM_FRAME_ALIGN - 1) & ~(DSM_FRAME_ALIGN - 1ull));
}

/* A buffer of whole frames. `written`: bytes of the file before the buffer's first. */
typedef struct dsm_frames {
  uint8_t *bytes;
  uint64_t capacity, used, written, file;
} dsm_frames;

/* Where the next frame's payload goes; NULL if `payload_bytes` more do not fit the buffer. */
uint8_t *dsm_frame_payload(const dsm_frames *frames, uint64_t payload_bytes);
/* Seals the frame whose payload was written there. `head` has kind, bytes, subject and detail. */
void dsm_frame_seal(dsm_frames *frames, const dsm_frame *head);

/* Reads the header of a frame at an offset of a file. DSM_CORRUPT if it cannot be one. `file` is
 * the file's number, 0 for its first frame. */
dsm_status dsm_frame_head(const void *bytes, uint64_t offset, uint64_t file, dsm_frame *out);
/* True if header and padded payload, which lie together, are as they were sealed. */
bool dsm_frame_holds(const void *bytes, const dsm_frame *head);

/* Takes the next record off a payload, whose first *at bytes were taken. False at the end or, with
 * *at beyond it, if the bytes hold no whole record. `value` may be cut (a VALUE frame's). */
bool dsm_record_next(const uint8_t *payload, uint64_t bytes, bool whole, uint64_t *at,
                     dsm_record *record, const uint8_t **key, const uint8_t **value);

#endif
