/* The service thread of the owner and of each node: death watch, repair, checksums.
 *
 * One native thread with all signals blocked; it never calls Python, and is joined before anything
 * is unmapped. It sleeps on the pidfds of the other participants, so that a death wakes it at once,
 * and looks up every SERVICE_SLICE_MS for new participants and unsettled values.
 *
 *   a participant died   repair the locks it held, drop its pins, free its slot (registry.h)
 *   the owner died       unless detached: the cluster is stopping, its names are removed
 *   values over a page   hash those of this node and settle their checksums (store/settle.h)
 */
#ifndef DSM_NODE_SERVICE_H
#define DSM_NODE_SERVICE_H

#include "cluster.h"

#define DSM_SERVICE_SLICE_MS 50u

/* `node` < 0 for the owner. *stopping becomes readable when the cluster stops; -1 if not wanted. */
dsm_status dsm_service_start(dsm_cluster *cluster, int node, int *stopping);
/* Joins the thread; nothing if there is none. */
void dsm_service_stop(dsm_cluster *cluster);

#endif
