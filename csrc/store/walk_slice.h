/* One slice of a walk: records of one stripe, in one frame. For walk.c alone. */
#ifndef DSM_STORE_WALK_SLICE_H
#define DSM_STORE_WALK_SLICE_H

#include "walk.h"

typedef struct dsm_slice {
  uint8_t *payload; /* in the frames' buffer */
  uint64_t used;
  uint32_t objects;
} dsm_slice;

/* Room for the marks of one slice. DSM_OS. */
dsm_status dsm_walk_room_for_marks(dsm_call *call, dsm_walk *walk);
/* DSM_USAGE if the buffer has no room for a slice: DSM_WALK_ROOM was not kept. */
dsm_status dsm_slice_open(dsm_frames *frames, dsm_slice *out);
/* Copies objects from walk->slot on, until the slice is full, a large value was met (walk->large)
 * or the slots are done (walk->walked). The stripe's lock is held. */
dsm_status dsm_slice_fill(dsm_call *call, dsm_walk *walk, const dsm_route *route, dsm_slice *slice);
/* The same for the objects that changes saved, from walk->saved on. */
dsm_status dsm_slice_saved(dsm_call *call, dsm_walk *walk, dsm_slice *slice);
/* Compares the large value that was begun with its settled checksum; turns to a backup's if it
 * differs. DSM_CORRUPT, DSM_LOCK_TIMEOUT. */
dsm_status dsm_slice_value_verify(dsm_call *call, dsm_walk *walk);
/* Seals the frame, if it has any record. */
void dsm_slice_seal(dsm_frames *frames, dsm_walk *walk, const dsm_slice *slice);

/* Writes a record and its key, padded. */
void dsm_walk_put_head(uint8_t *target, const dsm_record *record, const uint8_t *key);

#endif
