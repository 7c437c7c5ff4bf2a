/* The hybrid clock against the table of CockroachDB's first clock test (2014), against the paper's
 * two-part algorithm step by step, and at the ends of both parts.
 */
#include <stdbool.h>

#include "../../csrc/proto/hybrid_clock.h"
#include "check_main.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

/* Times are microseconds here and nanoseconds there; the maximum drift is 1,000 of them. */
static void test_cockroach_table_of_2014(void) {
  static const struct {
    uint64_t now;
    bool receives;
    uint64_t message[2], expected[2];
  } steps[] = {
      {5, false, {0, 0}, {5, 0}},      {6, false, {0, 0}, {6, 0}},
      {10, true, {10, 5}, {10, 6}},    {7, false, {0, 0}, {10, 7}},
      {8, true, {10, 4}, {10, 8}},     {9, true, {1100, 888}, {10, 8}},
      {10, true, {10, 99}, {10, 100}}, {11, true, {10, 31}, {11, 0}},
      {11, false, {0, 0}, {11, 1}},
  };
  dsm_hybrid_clock clock;
  dsm_hybrid_clock_init(&clock, 1000);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    uint64_t stamp, message = dsm_hybrid_stamp(steps[i].message[0], steps[i].message[1]);
    if (steps[i].receives) {
      bool faulty = steps[i].message[0] == 1100;
      CHECK_EQUAL(dsm_hybrid_clock_receive(&clock, steps[i].now, message, &stamp),
                  faulty ? DSM_CLOCK_OFFSET : DSM_OK);
    } else {
      CHECK_EQUAL(dsm_hybrid_clock_send(&clock, steps[i].now, &stamp), DSM_OK);
    }
    CHECK_EQUAL(dsm_hybrid_physical_us(clock.last), steps[i].expected[0]);
    CHECK_EQUAL(dsm_hybrid_logical(clock.last), steps[i].expected[1]);
  }
}

/* Figure 5 of the paper with l and c kept apart. */
static void twin_receive(uint64_t *l, uint64_t *c, uint64_t now, uint64_t lm, uint64_t cm) {
  uint64_t before = *l;
  *l = before > lm ? before : lm;
  *l = *l > now ? *l : now;
  if (*l == before && *l == lm)
    *c = (*c > cm ? *c : cm) + 1;
  else if (*l == before)
    *c = *c + 1;
  else if (*l == lm)
    *c = cm + 1;
  else
    *c = 0;
}

static void twin_send(uint64_t *l, uint64_t *c, uint64_t now) {
  uint64_t before = *l;
  *l = before > now ? before : now;
  *c = *l == before ? *c + 1 : 0;
}

static void test_the_paper_with_two_parts(void) {
  for (int run = 0; run < 200; run++) {
    dsm_hybrid_clock clock;
    dsm_hybrid_clock_init(&clock, 50);
    uint64_t l = 0, c = 0;
    for (int step = 0; step < 100; step++) {
      uint64_t now = 1000 + random_next() % 40, stamp;
      if (random_next() % 2) {
        uint64_t lm = 1000 + random_next() % 40, cm = random_next() % 20;
        uint64_t message = dsm_hybrid_stamp(lm, cm);
        CHECK_EQUAL(dsm_hybrid_clock_receive(&clock, now, message, &stamp), DSM_OK);
        twin_receive(&l, &c, now, lm, cm);
      } else {
        CHECK_EQUAL(dsm_hybrid_clock_send(&clock, now, &stamp), DSM_OK);
        twin_send(&l, &c, now);
      }
      CHECK_EQUAL(stamp, dsm_hybrid_stamp(l, c));
    }
  }
}

static void test_a_used_up_microsecond_borrows_the_next(void) {
  dsm_hybrid_clock clock;
  dsm_hybrid_clock_init(&clock, 10);
  uint64_t stamp, previous = 0;
  for (uint64_t i = 0; i < 3 * (DSM_HYBRID_LOGICAL_MAX + 1); i++) {
    CHECK_EQUAL(dsm_hybrid_clock_send(&clock, 500, &stamp), DSM_OK);
    CHECK(stamp > previous);
    previous = stamp;
  }
  CHECK_EQUAL(dsm_hybrid_physical_us(stamp), 502);
  CHECK_EQUAL(dsm_hybrid_logical(stamp), DSM_HYBRID_LOGICAL_MAX);
  CHECK_EQUAL(dsm_hybrid_clock_drift_us(&clock, 500), 2);
  CHECK_EQUAL(dsm_hybrid_clock_drift_us(&clock, 503), 0);
  CHECK_EQUAL(dsm_hybrid_clock_send(&clock, 600, &stamp), DSM_OK);
  CHECK_EQUAL(stamp, dsm_hybrid_stamp(600, 0));
}

static void test_the_offset_is_bounded(void) {
  dsm_hybrid_clock clock;
  dsm_hybrid_clock_init(&clock, 100);
  uint64_t stamp;
  CHECK_EQUAL(dsm_hybrid_clock_send(&clock, 1000, &stamp), DSM_OK);
  uint64_t before = clock.last;
  CHECK_EQUAL(dsm_hybrid_clock_receive(&clock, 1000, dsm_hybrid_stamp(1101, 0), &stamp),
              DSM_CLOCK_OFFSET);
  CHECK_EQUAL(dsm_hybrid_clock_receive(&clock, 1000, UINT64_MAX, &stamp), DSM_CLOCK_OFFSET);
  CHECK_EQUAL(clock.last, before);
  CHECK_EQUAL(dsm_hybrid_clock_receive(&clock, 1000, dsm_hybrid_stamp(1100, 7), &stamp), DSM_OK);
  CHECK_EQUAL(stamp, dsm_hybrid_stamp(1100, 8));
  /* The physical clock jumps back by far more than the bound: local events still get stamps. */
  CHECK_EQUAL(dsm_hybrid_clock_send(&clock, 3, &stamp), DSM_OK);
  CHECK_EQUAL(stamp, dsm_hybrid_stamp(1100, 9));
}

static void test_the_end_of_time(void) {
  dsm_hybrid_clock clock;
  dsm_hybrid_clock_init(&clock, 100);
  uint64_t stamp;
  CHECK_EQUAL(dsm_hybrid_clock_send(&clock, DSM_HYBRID_PHYSICAL_US_MAX + 1, &stamp), DSM_USAGE);
  CHECK_EQUAL(dsm_hybrid_clock_receive(&clock, UINT64_MAX, 1, &stamp), DSM_USAGE);
  clock.last = UINT64_MAX - 1;
  CHECK_EQUAL(dsm_hybrid_clock_send(&clock, 5, &stamp), DSM_OK);
  CHECK_EQUAL(stamp, UINT64_MAX);
  CHECK_EQUAL(dsm_hybrid_clock_send(&clock, 5, &stamp), DSM_CLOCK_OVERFLOW);
  CHECK_EQUAL(clock.last, UINT64_MAX);
}

int main(void) {
  test_cockroach_table_of_2014();
  test_the_paper_with_two_parts();
  test_a_used_up_microsecond_borrows_the_next();
  test_the_offset_is_bounded();
  test_the_end_of_time();
  return check_result("hybrid_clock");
}
