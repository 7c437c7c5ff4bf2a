/* One walk along both rings at once. Between two neighbouring points of either ring nothing can
 * change, so the lists at the first hash of such a segment hold for all of it.
 */
#include "ring_difference.h"

static uint64_t segment_end(const dsm_ring *ring, uint64_t first) {
  uint32_t index = ring->buckets[first >> ring->bucket_shift];
  while (ring->points[index] < first) index++;
  return ring->points[index] | DSM_RING_NODE_NONE;
}

static void read_segment(const dsm_ring_difference *difference, dsm_ring_move *segment) {
  uint64_t first = difference->first;
  uint64_t before_end = segment_end(difference->before, first);
  uint64_t after_end = segment_end(difference->after, first);
  segment->first = first;
  segment->last = before_end < after_end ? before_end : after_end;
  segment->before_count =
      dsm_ring_prefer(difference->before, first, difference->copies, segment->before);
  segment->after_count =
      dsm_ring_prefer(difference->after, first, difference->copies, segment->after);
}

static void step_over(dsm_ring_difference *difference, const dsm_ring_move *segment) {
  difference->done = segment->last == UINT64_MAX;
  difference->first = segment->last + 1;
}

static bool same_list(const uint16_t *left, uint32_t left_count, const uint16_t *right,
                      uint32_t right_count) {
  return left_count == right_count && memcmp(left, right, left_count * sizeof *left) == 0;
}

static bool moved(const dsm_ring_move *segment) {
  return !same_list(segment->before, segment->before_count, segment->after, segment->after_count);
}

static bool same_move(const dsm_ring_move *left, const dsm_ring_move *right) {
  return same_list(left->before, left->before_count, right->before, right->before_count) &&
         same_list(left->after, left->after_count, right->after, right->after_count);
}

dsm_status dsm_ring_difference_start(dsm_ring_difference *difference, const dsm_ring *before,
                                     const dsm_ring *after, uint32_t copies) {
  if (copies == 0 || copies > DSM_RING_DIFFERENCE_COPIES_MAX) return DSM_USAGE;
  *difference = (dsm_ring_difference){.before = before, .after = after, .copies = copies};
  return DSM_OK;
}

bool dsm_ring_difference_next(dsm_ring_difference *difference, dsm_ring_move *move) {
  bool found = false;
  while (!difference->done) {
    dsm_ring_move segment;
    read_segment(difference, &segment);
    if (!found) {
      found = moved(&segment);
      *move = segment;
    } else if (same_move(move, &segment)) {
      move->last = segment.last;
    } else {
      break;
    }
    step_over(difference, &segment);
  }
  return found;
}
