/* Changes to a ring and walks along it. A change merges or drops sorted points in place and then
 * rebuilds the index, both in time linear in the number of points.
 */
#include "ring.h"

#include "../base/check.h"

/* The guard compares above every place, so a scan needs no bound; node 0xFFFF does not exist. */
#define GUARD UINT64_MAX

static uint32_t bucket_bits(uint32_t point_count) {
  uint32_t bits = 1;
  while (bits < 31 && (UINT32_C(1) << bits) < point_count) bits++;
  return bits;
}

size_t dsm_ring_bytes(uint32_t node_count_max, uint32_t point_count_max) {
  size_t buckets = (size_t)1 << bucket_bits(point_count_max);
  size_t bytes = ((size_t)point_count_max + 1) * sizeof(uint64_t);
  bytes += (buckets + node_count_max) * sizeof(uint32_t);
  return (bytes + 7) / 8 * 8;
}

dsm_status dsm_ring_init(dsm_ring *ring, void *memory, uint32_t node_count_max,
                         uint32_t point_count_max, uint64_t seed) {
  if (node_count_max > DSM_RING_NODES_MAX || point_count_max > INT32_MAX) return DSM_USAGE;
  uint64_t *points = memory;
  uint32_t *node_points = (uint32_t *)(points + (size_t)point_count_max + 1);
  *ring = (dsm_ring){
      .points = points,
      .node_points = node_points,
      .buckets = node_points + node_count_max,
      .seed = seed,
      .point_count_max = point_count_max,
      .node_count_max = node_count_max,
  };
  for (uint32_t node = 0; node < node_count_max; node++) node_points[node] = 0;
  dsm__ring_index(ring);
  return DSM_OK;
}

void dsm__ring_index(dsm_ring *ring) {
  uint32_t bits = bucket_bits(ring->point_count);
  ring->bucket_shift = 64 - bits;
  ring->points[ring->point_count] = GUARD;
  uint32_t index = 0;
  for (uint64_t bucket = 0; bucket >> bits == 0; bucket++) {
    while (ring->points[index] < bucket << ring->bucket_shift) index++;
    ring->buckets[bucket] = index;
  }
}

dsm_status dsm__ring_admit(const dsm_ring *ring, uint32_t node, uint32_t points) {
  if (node >= ring->node_count_max || points == 0) return DSM_USAGE;
  if (ring->node_points[node] != 0) return DSM_USAGE;
  return points <= ring->point_count_max - ring->point_count ? DSM_OK : DSM_TOO_MANY;
}

void dsm__ring_merge(dsm_ring *ring, uint64_t *points, uint32_t count) {
  DSM_ASSERT(count <= DSM__RING_MERGE_MAX && count <= ring->point_count_max - ring->point_count);
  for (uint32_t i = 1; i < count; i++) {
    uint64_t point = points[i];
    uint32_t hole = i;
    for (; hole > 0 && points[hole - 1] > point; hole--) points[hole] = points[hole - 1];
    points[hole] = point;
  }
  uint64_t *present = ring->points + ring->point_count, *end = present + count;
  ring->point_count += count;
  while (count > 0) {
    bool present_last = present > ring->points && present[-1] > points[count - 1];
    *--end = present_last ? *--present : points[--count];
  }
}

static uint64_t place_of(const dsm_ring *ring, uint32_t node, uint32_t index) {
  uint32_t name[2] = {node, index};
  return DSM__RING_PLACE(dsm_hash64(name, sizeof name, ring->seed)) | node;
}

dsm_status dsm_ring_add(dsm_ring *ring, uint32_t node, uint32_t points) {
  DSM_TRY(dsm__ring_admit(ring, node, points));
  uint64_t batch[DSM__RING_MERGE_MAX];
  for (uint32_t index = 0; index < points;) {
    uint32_t count = 0;
    while (index < points && count < DSM__RING_MERGE_MAX)
      batch[count++] = place_of(ring, node, index++);
    dsm__ring_merge(ring, batch, count);
  }
  ring->node_points[node] = points;
  ring->node_count++;
  dsm__ring_index(ring);
  return DSM_OK;
}

static void sift_down(uint64_t *heap, size_t root, size_t count) {
  uint64_t sinking = heap[root];
  for (size_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && heap[child + 1] > heap[child]) child++;
    if (heap[child] <= sinking) break;
    heap[root] = heap[child];
  }
  heap[root] = sinking;
}

/* In place, without recursion, and never quadratic. */
static void heap_sort(uint64_t *points, size_t count) {
  for (size_t root = count / 2; root-- > 0;) sift_down(points, root, count);
  for (size_t end = count; end-- > 1;) {
    uint64_t greatest = points[0];
    points[0] = points[end];
    points[end] = greatest;
    sift_down(points, 0, end);
  }
}

