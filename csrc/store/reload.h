/* Putting back what a checkpoint holds.
 *
 * The payload of a frame that was verified is still input: every length is bounded, every key must
 * belong to the stripe that the frame names, and every region must be known, else DSM_CORRUPT with
 * the offset in the payload. A key that is present is left alone, so the newest file of a chain
 * comes first, and marks say what of an older file was still there.
 *
 * Any thread; blocks for a stripe's lock, at most call->wait_ms. A kill leaves whole objects.
 */
#ifndef DSM_STORE_RELOAD_H
#define DSM_STORE_RELOAD_H

#include "frame.h"
#include "write.h"

typedef enum dsm_reload_how {
  DSM_RELOAD_SAME, /* into a new cluster: with the versions that objects had */
  DSM_RELOAD_ANEW, /* the cluster lives: absent keys are put as if by a user, with new versions */
  DSM_RELOAD_LOST, /* … and only what the cluster has lost (dsm_put_lost) */
} dsm_reload_how;

typedef struct dsm_reload {
  uint32_t stripe;
  const uint32_t *replicas; /* of each region, DSM_REGIONS_MAX of them; 0: no such region */
  const dsm_mark *marks;    /* sorted; what may be put back. NULL: everything */
  uint64_t mark_count;
  dsm_reload_how how;
  uint64_t objects, value_bytes; /* out: put back so far */
} dsm_reload;

void dsm_marks_sort(dsm_mark *marks, uint64_t count);
/* All records of an OBJECTS payload. */
dsm_status dsm_reload_objects(dsm_call *call, dsm_reload *reload, const uint8_t *payload,
                              uint64_t bytes);
/* One record whose key and whole value are at hand. */
dsm_status dsm_reload_object(dsm_call *call, dsm_reload *reload, const dsm_record *record,
                             const uint8_t *key, const uint8_t *value);
/* No version up to `gen` will be given to a key of the stripe any more. */
dsm_status dsm_reload_gen(dsm_call *call, uint32_t stripe, uint64_t gen);

#endif
