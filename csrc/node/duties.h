/* The second native thread: work that may take its time, so that the service thread never does.
 *
 * The service thread (service.h) beats, watches and judges, and must not wait for a lock or hash a
 * gigabyte. What it finds is done here. Idle costs nothing: this thread sleeps until it is rung.
 *
 *   a participant died   repair the locks it held, drop its pins, free its slot (registry.h); again
 *                        at the next heartbeat while a stopped process keeps a lock that is needed
 *   the owner died       unless detached: the cluster stops, its names are removed
 *   values over a page   hash those of this node and settle their checksums (store/settle.h)
 *   a node has come      map its segment (mem/nodes.h)
 *   the keeper's own     move what is not where it is to be, a piece at a time (balance.h)
 *
 * dsm_duties_* are for the service thread of the same process.
 */
#ifndef DSM_NODE_DUTIES_H
#define DSM_NODE_DUTIES_H

#include "cluster.h"

typedef struct dsm_duties dsm_duties;

/* `node` < 0 for the owner. NULL without memory or thread. */
dsm_duties *dsm_duties_open(dsm_cluster *cluster, int node);
/* Joins the thread, which first does what it was told. */
void dsm_duties_close(dsm_duties *duties);
/* A participant's process has ended. */
void dsm_duties_bury(dsm_duties *duties, uint32_t participant);
/* Once per heartbeat: looks whether there is something to do. serves: this process is the keeper.
 */
void dsm_duties_tick(dsm_duties *duties, bool serves);

#endif
