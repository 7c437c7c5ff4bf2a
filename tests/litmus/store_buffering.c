/* Store buffering between two processes: what the orders of `Cluster.atomic` promise, and what not.
 *
 * Process 0 stores x = 1 and loads y; process 1 stores y = 1 and loads x. That both load 0 is
 * allowed under release/acquire (each store may still be in its processor's buffer) and forbidden
 * under seq_cst. The program counts how often it happens, for each pair of orders, by the very
 * functions that the Python class calls. Exit status 1 if seq_cst was ever seen to fail.
 *
 *     make litmus            or: store_buffering [rounds]
 *
 * Whether the weak outcome shows at all depends on the machine: both processes need a processor.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/base/atomic_ordered.h"

#define BATCH 4096u
#define SPINS_BEFORE_YIELD 20000u

typedef struct cell {
  _Alignas(64) dsm_atomic_u64 word;
} cell;

static struct {
  cell x[BATCH], y[BATCH];
  uint8_t saw[2][BATCH];
  cell arrived;
} * shared;

static const struct {
  const char *name;
  dsm_order store, load;
} pairs[] = {
    {"relaxed / relaxed", DSM_ORDER_RELAXED, DSM_ORDER_RELAXED},
    {"release / acquire", DSM_ORDER_RELEASE, DSM_ORDER_ACQUIRE},
    {"seq_cst / seq_cst", DSM_ORDER_SEQ_CST, DSM_ORDER_SEQ_CST},
};

/* Both come here `times` times in all; the count only grows, so nobody has to reset it. */
static void meet(uint64_t times) {
  dsm_fetch_add_u64(&shared->arrived.word, 1, DSM_ORDER_ACQ_REL);
  for (unsigned spins = 0; dsm_load_u64(&shared->arrived.word, DSM_ORDER_ACQUIRE) < 2 * times;)
    if (++spins % SPINS_BEFORE_YIELD == 0) usleep(0);
}

static void walk(int self, unsigned pair, uint64_t *met) {
  cell *mine = self ? shared->y : shared->x;
  cell *other = self ? shared->x : shared->y;
  for (unsigned i = 0; i < BATCH; i++) {
    if (i % 8 == 0) meet(++*met); /* so that they stay side by side */
    dsm_store_u64(&mine[i].word, 1, pairs[pair].store);
    shared->saw[self][i] = (uint8_t)dsm_load_u64(&other[i].word, pairs[pair].load);
  }
}

static void clear(void) {
  for (unsigned i = 0; i < BATCH; i++) {
    dsm_store_u64(&shared->x[i].word, 0, DSM_ORDER_RELAXED);
    dsm_store_u64(&shared->y[i].word, 0, DSM_ORDER_RELAXED);
  }
}

int main(int argc, char **argv) {
  uint64_t batches = (argc > 1 ? strtoull(argv[1], NULL, 0) : 4000000) / BATCH + 1, met = 0;
  uint64_t weak[3] = {0};
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  pid_t child = fork();
  int self = child == 0;
  for (unsigned pair = 0; pair < 3; pair++)
    for (uint64_t batch = 0; batch < batches; batch++) {
      if (!self) clear();
      meet(++met);
      walk(self, pair, &met);
      meet(++met);
      for (unsigned i = 0; !self && i < BATCH; i++)
        weak[pair] += !shared->saw[0][i] && !shared->saw[1][i];
    }
  if (self) _exit(0);
  waitpid(child, NULL, 0);
  printf("store / load: both processes loaded 0, of %" PRIu64 " rounds\n", batches * BATCH);
  for (unsigned pair = 0; pair < 3; pair++)
    printf("%s: %" PRIu64 "\n", pairs[pair].name, weak[pair]);
  return weak[2] != 0;
}
