/* Points and keys as libketama makes them (Last.fm, 2007), so that a ring filled here names the
 * same server for every key as memcached clients do. Four 32-bit points come from one MD5 digest of
 * "name-round"; a key's hash is the first of its own digest's four words. The 32 bits take the
 * upper half of a hash. Do not mix these points with those of dsm_ring_add() on one ring.
 *
 * Where points of two nodes fall together libketama leaves the order to its sort; here the lower
 * node id comes first. Pure; concurrency as for the ring.
 */
#ifndef DSM_PROTO_KETAMA_H
#define DSM_PROTO_KETAMA_H

#include "ring.h"

enum { DSM_KETAMA_NAME_BYTES_MAX = 255, DSM_KETAMA_ROUND_POINTS = 4 };

/* Digests for a node of this weight among node_count nodes of weight_total together: 40 at equal
 * weights. In the single precision that libketama computes in, which decides at the edges. */
uint32_t dsm_ketama_rounds(uint64_t weight, uint64_t weight_total, uint32_t node_count);

/* Puts a node on the ring; the name is what its users know it by, such as "10.0.1.1:11211". Errors
 * as for dsm_ring_add(); DSM_USAGE for a longer name than DSM_KETAMA_NAME_BYTES_MAX. */
dsm_status dsm_ketama_add(dsm_ring *ring, uint32_t node, const char *name, size_t name_bytes,
                          uint32_t rounds);

/* The hash to look a key up by in such a ring. */
uint64_t dsm_ketama_hash(const void *key, size_t key_bytes);

#endif
