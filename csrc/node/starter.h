/* Starting nodes without Python: how the keeper of an ownerless cluster replaces dead ones.
 *
 * The keeper's own Python may compute for hours; its service thread starts the successor by itself,
 * from a command and an environment that were noted when this process began.
 *
 *   I  a start is tried while the node has no living process, one at a time, ever later after vain
 *      ones; the registry refuses a second process for a node, so that a start which an earlier
 *      keeper had under way is harmless
 *   I  what we start we reap, and nothing else: other children are Python's
 *
 * In the service thread alone, but for dsm_starter_set, which precedes it.
 */
#ifndef DSM_NODE_STARTER_H
#define DSM_NODE_STARTER_H

#include "cluster.h"

/* Copies both lists, which end with NULL. A node is started by the command, its number and "-1". */
dsm_status dsm_starter_set(dsm_cluster *cluster, const char *const *command,
                           const char *const *environment);
void dsm_starter_free(struct dsm_starter *starter);

/* Starts who is missing and reaps who has ended. Nothing without dsm_starter_set. */
void dsm_starter_replace(dsm_call *call, dsm_cluster *cluster, uint64_t now_ns);

#endif
