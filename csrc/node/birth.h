/* Node segments: made whole, and gone without a trace.
 *
 *   make    the segment of an id, filled; nobody knows of it until the node table names it
 *   add     a free id gets a new segment and its place in the table; routes do not name it yet
 *   drain   the node is off the ring; who rebalances moves everything away
 *   leave   no route names it any more: its process is to end
 *   remove  its process has ended: the segment loses its name, the id is free for another build
 *
 * Each of the last four is one change of the table (mem/nodes.h) under the registry lock. A kill
 * within add leaves a segment that nobody holds, which the next add of the id removes, or a sweep
 * once the cluster has ended; within remove, a node that is still leaving. All may be called by any
 * participant.
 */
#ifndef DSM_NODE_BIRTH_H
#define DSM_NODE_BIRTH_H

#include "../mem/nodes.h"

/* Creates and fills the segment; space->nodes[node] maps it. DSM_EXISTS, DSM_STORE_FULL. */
dsm_status dsm_node_make(dsm_call *call, unsigned node, uint32_t build);

/* DSM_TOO_MANY if all ids are in use, DSM_USAGE for a weight out of range, DSM_STORE_FULL. */
dsm_status dsm_node_add(dsm_call *call, uint32_t weight, unsigned *node);
/* A node for the time being, of weight 1: the table itself says so, from its first instant. */
dsm_status dsm_node_lend(dsm_call *call, unsigned *node);
/* It goes again, as if drained; or, where too few others would be left, it stays like any other.
 * Nothing if the node is not a lent one. */
dsm_status dsm_node_return(dsm_call *call, unsigned node);
/* DSM_USAGE: no such node, or fewer nodes would be left on the ring than there are to be copies;
 * then the fault's right side is how many there are to be. Nothing if it is draining already. */
dsm_status dsm_node_drain(dsm_call *call, unsigned node);
/* DSM_RETRY if a route still names it. */
dsm_status dsm_node_leave(dsm_call *call, unsigned node);
/* DSM_RETRY while it has a living process, or a checkpoint is being taken. Nothing if there is no
 * such node any more. */
dsm_status dsm_node_remove(dsm_call *call, unsigned node);
/* Sets the weight of a node that is on the ring. DSM_USAGE. */
dsm_status dsm_node_weigh(dsm_call *call, unsigned node, uint32_t weight);

/* Gives a node that no route names another segment: a new file and a new build. DSM_RETRY if a
 * route names it or a checkpoint is being taken. A kill leaves the old segment in the table, or the
 * new. */
dsm_status dsm_node_replace(dsm_call *call, unsigned node, dsm_os_segment *old);
/* Afterwards: the old one's memory goes back, but for runs that are pinned. Takes about as long as
 * a copy of it would, and holds nothing. */
void dsm_node_give_back(dsm_call *call, unsigned node, const dsm_os_segment *old);

#endif
