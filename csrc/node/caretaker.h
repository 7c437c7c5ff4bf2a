/* The third native thread: what keeps the segments whole, at leisure.
 *
 *   damage that was met and left   mended as soon as the stripe is free (store/heal.h)
 *   its own node, if it has one    scrubbed, at most so many bytes a second (store/scrub.h); at
 *                                  once, and faster, if it was taken over (adopt.h)
 *   in the keeper alone            looks for lost segments and rebuilds them (rebuild.h), and for
 *                                  copies of arrays (array_watch.h)
 *   what was mended or lost        told as events
 *
 * A thread of its own, since a rebuild takes as long as it takes, and neither heartbeats nor the
 * burial of the dead wait for it. Idle, it looks ten times a second at a few words.
 */
#ifndef DSM_NODE_CARETAKER_H
#define DSM_NODE_CARETAKER_H

#include "cluster.h"

typedef struct dsm_caretaker dsm_caretaker;

/* `node` < 0 for the owner. NULL without memory or thread. */
dsm_caretaker *dsm_caretaker_open(dsm_cluster *cluster, int node);
/* Joins the thread. */
void dsm_caretaker_close(dsm_caretaker *caretaker);
/* Whether this process is the keeper; from the service thread, at each heartbeat. */
void dsm_caretaker_serves(dsm_caretaker *caretaker, bool serves);

#endif
