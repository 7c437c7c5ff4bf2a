/* The consistent-hash ring: which nodes hold a hash (Karger et al. 1997; Dynamo section 4.2).
 *
 * A ring is a sorted array of points. Each node owns as many points as its weight says, at places
 * derived from (seed, node, index) alone; so a ring is a function of its set of (node, points) and
 * never of the order in which they came, and adding or removing a node moves only what that node
 * gains or loses. A hash belongs to the first point at or after it; past the last, to the first.
 *
 * A point is one word: 48 bits of place, 16 bits of node, so that ties have one order everywhere.
 * An index over the top bits of the hash, about one entry per point, makes look-up two dependent
 * loads and a short scan instead of a binary search.
 *
 * Pure, no allocation: the caller brings the memory, dsm_ring_bytes() says how much. Look-ups may
 * run concurrently with each other, never with a change; who shares a ring publishes a new one.
 */
#ifndef DSM_PROTO_RING_H
#define DSM_PROTO_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/hash.h"
#include "../base/status.h"

enum {
  DSM_RING_POINTS_DEFAULT = 160,
  DSM_RING_NODES_MAX = 0xFFFF,
  DSM_RING_NODE_NONE = 0xFFFF,
  DSM_RING_STRIPE_COPIES_MAX = 5,
};

#define DSM__RING_NODE_BITS 16
#define DSM__RING_PLACE(hash) ((hash) >> DSM__RING_NODE_BITS << DSM__RING_NODE_BITS)

typedef struct dsm_ring {
  uint64_t *points;      /* point_count sorted points, then one that is greater than any hash */
  uint32_t *buckets;     /* per value of the top bits: the first point that is not below it */
  uint32_t *node_points; /* per node: how many points it owns; 0 when it is not on the ring */
  uint64_t seed;
  uint32_t point_count, point_count_max;
  uint32_t node_count, node_count_max;
  uint32_t bucket_shift;
} dsm_ring;

/* Bytes that a ring of at most so many node ids and points needs, 8-byte aligned. */
size_t dsm_ring_bytes(uint32_t node_count_max, uint32_t point_count_max);

/* An empty ring in memory of dsm_ring_bytes() bytes. Node ids are 0 to node_count_max - 1. */
dsm_status dsm_ring_init(dsm_ring *ring, void *memory, uint32_t node_count_max,
                         uint32_t point_count_max, uint64_t seed);

/* Puts a node on the ring with so many points (its weight). DSM_USAGE when it is there already or
 * the id or the count is out of range, DSM_TOO_MANY when the points do not fit. */
dsm_status dsm_ring_add(dsm_ring *ring, uint32_t node, uint32_t points);

/* Puts many nodes on the ring at once, each with so many points: the same ring as one by one, in
 * time that grows with the points and not with their square. As above; an error changes nothing. */
dsm_status dsm_ring_add_all(dsm_ring *ring, const uint32_t *nodes, uint32_t count, uint32_t points);

/* Takes a node off the ring; DSM_NOT_FOUND when it is not there. */
dsm_status dsm_ring_remove(dsm_ring *ring, uint32_t node);

/* Makes target, which is initialised, equal to source, in target's own memory. DSM_TOO_MANY when
 * source's points or node ids do not fit. */
dsm_status dsm_ring_copy(dsm_ring *target, const dsm_ring *source);

/* Whether order, index and counts agree with each other. */
bool dsm_ring_valid(const dsm_ring *ring);

/* Preference list: the first copies distinct nodes at or after the hash. Returns how many there
 * are, fewer than copies only when the ring has fewer nodes. */
uint32_t dsm_ring_prefer(const dsm_ring *ring, uint64_t hash, uint32_t copies, uint16_t *nodes);

/* Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016): the first node
 * at or after the hash whose load is below its share of load_total + 1, weighted by points and
 * multiplied by factor_permille / 1000 (above 1000; 1250 keeps every node within 1.25 times its
 * share). loads has an entry per node id. DSM_RING_NODE_NONE when no node has room. */
uint32_t dsm_ring_prefer_bounded(const dsm_ring *ring, uint64_t hash, const uint64_t *loads,
                                 uint64_t load_total, uint32_t factor_permille);

/* Preference list of a stripe, whose place is the hash of its number. copies is at most
 * DSM_RING_STRIPE_COPIES_MAX; node ids must fit a byte. Returns how many were filled. */
uint32_t dsm_ring_stripe(const dsm_ring *ring, uint32_t stripe, uint32_t copies, uint8_t *nodes);

/* Shared with the other makers of points: merges packed points of one node into the ring. */
void dsm__ring_merge(dsm_ring *ring, uint64_t *points, uint32_t count);
void dsm__ring_index(dsm_ring *ring);
dsm_status dsm__ring_admit(const dsm_ring *ring, uint32_t node, uint32_t points);
enum { DSM__RING_MERGE_MAX = 256 };

static inline uint32_t dsm__ring_point_node(uint64_t point) {
  return (uint32_t)(point & DSM_RING_NODE_NONE);
}

/* Index of the point that owns the hash; of the guard behind the last when the ring is empty. */
static inline uint32_t dsm_ring_find(const dsm_ring *ring, uint64_t hash) {
  uint64_t place = DSM__RING_PLACE(hash);
  uint32_t index = ring->buckets[hash >> ring->bucket_shift];
  while (ring->points[index] < place) index++;
  return index == ring->point_count ? 0 : index;
}

/* The node that owns the hash, or DSM_RING_NODE_NONE when the ring is empty. */
static inline uint32_t dsm_ring_node(const dsm_ring *ring, uint64_t hash) {
  return dsm__ring_point_node(ring->points[dsm_ring_find(ring, hash)]);
}

#endif
