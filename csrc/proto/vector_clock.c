/* Merge and compare choose AVX-512, AVX2 or plain integers at run time, from a table that the
 * compiler's run-time library fills before main; the counters behind the last whole vector are
 * taken one by one. The tests build each width by setting DSM_VECTOR_CLOCK_WIDTH_BITS to 64, 256 or
 * 512.
 */
#include "vector_clock.h"

#include <string.h>

#include "../base/check.h"

#ifndef DSM_VECTOR_CLOCK_WIDTH_BITS
#ifdef __x86_64__
#define DSM_VECTOR_CLOCK_WIDTH_BITS 512
#else
#define DSM_VECTOR_CLOCK_WIDTH_BITS 64
#endif
#endif

#if DSM_VECTOR_CLOCK_WIDTH_BITS >= 256
typedef uint64_t lanes256 __attribute__((vector_size(32)));
#define LANES lanes256
#define LANES_TARGET __attribute__((target("avx2")))
#define LANES_MERGE merge_avx2
#define LANES_COMPARE compare_avx2
#include "vector_clock_lanes.h"
#endif

#if DSM_VECTOR_CLOCK_WIDTH_BITS >= 512
typedef uint64_t lanes512 __attribute__((vector_size(64)));
#define LANES lanes512
#define LANES_TARGET __attribute__((target("avx512f")))
#define LANES_MERGE merge_avx512
#define LANES_COMPARE compare_avx512
#include "vector_clock_lanes.h"
#endif

/* How many leading counters were taken in vectors. */
static size_t merge_wide(uint64_t *clock, const uint64_t *other, size_t count) {
#if DSM_VECTOR_CLOCK_WIDTH_BITS >= 512
  if (__builtin_cpu_supports("avx512f")) return merge_avx512(clock, other, count);
#endif
#if DSM_VECTOR_CLOCK_WIDTH_BITS >= 256
  if (__builtin_cpu_supports("avx2")) return merge_avx2(clock, other, count);
#endif
  (void)clock, (void)other, (void)count;
  return 0;
}

static size_t compare_wide(const uint64_t *left, const uint64_t *right, size_t count,
                           unsigned *order) {
#if DSM_VECTOR_CLOCK_WIDTH_BITS >= 512
  if (__builtin_cpu_supports("avx512f")) return compare_avx512(left, right, count, order);
#endif
#if DSM_VECTOR_CLOCK_WIDTH_BITS >= 256
  if (__builtin_cpu_supports("avx2")) return compare_avx2(left, right, count, order);
#endif
  (void)left, (void)right, (void)count, (void)order;
  return 0;
}

dsm_status dsm_vector_clock_tick(uint64_t *clock, size_t count, size_t node) {
  if (node >= count) return DSM_USAGE;
  if (clock[node] == UINT64_MAX) return DSM_CLOCK_OVERFLOW;
  clock[node]++;
  return DSM_OK;
}

void dsm_vector_clock_merge(uint64_t *clock, const uint64_t *other, size_t count) {
  for (size_t i = merge_wide(clock, other, count); i < count; i++)
    if (clock[i] < other[i]) clock[i] = other[i];
}

dsm_clock_order dsm_vector_clock_compare(const uint64_t *left, const uint64_t *right,
                                         size_t count) {
  unsigned order = DSM_CLOCK_EQUAL;
  for (size_t i = compare_wide(left, right, count, &order); i < count; i++)
    order |= (left[i] < right[i]) * DSM_CLOCK_BEFORE | (left[i] > right[i]) * DSM_CLOCK_AFTER;
  return (dsm_clock_order)order;
}

bool dsm_vector_clock_deliverable(const uint64_t *clock, const uint64_t *message, size_t count,
                                  size_t sender) {
  DSM_ASSERT(sender < count);
  if (message[sender] == 0 || clock[sender] != message[sender] - 1) return false;
  /* All other counters must have arrived: up to the sender's, and behind it. */
  size_t rest = count - sender - 1;
  unsigned missing = dsm_vector_clock_compare(message, clock, sender) |
                     dsm_vector_clock_compare(message + sender + 1, clock + sender + 1, rest);
  return (missing & DSM_CLOCK_AFTER) == 0;
}
