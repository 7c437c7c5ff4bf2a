/* What there is to tell of a participant, made from its slot and recorded once (event.h).
 *
 * Any process may report what it sees; the fact's value, the incarnation, keeps the second report
 * out. All may be called concurrently, also under the registry lock (the ring's lock is taken last
 * of all locks, and nothing is taken under it).
 *
 * All return what dsm_event_post returns: after DSM_LOCK_TIMEOUT the caller reports again later.
 */
#ifndef DSM_NODE_REPORT_H
#define DSM_NODE_REPORT_H

#include "event.h"

/* The participant's process has ended; `noticed_ns` is when the kernel said so, 0 if nobody
 * listened. Nothing is recorded of a child that was being forked. */
dsm_status dsm_report_death(dsm_call *call, uint32_t participant, uint32_t incarnation,
                            uint64_t noticed_ns);
/* A node is removed that has no process (any more): its going is told, if its end was not told as
 * that. */
dsm_status dsm_report_left(dsm_call *call, uint32_t node, uint32_t build);
/* What it held is repaired, as far as its locks tell. */
dsm_status dsm_report_repair(dsm_call *call, uint32_t participant, uint32_t incarnation);
/* By the parent: how the process ended. Also if it never joined. */
dsm_status dsm_report_exit(dsm_call *call, uint32_t node, uint32_t pid, int32_t status);
/* By a node itself: it serves from now on, after it has mended so many parts of its segment. */
dsm_status dsm_report_serving(dsm_call *call, uint32_t mended);
/* A node is suspected, or cleared of it; nothing if that is what is recorded already. */
dsm_status dsm_report_suspicion(dsm_call *call, uint32_t participant, uint32_t incarnation,
                                bool suspected);
/* A hung node is about to be killed. */
dsm_status dsm_report_fence(dsm_call *call, uint32_t participant, uint32_t incarnation);

/* What was mended or lost since it was last told, whoever has done it. node: the caller's, or -1.
 */
void dsm_report_recovery(dsm_call *call, int node);
/* What was filled from that checkpoint since it was last told, of so many stripes. */
dsm_status dsm_report_filled(dsm_call *call, int node, uint32_t stripes, uint64_t bytes,
                             uint64_t checkpoint, uint64_t checkpoint_ns);
/* Objects of so many stripes are lost, and in no checkpoint. */
dsm_status dsm_report_unfilled(dsm_call *call, int node, uint32_t stripes);

/* Somebody of the cluster is about to kill the participant's process, for that reason. */
void dsm_report_strike(const dsm_space *space, uint32_t participant, dsm_finding why);

/* Whether that incarnation of a node is recorded as suspected. */
bool dsm_report_suspected(const dsm_space *space, uint32_t participant, uint32_t incarnation);
/* Whether the end of that incarnation is recorded. */
static inline bool dsm_report_dead(const dsm_space *space, uint32_t participant,
                                   uint32_t incarnation) {
  return dsm_event_known(space, DSM_FACT_DEATH, participant) >= incarnation;
}

#endif
