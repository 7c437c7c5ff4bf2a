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
/* Writes it anew from a configuration that was verified; the magic last. */
void dsm_headers_control_write(dsm_control_shm *control, const dsm_config_shm *config);
/* The same from the segments of the nodes of that cluster; false if none tells. */
bool dsm_headers_control_restore(const char *cluster, dsm_control_shm *control);

/* The build as a header has it: sealed, so that damage is told from another build. */
static inline uint64_t dsm_headers_build(uint32_t build) {
  return dsm_seal(build, 0x4255494C44ull);
}
/* The header's build, after a damaged one was written anew as `expected`. */
uint32_t dsm_headers_build_read(dsm_node_shm *header, uint32_t expected);

bool dsm_headers_node_holds(const dsm_space *space, const dsm_node_shm *header, uint32_t node);
/* Writes a node's header anew, unless it is a whole one of another cluster, node or build. */
bool dsm_headers_node_restore(const dsm_space *space, dsm_node_shm *header, uint32_t node,
                              uint32_t build);

#endif
