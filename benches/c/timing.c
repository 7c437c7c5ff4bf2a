/* The program: `protocols ring|vector_clock|raft ROUNDS`. timing.h says what it prints. */
#define _GNU_SOURCE
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { WARM_UP = 3, ATTEMPTS = 5, FIGURES_MAX = 16 };

static volatile uint64_t timing_sink;

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

static long preemptions(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

static double round_of(const timing *figure) {
  double taken = 0;
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (figure->prepare) figure->prepare(figure->subject);
    long before = preemptions();
    double started = now_ns();
    timing_sink += figure->loop(figure->subject);
    taken = (now_ns() - started) / figure->operations;
    if (preemptions() == before) break;
  }
  return taken;
}

void timing_run(const timing *figures, int count, int rounds) {
  double *taken = calloc((size_t)count * (size_t)rounds, sizeof *taken);
  if (taken == NULL) exit(2);
  for (int number = -WARM_UP; number < rounds; number++)
    for (int i = 0; i < count; i++) {
      int figure = number % 2 == 0 ? i : count - 1 - i;
      double ns = round_of(&figures[figure]);
      if (number >= 0) taken[figure * rounds + number] = ns;
    }
  for (int i = 0; i < count; i++) {
    printf("%s", figures[i].name);
    for (int number = 0; number < rounds; number++) printf(" %.4f", taken[i * rounds + number]);
    printf("\n");
  }
  free(taken);
}

int main(int argc, char **argv) {
  int rounds = argc == 3 ? atoi(argv[2]) : 0;
  if (rounds < 1) {
    fprintf(stderr, "usage: %s ring|vector_clock|raft ROUNDS\n", argv[0]);
    return 2;
  }
  if (strcmp(argv[1], "ring") == 0) time_ring(rounds);
  if (strcmp(argv[1], "vector_clock") == 0) time_vector_clock(rounds);
  if (strcmp(argv[1], "raft") == 0) time_raft(rounds);
  return 0;
}
