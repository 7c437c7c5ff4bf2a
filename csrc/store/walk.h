/* Walking all stripes for a checkpoint, into frames.
 *
 * dsm_walk_fill fills a private buffer and is called again until it has said that all is done; the
 * caller writes the buffer out between the calls, with no lock held. A stripe is walked in slices,
 * each under its lock and bounded in slots and bytes, so that a writer waits for one slice at most.
 * Slots do not move within a table, so slices fit together; if the table was replaced between two
 * of them the stripe is walked again, and what is written twice is the same twice. A large value is
 * pinned and written without the lock. When a slice has seen the last slot the stripe is marked as
 * walked under the same lock; what changes had saved is written after that.
 *
 * An incremental walk passes over stripes whose generation is that of the checkpoint before. Of the
 * others it writes the objects that are newer, and a mark for every object, so that what is gone is
 * known. If an object of the primary does not validate, a backup's is taken; if none does, the walk
 * ends in DSM_CORRUPT.
 *
 * One thread at a time. Blocks for a stripe's lock, at most call->wait_ms. May be killed anywhere.
 */
#ifndef DSM_STORE_WALK_H
#define DSM_STORE_WALK_H

#include "cut.h"
#include "frame.h"

#define DSM_WALK_SLOTS 256u         /* looked at in one slice */
#define DSM_WALK_BYTES (128u << 10) /* copied in one slice, but for the last object */
#define DSM_WALK_ROOM (512u << 10)  /* a buffer must have, for one slice */

/* A large value on its way: where it lies, and how much of it was written. */
typedef struct dsm_walk_value {
  bool active;
  uint32_t pin; /* ours, or DSM_PIN_NONE if the cut's */
  unsigned node;
  uint64_t slot;                 /* that names it, if the pin is ours */
  const dsm_atomic_u64 *settled; /* its checksum's word; NULL: it has none */
  dsm_record record;
  uint64_t done;
  const uint8_t *key, *value; /* the value lies in a pinned run */
  uint8_t key_copy[DSM_KEY_BYTES_MAX];
} dsm_walk_value;

typedef struct dsm_walk {
  uint64_t number; /* of the cut */
  uint32_t stripe;
  bool incremental, within;    /* within: a stripe has been begun */
  const uint64_t *gens_before; /* of the checkpoint before, if incremental */
  uint64_t *gens;              /* out: of every stripe at the cut */
  uint64_t gen, after;         /* of this stripe: at the cut; objects up to `after` are known */
  uint64_t table_word;
  uint32_t slot;
  bool walked;    /* the stripe's slots are done */
  uint64_t saved; /* the next saved object; 0: none left */
  dsm_mark *marks;
  uint64_t mark_count, mark_room, marks_done;
  uint64_t objects, value_bytes, stripes; /* written so far */
  bool hidden[DSM_REGIONS_MAX];           /* regions that are not saved */
  dsm_walk_value large;
} dsm_walk;

/* `gens` has room for every stripe; `gens_before` is NULL for a full walk. */
void dsm_walk_init(const dsm_space *space, dsm_walk *walk, uint64_t number,
                   const uint64_t *gens_before, uint64_t *gens);
/* Adds frames while there is room. *done: the last stripe is finished. DSM_LOCK_TIMEOUT: call
 * again. DSM_CORRUPT, DSM_OS without memory, DSM_TOO_MANY without a pin. */
dsm_status dsm_walk_fill(dsm_call *call, dsm_walk *walk, dsm_frames *frames, bool *done);
/* Lets go of what a walk that was not finished has. */
void dsm_walk_drop(dsm_space *space, dsm_walk *walk);

#endif
