/* The service thread of the owner and of each node: it beats, watches, judges.
 *
 * One native thread with all signals blocked; it never calls Python and never waits for longer than
 * a millisecond, so it beats while Python computes, whatever that computes. It is joined before
 * anything is unmapped. It sleeps on the pidfds of the other participants and on a door where who
 * joins knocks (watch.h), at most until the next beat.
 *
 *   beat                a store into our slot
 *   a process ended     recorded (report.h); the rest is for the second thread (duties.h)
 *   somebody is silent  judged (peers.h); the keeper acts on it (keeper.h)
 *   a node is missing   the keeper of an ownerless cluster starts it (starter.h); an owner's
 *                       scheduler does so itself, since tasks depend on it
 */
#ifndef DSM_NODE_SERVICE_H
#define DSM_NODE_SERVICE_H

#include "cluster.h"

/* `node` < 0 for the owner. *stopping becomes readable when the cluster stops; -1 if not wanted. */
dsm_status dsm_service_start(dsm_cluster *cluster, int node, int *stopping);
/* Joins the threads; nothing if there are none. */
void dsm_service_stop(dsm_cluster *cluster);

#endif
