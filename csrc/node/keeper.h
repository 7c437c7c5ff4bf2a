/* The keeper: who acts on a verdict. The owner while it lives, else the lowest living node.
 *
 * Every service thread judges for itself; the keeper alone (of those that it does not suspect)
 * records suspicions and ends hung nodes: recorded first, then SIGKILL by pidfd, so that the signal
 * reaches the incarnation that was judged. Nobody takes over before the kernel has reported that
 * end (I-6). A process that is being traced is left to its tracer.
 *
 *   I  two that both think to be keeper do no harm: records are made once, a dead process cannot be
 *      killed, and a node has one living process (registry.h)
 *   I  a keeper that is killed between any two steps is followed by the next one, who judges anew
 *
 * In the service thread; waits at most a millisecond for the ring of events.
 */
#ifndef DSM_NODE_KEEPER_H
#define DSM_NODE_KEEPER_H

#include "peers.h"
#include "watch.h"

/* Whether this process is to act on silence; also while the owner is silent itself. */
bool dsm_keeper_judges(const dsm_space *space, const dsm_peers *peers);
/* Whether this process is to start nodes and to do the cluster's background work: the owner never
 * yields that while it lives, be it stopped. */
bool dsm_keeper_serves(const dsm_space *space, const dsm_peers *peers);

/* By who does not judge: records that a suspicion has ended. A node that was silent for a while may
 * be the keeper again, and does not judge itself. */
void dsm_keeper_hear(dsm_call *call);

/* Records what changed and kills who is hung. */
void dsm_keeper_judge(dsm_call *call, const dsm_peers *peers, const dsm_watch *watch);

/* Whether a node has no living process, as far as is recorded. */
bool dsm_keeper_absent(const dsm_space *space, uint32_t node);

#endif
