/* A node's segment that is lost, and another one in its place.
 *
 *   lost      its name is gone or means another file; or what lies in it cannot be mended in place,
 *             since the chain of its arena's runs is broken (zeroed, or damaged at large); or its
 *             process has died and the cluster was made with recovery "rebuild"
 *   vacate    stripe by stripe, whatever route names the node is moved to others, from the best
 *             replica: an unlinked segment is a source like any other, a damaged one is none. If
 *             no whole node is left to take its place, that ends with the move; if none is left at
 *             all, as in a cluster of one, a node is made for the time being
 *   replace   no route names it: a new file, a new build; every process maps it by the epoch
 *   return    whoever rebalances moves the stripes back (node/balance.h)
 *
 * All of it lies in shared memory: routes and node table say how far it has come, so whoever begins
 * anew goes on. The journal's lock of a rebalance keeps rebalancing away meanwhile.
 * The keeper's alone, in one thread.
 */
#ifndef DSM_NODE_REBUILD_H
#define DSM_NODE_REBUILD_H

#include "../mem/nodes.h"

typedef enum dsm_loss {
  DSM_LOSS_NONE,
  DSM_LOSS_UNNAMED, /* whole, but nobody else can open it */
  DSM_LOSS_DAMAGED,
  DSM_LOSS_ASKED, /* by the recovery strategy, after a death */
} dsm_loss;

/* `deep`: walks the arena as well. Reads no segment that was truncated. */
dsm_loss dsm_loss_look(dsm_call *call, unsigned node, bool deep);

/* DSM_LOCK_TIMEOUT or DSM_RETRY: go on later; whatever was moved stays so. */
dsm_status dsm_rebuild(dsm_call *call, unsigned node, dsm_loss loss);

/* No segment is lost any more: nodes that were made for want of another go again. */
void dsm_rebuild_dismiss(dsm_call *call);

#endif
