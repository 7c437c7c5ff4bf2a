/* Vector clocks: Pekko's VectorClockSpec as a table of event strings, a scalar twin over random
 * clocks of every length up to three vectors, and causal delivery.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/vector_clock.h"
#include "check_main.h"

enum { COUNT_MAX = 300 };

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

/* A clock from the nodes that ticked, in order: "121" is two events at node 1 and one at node 2. */
static void run(uint64_t clock[8], const char *events) {
  memset(clock, 0, 8 * sizeof *clock);
  for (; *events; events++)
    CHECK_EQUAL(dsm_vector_clock_tick(clock, 8, (size_t)(*events - '0')), DSM_OK);
}

static dsm_clock_order compare_runs(const char *left_events, const char *right_events) {
  uint64_t left[8], right[8];
  run(left, left_events);
  run(right, right_events);
  return dsm_vector_clock_compare(left, right, 8);
}

static void test_pekko_comparisons(void) {
  static const struct {
    const char *left, *right;
    dsm_clock_order order;
  } cases[] = {
      {"", "", DSM_CLOCK_EQUAL},
      {"121", "121", DSM_CLOCK_EQUAL},
      {"121", "1213", DSM_CLOCK_BEFORE},
      {"1", "2", DSM_CLOCK_CONCURRENT},
      {"121", "113", DSM_CLOCK_CONCURRENT},
      {"22", "1223", DSM_CLOCK_BEFORE},
      {"12", "11", DSM_CLOCK_CONCURRENT},
      {"1223", "12222", DSM_CLOCK_CONCURRENT},
      {"133", "132", DSM_CLOCK_CONCURRENT},
      {"1", "", DSM_CLOCK_AFTER},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static const dsm_clock_order mirrored[] = {DSM_CLOCK_EQUAL, DSM_CLOCK_AFTER, DSM_CLOCK_BEFORE,
                                               DSM_CLOCK_CONCURRENT};
    CHECK_EQUAL(compare_runs(cases[i].left, cases[i].right), cases[i].order);
    CHECK_EQUAL(compare_runs(cases[i].right, cases[i].left), mirrored[cases[i].order]);
  }
}

static void check_merge(const char *left_events, const char *right_events) {
  uint64_t left[8], right[8], merged[8], other_way[8];
  run(left, left_events);
  run(right, right_events);
  run(merged, left_events);
  run(other_way, right_events);
  dsm_vector_clock_merge(merged, right, 8);
  dsm_vector_clock_merge(other_way, left, 8);
  CHECK_EQUAL(dsm_vector_clock_compare(merged, other_way, 8), DSM_CLOCK_EQUAL);
  CHECK_EQUAL(dsm_vector_clock_compare(left, merged, 8), DSM_CLOCK_BEFORE);
  CHECK_EQUAL(dsm_vector_clock_compare(right, merged, 8), DSM_CLOCK_BEFORE);
}

static void test_pekko_merges(void) {
  check_merge("12222", "1223");
  check_merge("44", "1223");
  check_merge("11", "2");
}

/* Clocks of exactly count counters, so that a sanitizer sees a step beyond them. */
static void check_length(size_t count, int changes) {
  size_t bytes = (count ? count : 1) * sizeof(uint64_t);
  uint64_t *left = malloc(bytes), *right = malloc(bytes), *merged = malloc(bytes);
  /* Mostly equal clocks, so that one lane alone decides; values on both sides of the sign bit. */
  for (size_t i = 0; i < count; i++) left[i] = right[i] = random_next() >> (random_next() % 64);
  for (; changes > 0 && count > 0; changes--) right[random_next() % count] = random_next();
  unsigned order = 0;
  for (size_t i = 0; i < count; i++) {
    order |= left[i] < right[i] ? 1u : left[i] > right[i] ? 2u : 0u;
    merged[i] = left[i];
  }
  CHECK_EQUAL(dsm_vector_clock_compare(left, right, count), order);
  dsm_vector_clock_merge(merged, right, count);
  for (size_t i = 0; i < count; i++)
    CHECK_EQUAL(merged[i], left[i] > right[i] ? left[i] : right[i]);
  free(left);
  free(right);
  free(merged);
}

static void test_every_length_agrees_with_one_by_one(void) {
  for (size_t count = 0; count < COUNT_MAX; count++)
    for (int round = 0; round < 8; round++) check_length(count, round / 2);
}

static void test_tick_refuses(void) {
  uint64_t clock[2] = {UINT64_MAX - 1, 0};
  CHECK_EQUAL(dsm_vector_clock_tick(clock, 2, 2), DSM_USAGE);
  CHECK_EQUAL(dsm_vector_clock_tick(clock, 2, 0), DSM_OK);
  CHECK_EQUAL(dsm_vector_clock_tick(clock, 2, 0), DSM_CLOCK_OVERFLOW);
  CHECK_EQUAL(clock[0], UINT64_MAX);
}

static void test_causal_delivery(void) {
  uint64_t here[3] = {2, 0, 5};
  uint64_t next[3] = {3, 0, 5}, skips_one[3] = {4, 0, 5}, again[3] = {2, 0, 5};
  uint64_t depends_on_more[3] = {3, 1, 5}, knows_less[3] = {3, 0, 1}, first[3] = {0, 1, 0};
  CHECK(dsm_vector_clock_deliverable(here, next, 3, 0));
  CHECK(!dsm_vector_clock_deliverable(here, skips_one, 3, 0));
  CHECK(!dsm_vector_clock_deliverable(here, again, 3, 0));
  CHECK(!dsm_vector_clock_deliverable(here, depends_on_more, 3, 0));
  CHECK(dsm_vector_clock_deliverable(here, knows_less, 3, 0));
  CHECK(dsm_vector_clock_deliverable(here, first, 3, 1));
  CHECK(!dsm_vector_clock_deliverable(here, first, 3, 0));
  uint64_t all[3] = {UINT64_MAX, 0, 0}, none[3] = {0, 0, 0};
  CHECK(!dsm_vector_clock_deliverable(all, none, 3, 0));
}

int main(void) {
  test_pekko_comparisons();
  test_pekko_merges();
  test_every_length_agrees_with_one_by_one();
  test_tick_refuses();
  test_causal_delivery();
  return check_result("vector_clock");
}
