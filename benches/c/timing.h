/* Rounds of a loop, timed one by one, for the programs of this folder.
 *
 * A figure is printed as one line: its name, then the nanoseconds per operation of every round. A
 * round in which the kernel took the processor away is run anew a few times, as in ../rounds.py.
 * What a loop computes ends in `timing_sink`, so that no compiler drops the loop.
 */
#ifndef DSM_BENCHES_TIMING_H
#define DSM_BENCHES_TIMING_H

#include <stdint.h>

/* Runs `operations` operations on `subject` and returns something that depends on all of them. */
typedef uint64_t (*timing_loop)(void *subject);
/* Untimed, before each round; may be NULL. */
typedef void (*timing_prepare)(void *subject);

typedef struct timing {
  const char *name;
  timing_prepare prepare;
  timing_loop loop;
  void *subject;
  double operations;
} timing;

/* All of them take turns, `rounds` times after a few to warm up; then the lines are printed. */
void timing_run(const timing *figures, int count, int rounds);

/* splitmix64: the same numbers in every run. */
static inline uint64_t timing_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

void time_ring(int rounds);
void time_vector_clock(int rounds);
void time_raft(int rounds);

#endif
