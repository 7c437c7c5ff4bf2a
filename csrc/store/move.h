/* Moving a stripe to other nodes while it is used: one bounded hold of its lock per step.
 *
 *   fill     what each new place needs is copied from the best replica, as ordinary changes of that
 *            node's sub, versions and checksums as they are; between the holds writers go on
 *   publish  in one hold: what changed since is caught up, generations are made equal, and one
 *            store makes the new route true: before it the old nodes have the stripe, then the new
 *   tidy     what nodes hold beyond their place in the route is erased, a piece per hold
 *
 * A place p of a route has the objects of all regions with more than p copies. All that a step does
 * is an intent, the one store, or a bit in the strays (route.h); so a kill leaves a stripe that the
 * next step, by whoever, of this move or of another, goes on with. Nothing is kept beside the
 * segments but what makes going on cheap.
 *
 *   I  a node is named anew only while the node table says, under the lock, that it is on the ring
 *   I  a generation never falls, so no version is given twice, wherever the stripe is
 *   I  a stripe that could not be mended stays: a table that a mender left empty proves nothing
 *   I  an object is copied only after its checksum held; where it does not, another replica's is
 *
 * One thread per dsm_move. Steps of several processes on one stripe exclude each other by its lock.
 */
#ifndef DSM_STORE_MOVE_H
#define DSM_STORE_MOVE_H

#include "stripe.h"

typedef struct dsm_move {
  uint32_t stripe, count;
  uint8_t nodes[DSM_REPLICAS_MAX]; /* the route it is to have, primary first */
  uint64_t lost;                   /* bit per node that is neither read nor written */
  bool salvages;                   /* there is nothing better than what could not be mended */
  uint64_t step_bytes;             /* about how much a hold may copy; a single value may be more */
  uint32_t step_objects;           /* … and erase or copy */

  uint64_t bytes, objects; /* out: copied so far */
  bool published;          /* out: the route is the wanted one */

  /* A pass over the source's slots, and what it has shown. */
  bool passing;
  uint32_t cursor, repairs, attempts;
  unsigned source;
  uint64_t table_word, began_gen;
  uint64_t clean_gen; /* objects up to this version have been compared */
  uint64_t wanted[DSM_REPLICAS_MAX];
  uint64_t seen; /* keys of the source, as many as it says that it has or it is damaged */
} dsm_move;

#define DSM_MOVE_BYTES (256u << 10)
#define DSM_MOVE_OBJECTS 256u

void dsm_move_begin(dsm_move *self, uint32_t stripe, const uint8_t *nodes, uint32_t count,
                    uint64_t lost);
/* One hold of the lock. *done: the route is as wanted and nothing is left to be tidied but at nodes
 * that drain. DSM_LOCK_TIMEOUT: somebody has the stripe (call->fault.process); DSM_STORE_FULL;
 * DSM_CORRUPT: no replica of an object holds; DSM_RETRY: a wanted node is not on the ring. */
dsm_status dsm_move_step(dsm_call *call, dsm_move *self, bool *done);

/* Shared by move.c and move_copy.c. */

/* Copies of an object of that region, at most `count`. */
uint32_t dsm__move_copies(const dsm_space *space, uint16_t region, uint32_t count);
/* A pass, or a piece of one, with the lock held. *whole: it has come to the end of the source. */
dsm_status dsm__move_pass(dsm_call *call, dsm_move *self, const dsm_route *route, bool *whole);
/* Before anything is erased for not being at the source: that it is whole. DSM_CORRUPT. */
dsm_status dsm__move_confirm(dsm_call *call, const dsm_move *self);
/* Erases at place p of the new route what the source does not have, if there is anything. *whole:
 * nothing of that kind is left. */
dsm_status dsm__move_prune(dsm_call *call, dsm_move *self, uint32_t place, bool *whole);
/* Erases what a node holds beyond its place, or everything if it has none. */
dsm_status dsm__move_erase(dsm_call *call, dsm_move *self, unsigned node, uint32_t place,
                           bool *whole);
/* True if the place of the new route lacks something that it needs there. */
bool dsm__move_lacks(const dsm_move *self, const dsm_route *route, uint32_t place);

#endif
