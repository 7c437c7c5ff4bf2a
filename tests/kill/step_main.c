/* Kills at every instruction: the program. Prints what was stepped, how many distinct states there
 * were, and the verdicts; exit status 0 only if every state was right.
 *
 *   --quick   put and delete, replication 1 and 2, no recovery of recoveries
 *   --long    replication 3 as well, recovery stepped from each state, not one of each kind
 *   --seed N  for the random kills
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "step.h"

#define RANDOM_KILLS 200u

static void on_signal(int number) {
  stage_unlink_all();
  signal(number, SIG_DFL);
  raise(number);
}

static void print_row(const char *name, uint32_t replicas, const char *phase,
                      const step_counts *counts) {
  printf("%-30s R=%u %-9s %9llu %7llu %7llu %7llu %6llu\n", name, replicas, phase,
         (unsigned long long)counts->instructions, (unsigned long long)counts->states,
         (unsigned long long)counts->saw_old, (unsigned long long)counts->saw_new,
         (unsigned long long)counts->wrong);
  fflush(stdout);
}

static void add(step_counts *total, const step_counts *more) {
  total->instructions += more->instructions;
  total->states += more->states;
  total->saw_old += more->saw_old;
  total->saw_new += more->saw_new;
  total->wrong += more->wrong;
}

static void run_scenario(const scenario *plan, uint32_t replicas, step_thoroughness thoroughness,
                         step_counts *total) {
  stage self;
  stage_open(&self, plan, replicas);
  step_counts counts = step_change(&self, thoroughness);
  print_row(plan->name, replicas, "change", &counts);
  add(total, &counts);
  if (thoroughness != STEP_QUICK) {
    counts = step_recovery(&self);
    print_row(plan->name, replicas, "recovery", &counts);
    add(total, &counts);
  }
  counts = step_kill(&self);
  print_row(plan->name, replicas, "SIGKILL", &counts);
  add(total, &counts);
  stage_close(&self);
}

/* Tracer and traced take turns; on one processor a turn costs a tenth of waking another one. */
static void stay_on_one_processor(void) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((unsigned)sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
}

/* The processor's string move stores byte by byte under single-stepping, nine thousand states for
 * a value of two pages that differ in nothing that anybody can see. Outside the long run the C
 * library is told to copy by vectors, 32 bytes at a time; it reads that setting only at its start.
 */
static void copy_by_vectors(char **argv) {
  if (getenv("GLIBC_TUNABLES")) return;
  setenv(
      "GLIBC_TUNABLES",
      "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000",
      1);
  execv("/proc/self/exe", argv);
  give_up("cannot start again");
}

int main(int argc, char **argv) {
  step_thoroughness thoroughness = STEP_FULL;
  const char *only = NULL;
  uint64_t seed = dsm_os_random_u64() >> 32;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) thoroughness = STEP_QUICK;
    if (strcmp(argv[i], "--long") == 0) thoroughness = STEP_LONG;
    if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 0);
    if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
  }
  if (thoroughness != STEP_LONG) copy_by_vectors(argv);
  const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGABRT, SIGSEGV, SIGBUS};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_signal);
  stay_on_one_processor();
  uint64_t started = dsm_os_monotonic_ns();
  step_counts total = {0};
  printf("%-30s %-3s %-9s %9s %7s %7s %7s %6s\n", "scenario", "", "stepped", "instr.", "states",
         "old", "new", "wrong");
  for (uint32_t replicas = 1; replicas <= (thoroughness == STEP_LONG ? 3u : 2u); replicas++)
    for (unsigned i = 0; i < scenario_count; i++) {
      const scenario *plan = &scenarios[i];
      if (only && strcmp(only, plan->name) != 0) continue;
      if (thoroughness == STEP_QUICK && !plan->quick) continue;
      if (thoroughness != STEP_LONG && plan->slow && !only) continue;
      run_scenario(plan, replicas, thoroughness, &total);
    }
  for (uint32_t replicas = 1; replicas <= 2 && thoroughness != STEP_QUICK && !only; replicas++) {
    step_counts counts = step_random_kills(replicas, RANDOM_KILLS / 2, seed + replicas);
    print_row("random instants", replicas, "SIGKILL", &counts);
    add(&total, &counts);
  }
  print_row("all", 0, "", &total);
  printf("seed of the random kills %llu, %.1f s\n", (unsigned long long)seed,
         (double)(dsm_os_monotonic_ns() - started) / 1e9);
  return total.wrong != 0;
}
