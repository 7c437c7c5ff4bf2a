/* The headers of a cluster's segments, each told by the others when it is damaged.
 *
 * Every segment repeats the configuration under a checksum. Who attaches and finds the control
 * segment's header damaged takes the configuration that most nodes' segments agree on, and one that
 * finds a node's header damaged takes the control segment's. What is written is the same, whoever
 * writes it. A control segment whose magic is 0 was never finished, and is none.
 */
#ifndef DSM_MEM_HEADERS_H
#define DSM_MEM_HEADERS_H

#include "space.h"

/* True if the control segment's header holds. */
bool dsm_headers_control_holds(const dsm_control_shm *control);
/* Writes it anew from the segments of the nodes of that cluster; false if none tells. */
bool dsm_headers_control_restore(const char *cluster, dsm_control_shm *control);

/* The header's word for a build: sealed, so that flipped bits are damage and no other build. */
static inline uint64_t dsm_headers_build_word(uint64_t build, uint32_t node) {
  return dsm_seal(build, DSM_NODE_MAGIC + node);
}
/* The build that a header tells; 0 if the word is damaged. */
static inline uint64_t dsm_headers_build(const dsm_node_shm *header, uint32_t node) {
  bool ok;
  return dsm_unseal(header->build, DSM_NODE_MAGIC + node, &ok);
}

bool dsm_headers_node_holds(const dsm_space *space, const dsm_node_shm *header, uint32_t node);
/* Writes a node's header anew, unless it is a whole one of another cluster, node or build. */
bool dsm_headers_node_restore(const dsm_space *space, dsm_node_shm *header, uint32_t node,
                              uint32_t build);

#endif
