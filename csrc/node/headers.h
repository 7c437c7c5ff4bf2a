/* The headers of a cluster's segments, each told by the others when it is damaged.
 *
 * Every segment repeats the configuration under a checksum. Who attaches and finds the control
 * segment's header damaged takes the configuration that most nodes' segments agree on, and one that
 * finds a node's header damaged takes the control segment's. What is written is the same, whoever
 * writes it. A control segment whose magic is 0 was never finished, and is none.
 */
#ifndef DSM_NODE_HEADERS_H
#define DSM_NODE_HEADERS_H

#include "cluster.h"

/* True if the control segment's header holds. */
bool dsm_headers_control_holds(const dsm_control_shm *control);
/* Writes it anew from the segments of the nodes of that cluster; false if none tells. */
bool dsm_headers_control_restore(const char *cluster, dsm_control_shm *control);

bool dsm_headers_node_holds(const dsm_space *space, uint32_t node);
/* Writes a node's header anew, unless it is a whole one of another cluster or node. */
bool dsm_headers_node_restore(const dsm_space *space, uint32_t node);

#endif