dsm_status dsm_ring_add_all(dsm_ring *ring, const uint32_t *nodes, uint32_t count,
                            uint32_t points) {
  if ((uint64_t)count * points > ring->point_count_max - ring->point_count) return DSM_TOO_MANY;
  for (uint32_t i = 0; i < count; i++) {
    dsm_status status = dsm__ring_admit(ring, nodes[i], points);
    if (status == DSM_OK) {
      ring->node_points[nodes[i]] = points;
      continue;
    }
    while (i-- > 0) ring->node_points[nodes[i]] = 0;
    return status;
  }
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t index = 0; index < points; index++)
      ring->points[ring->point_count++] = place_of(ring, nodes[i], index);
  heap_sort(ring->points, ring->point_count);
  ring->node_count += count;
  dsm__ring_index(ring);
  return DSM_OK;
}

dsm_status dsm_ring_remove(dsm_ring *ring, uint32_t node) {
  if (node >= ring->node_count_max || ring->node_points[node] == 0) return DSM_NOT_FOUND;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < ring->point_count; i++)
    if (dsm__ring_point_node(ring->points[i]) != node) ring->points[kept++] = ring->points[i];
  ring->point_count = kept;
  ring->node_points[node] = 0;
  ring->node_count--;
  dsm__ring_index(ring);
  return DSM_OK;
}

dsm_status dsm_ring_copy(dsm_ring *target, const dsm_ring *source) {
  if (source->point_count > target->point_count_max) return DSM_TOO_MANY;
  if (source->node_count_max > target->node_count_max) return DSM_TOO_MANY;
  memcpy(target->points, source->points, source->point_count * sizeof *source->points);
  for (uint32_t node = 0; node < target->node_count_max; node++)
    target->node_points[node] = node < source->node_count_max ? source->node_points[node] : 0;
  target->point_count = source->point_count;
  target->node_count = source->node_count;
  target->seed = source->seed;
  dsm__ring_index(target);
  return DSM_OK;
}

bool dsm_ring_valid(const dsm_ring *ring) {
  if (ring->point_count > ring->point_count_max) return false;
  if (ring->points[ring->point_count] != GUARD) return false;
  uint64_t owned = 0;
  uint32_t nodes = 0;
  for (uint32_t node = 0; node < ring->node_count_max; node++) {
    owned += ring->node_points[node];
    nodes += ring->node_points[node] != 0;
  }
  if (owned != ring->point_count || nodes != ring->node_count) return false;
  for (uint32_t i = 0; i < ring->point_count; i++) {
    uint32_t node = dsm__ring_point_node(ring->points[i]);
    if (node >= ring->node_count_max || ring->node_points[node] == 0) return false;
    if (i > 0 && ring->points[i - 1] > ring->points[i]) return false;
  }
  uint64_t buckets = UINT64_C(1) << (64 - ring->bucket_shift);
  for (uint64_t bucket = 0; bucket < buckets; bucket++) {
    uint32_t index = ring->buckets[bucket];
    uint64_t low = bucket << ring->bucket_shift;
    if (index > ring->point_count || ring->points[index] < low) return false;
    if (index > 0 && ring->points[index - 1] >= low) return false;
  }
  return true;
}

static bool contains(const uint16_t *nodes, uint32_t count, uint32_t node) {
  for (uint32_t i = 0; i < count; i++)
    if (nodes[i] == node) return true;
  return false;
}

uint32_t dsm_ring_prefer(const dsm_ring *ring, uint64_t hash, uint32_t copies, uint16_t *nodes) {
  uint32_t wanted = copies < ring->node_count ? copies : ring->node_count, found = 0;
  for (uint32_t index = dsm_ring_find(ring, hash); found < wanted; index++) {
    if (index == ring->point_count) index = 0;
    uint32_t node = dsm__ring_point_node(ring->points[index]);
    if (!contains(nodes, found, node)) nodes[found++] = (uint16_t)node;
  }
  return found;
}

uint32_t dsm_ring_prefer_bounded(const dsm_ring *ring, uint64_t hash, const uint64_t *loads,
                                 uint64_t load_total, uint32_t factor_permille) {
  __extension__ typedef unsigned __int128 wide;
  wide share = ((wide)load_total + 1) * factor_permille, unit = (wide)ring->point_count * 1000;
  uint32_t start = dsm_ring_find(ring, hash);
  for (uint32_t step = 0, index = start; step < ring->point_count; step++, index++) {
    if (index == ring->point_count) index = 0;
    uint32_t node = dsm__ring_point_node(ring->points[index]);
    /* loads + 1 <= ceil(share * points / unit), without the division. */
    if ((wide)loads[node] * unit < share * ring->node_points[node]) return node;
  }
  return DSM_RING_NODE_NONE;
}

uint32_t dsm_ring_stripe(const dsm_ring *ring, uint32_t stripe, uint32_t copies, uint8_t *nodes) {
  DSM_ASSERT(copies <= DSM_RING_STRIPE_COPIES_MAX && ring->node_count_max <= UINT8_MAX);
  uint16_t wide[DSM_RING_STRIPE_COPIES_MAX];
  /* Four bytes, where a node's point hashes eight: a stripe never shares a place with a point. */
  uint64_t hash = dsm_hash64(&stripe, sizeof stripe, ring->seed);
  uint32_t found = dsm_ring_prefer(ring, hash, copies, wide);
  for (uint32_t i = 0; i < found; i++) nodes[i] = (uint8_t)wide[i];
  return found;
}
