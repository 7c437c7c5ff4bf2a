"""Bugs to plant in the ring, the clocks, conflict resolution and anti-entropy.

Each is a change of a few words in one file of csrc/proto and must be caught by the tests that
`plant.py` runs for its face. `old` occurs exactly once in its file.
"""

from __future__ import annotations

from bug import Bug

BUGS = (
    Bug(
        "a preference list names a node twice",
        "ring",
        "ring.c",
        "    if (nodes[i] == node) return true;",
        "    if (nodes[i] == node && i > 0) return true;",
    ),
    Bug(
        "the place of a node depends on how many there are",
        "ring",
        "ring.c",
        "  uint32_t name[2] = {node, index};",
        "  uint32_t name[2] = {node, index + (ring->node_count > 3)};",
    ),
    Bug(
        "a hash past the last point belongs to the last and not to the first",
        "ring",
        "ring.h",
        "  return index == ring->point_count ? 0 : index;",
        "  return index == ring->point_count ? index - 1 : index;",
    ),
    Bug(
        "bounded loads forget the request that is to be placed",
        "ring",
        "ring.c",
        "  wide share = ((wide)load_total + 1) * factor_permille,",
        "  wide share = ((wide)load_total) * factor_permille,",
    ),
    Bug(
        "bounded loads do not look at weights",
        "ring",
        "ring.c",
        "if ((wide)loads[node] * unit < share * ring->node_points[node]) return node;",
        "if ((wide)loads[node] * ring->node_count * 1000 < share) return node;",
    ),
    Bug(
        "a moved range goes on to the later of the two rings' points",
        "ring",
        "ring_difference.c",
        "  segment->last = before_end < after_end ? before_end : after_end;",
        "  segment->last = before_end < after_end ? after_end : before_end;",
    ),
    Bug(
        "concurrent clocks count as ordered",
        "clocks",
        "vector_clock.c",
        "  return (dsm_clock_order)order;",
        "  return (dsm_clock_order)(order == DSM_CLOCK_CONCURRENT ? DSM_CLOCK_BEFORE : order);",
    ),
    Bug(
        "a merge leaves out the counters behind the last whole vector",
        "clocks",
        "vector_clock.c",
        "  for (size_t i = merge_wide(clock, other, count); i < count; i++)",
        "  for (size_t i = merge_wide(clock, other, count) ? count : 0; i < count; i++)",
    ),
    Bug(
        "a hybrid clock follows its physical clock back",
        "clocks",
        "hybrid_clock.c",
        "  *stamp = clock->last = physical > seen ? physical : seen + 1;",
        "  *stamp = clock->last = physical >> 12 != seen >> 12 ? physical : seen + 1;",
    ),
    Bug(
        "a receipt is stamped like the message",
        "clocks",
        "hybrid_clock.c",
        "message > clock->last ? message : clock->last, stamp);",
        "message > clock->last ? message - 1 : clock->last, stamp);",
    ),
    Bug(
        "a clock far ahead is believed",
        "clocks",
        "hybrid_clock.c",
        "if (sent_us > now_us && sent_us - now_us > clock->offset_us_max)",
        "if (sent_us > now_us && sent_us - now_us > clock->offset_us_max * 2)",
    ),
    Bug(
        "a superseded sibling comes back",
        "clocks",
        "dotted_version.c",
        "  uint64_t floor = newer_floor > older_floor ? newer_floor : older_floor;",
        "  uint64_t floor = newer_floor < older_floor ? newer_floor : older_floor;",
    ),
    Bug(
        "the tie between equal stamps goes to whoever comes first",
        "replicas",
        "conflict.c",
        "  return order != 0 ? order : compare_words(left->checksum, right->checksum);",
        "  return order;",
    ),
    Bug(
        "digests are combined by exclusive or",
        "replicas",
        "digest_tree.c",
        "tree->digests[node] += item;",
        "tree->digests[node] ^= item;",
    ),
    Bug(
        "a subtree that differs is not opened",
        "replicas",
        "anti_entropy.c",
        "  for (uint32_t k = 0; k < DSM_DIGEST_CHILDREN; k++) {",
        "  for (uint32_t k = 0; k < DSM_DIGEST_CHILDREN - 1; k++) {",
    ),
    Bug(
        "an answer to an older query is taken for the new one",
        "replicas",
        "anti_entropy.c",
        "  if (query->count == 0 || answer->round != query->round) return DSM_OK;",
        "  if (query->count == 0) return DSM_OK;",
    ),
    Bug(
        "who has the winner already gets it again",
        "replicas",
        "repair_set.c",
        "    if (order >= 0) holders |= UINT32_C(1) << list;",
        "    if (order > 0) holders |= UINT32_C(1) << list;",
    ),
    Bug(
        "the outgoing half of a joint quorum does not vote",
        "replicas",
        "quorum.c",
        "majority_reached(quorum->incoming, nodes) && majority_reached(quorum->outgoing, nodes);",
        "majority_reached(quorum->incoming, nodes);",
    ),
)
