/* Holds: extents between two changes, so that a transaction's memory is never lost.
 *
 * A transaction takes the extent of each new object by a change of its own, which puts it into a
 * hold of the decision record. The change that publishes the object swaps the hold's content for
 * the old object's extent, which goes back by a third. So the decisive change touches no slab, page
 * run or list, however many objects of a stripe it replaces.
 *
 *   I  a hold that names a stripe is protected by that stripe's lock. One that is met with the lock
 *      in hand is a dead process's, or could not be given back in time, and goes back
 *   I  the extent in a hold has version 0: no damaged slot finds an object in it
 *   I  a hold is filled and emptied within the intent that takes or gives the extent
 *
 * All functions need the stripe's lock, with no intent of it armed. May be killed anywhere.
 */
#ifndef DSM_STORE_HOLD_H
#define DSM_STORE_HOLD_H

#include "stripe.h"

/* Says whose the hold will be. Only while it is empty. */
void dsm_hold_place(const dsm_space *space, dsm_hold_shm *hold, unsigned node, uint32_t stripe);
/* The stripe that the hold names, or UINT32_MAX if its words are damaged or were never used. */
uint32_t dsm_hold_stripe(const dsm_space *space, const dsm_hold_shm *hold);

/* Size of an object, and whether it lies in a run of its own. */
typedef struct dsm_extent {
  uint64_t bytes;
  bool aligned;
} dsm_extent;

/* Takes an extent at each of the nodes into the holds, one after another. DSM_STORE_FULL changes
 * nothing. */
dsm_status dsm_holds_take(dsm_call *call, dsm_hold_shm *holds, const uint8_t *nodes, uint32_t count,
                          uint32_t stripe, const dsm_extent *wanted, uint64_t *offsets);
/* What a hold contains when it has the extent of that object. */
uint64_t dsm_hold_word(const dsm_space *space, const dsm_hold_shm *hold, uint64_t offset,
                       const dsm_extent *extent);
/* Gives the extents of these holds back, of those that have one. */
dsm_status dsm_holds_give(dsm_call *call, dsm_hold_shm *holds, const uint8_t *nodes, uint32_t count,
                          uint32_t stripe);

/* Gives back what any record holds of the stripe. */
dsm_status dsm_holds_release(dsm_call *call, uint32_t stripe);
/* A sub without live objects gives its table and its spare page up. */
dsm_status dsm_hold_tidy(dsm_call *call, uint32_t stripe, unsigned node);

/* For a sub that is being mended: nothing of the stripe at the node is held any more. What was held
 * is free once the slabs are rebuilt. */
void dsm_holds_forget(dsm_call *call, uint32_t stripe, unsigned node);

#endif
