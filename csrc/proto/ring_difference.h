/* What moves between two rings: the ranges of hashes whose preference lists differ, in ascending
 * order, each as long as it can be. An iterator, so that no one has to guess how many there are.
 *
 * Pure; both rings must stay as they are until the iterator is done.
 */
#ifndef DSM_PROTO_RING_DIFFERENCE_H
#define DSM_PROTO_RING_DIFFERENCE_H

#include "ring.h"

enum { DSM_RING_DIFFERENCE_COPIES_MAX = 8 };

typedef struct dsm_ring_move {
  uint64_t first, last; /* both inclusive */
  uint32_t before_count, after_count;
  uint16_t before[DSM_RING_DIFFERENCE_COPIES_MAX], after[DSM_RING_DIFFERENCE_COPIES_MAX];
} dsm_ring_move;

typedef struct dsm_ring_difference {
  const dsm_ring *before, *after;
  uint64_t first; /* where the walk goes on */
  uint32_t copies;
  bool done;
} dsm_ring_difference;

/* DSM_USAGE when copies is 0 or above DSM_RING_DIFFERENCE_COPIES_MAX. */
dsm_status dsm_ring_difference_start(dsm_ring_difference *difference, const dsm_ring *before,
                                     const dsm_ring *after, uint32_t copies);

/* The next range; false when there is none left. */
bool dsm_ring_difference_next(dsm_ring_difference *difference, dsm_ring_move *move);

#endif
