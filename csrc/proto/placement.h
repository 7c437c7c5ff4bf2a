/* Where stripes are to be, given where they are: even shares by weight, with as few moves as can
 * be.
 *
 * The ring proposes and loads are bounded, as in consistent hashing with bounded loads (Mirrokni,
 * Thorup and Zadimoghaddam 2016); but what is somewhere already stays unless its node is over its
 * share or no longer to be used. So a node that is added gets its share and nothing else moves, and
 * of a node that goes only what it had moves. Each place of the preference lists is balanced for
 * itself: primaries are as even as copies, and a node keeps its place in a list.
 *
 *   share   of a place: stripes × weight / weights of all; nobody is in one list twice, so a node
 *           that would get more than one copy of every stripe gets one of every stripe
 *   hole    a place whose node is not to be used, or that has none: filled by the first node of
 *           the stripe's ring order that is below its share
 *   excess  above its share, rounded up: given to who is below, those stripes first in whose ring
 *           order the receiver comes first
 *
 * Pure, no allocation; the caller brings scratch memory. A plan depends on what is there, so it is
 * made once and kept, not computed anew by each who needs it.
 */
#ifndef DSM_PROTO_PLACEMENT_H
#define DSM_PROTO_PLACEMENT_H

#include "ring.h"

enum {
  DSM_PLACEMENT_NODES_MAX = 63,
  DSM_PLACEMENT_COPIES_MAX = DSM_RING_STRIPE_COPIES_MAX,
  DSM_PLACEMENT_NOBODY = 0xFF,
};

/* The nodes of a stripe, primary first; NOBODY where there is none. */
typedef struct dsm_placement_list {
  uint8_t nodes[DSM_PLACEMENT_COPIES_MAX];
} dsm_placement_list;

typedef struct dsm_placement {
  uint32_t stripe_count, copies;
  const uint32_t *weights; /* per node id; 0: not to be used */
  uint64_t seed;
} dsm_placement;

size_t dsm_placement_bytes(uint32_t stripe_count);
/* Changes the lists to what they are to be. Places beyond the number of usable nodes hold NOBODY.
 * DSM_USAGE without a usable node or with numbers out of range. */
dsm_status dsm_placement_plan(const dsm_placement *placement, void *scratch,
                              dsm_placement_list *lists);

#endif
