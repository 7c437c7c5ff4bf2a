/* Merging a clock of 64 entries with the clocks of messages, each a different one.
 *
 * merge_near  the messages' clocks lie in the first-level cache: 16 of them, 8 KiB
 * merge_far   they come from 4 MiB, in an order that the processor can foresee
 * merge_plain the loop that a compiler makes of plain C for any processor, over the near clocks
 *
 * A node's own clock is set back before each round, so that counters rise as they do in use.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/vector_clock.h"
#include "timing.h"

enum { ENTRIES = 64, NEAR = 16, FAR = 1 << 13, MERGES = FAR };

typedef struct clock_subject {
  uint64_t own[ENTRIES];
  uint64_t (*messages)[ENTRIES];
} clock_subject;

static void set_back(void *subject) {
  clock_subject *s = subject;
  memset(s->own, 0, sizeof s->own);
}

static uint64_t merge_from(clock_subject *s, int distinct) {
  for (int i = 0; i < MERGES; i++)
    dsm_vector_clock_merge(s->own, s->messages[i & (distinct - 1)], ENTRIES);
  return s->own[ENTRIES - 1];
}

static uint64_t merge_near(void *subject) {
  return merge_from(subject, NEAR);
}

static uint64_t merge_far(void *subject) {
  return merge_from(subject, FAR);
}

static uint64_t merge_plain(void *subject) {
  clock_subject *s = subject;
  for (int i = 0; i < MERGES; i++) {
    const uint64_t *other = s->messages[i & (NEAR - 1)];
    for (int node = 0; node < ENTRIES; node++)
      if (s->own[node] < other[node]) s->own[node] = other[node];
  }
  return s->own[ENTRIES - 1];
}

void time_vector_clock(int rounds) {
  static clock_subject s;
  uint64_t random = 64;
  s.messages = aligned_alloc(64, FAR * sizeof *s.messages);
  if (s.messages == NULL) exit(2);
  for (int i = 0; i < FAR; i++)
    for (int node = 0; node < ENTRIES; node++) s.messages[i][node] = timing_random(&random) >> 32;
  const timing figures[] = {
      {"merge_near", set_back, merge_near, &s, MERGES},
      {"merge_far", set_back, merge_far, &s, MERGES},
      {"merge_plain", set_back, merge_plain, &s, MERGES},
  };
  timing_run(figures, 3, rounds);
  free(s.messages);
}
