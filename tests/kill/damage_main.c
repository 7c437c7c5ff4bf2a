/* Damaged segments: the program. Prints counts by area and outcome; exit status 0 only if no trial
 * broke the rule.
 *
 *   --count N   trials (100,000), shared among --workers N (2) processes
 *   --seed S    of all that is random; printed
 *   --only N    one trial of that seed, told step by step
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "damage_cases.h"

#define WORKERS_MAX 8u
#define TRIAL_SECONDS_MAX 20u

void __sanitizer_set_death_callback(void (*callback)(void));
const char *__ubsan_default_options(void);

/* Undefined behaviour ends in a signal too, so that the trial is named. */
const char *__ubsan_default_options(void) {
  return "abort_on_error=1:print_stacktrace=1";
}

typedef struct tally {
  uint64_t outcomes[AREA_COUNT][OUTCOME_COUNT];
  uint64_t done, cases_failed;
} tally;

/* Of this worker, for the report of a crash. */
static damage_world world;
static damage_trial trial;

static void on_death(void) {
  char line[320];
  int length =
      snprintf(line, sizeof line, "CRASHED: seed %llu, number %llu (%s)\n",
               (unsigned long long)trial.seed, (unsigned long long)trial.number, trial.what);
  if (write(2, line, (size_t)length) < 0) _exit(2);
  outside_unlink(&world.segments);
}

static void on_signal(int number) {
  on_death();
  signal(number, SIG_DFL);
  raise(number);
}

static void restore_size(void) {
  for (unsigned i = 0; i < world.segments.count; i++)
    if (ftruncate(world.segments.segment[i].descriptor, (off_t)world.segments.segment[i].bytes) < 0)
      give_up("cannot restore a segment's size");
}

/* The cases that mutations once found, by the first worker. */
static uint64_t run_cases(void) {
  uint64_t failed = 0;
  dsm_call call = dsm_call_make(&world.owner->space, 1000);
  for (unsigned i = 0; i < damage_case_count; i++) {
    picture_lay(&world.images[0].bytes, &world.segments);
    snprintf(trial.what, sizeof trial.what, "planned: %s", damage_cases[i].name);
    const char *wrong = damage_cases[i].run(&world, &call);
    if (wrong) fprintf(stderr, "WRONG: planned damage of %s: %s\n", damage_cases[i].name, wrong);
    failed += wrong != NULL;
  }
  return failed;
}

static void run_worker(unsigned worker, unsigned workers, uint64_t seed, uint64_t count,
                       int64_t only, tally *result) {
  char name[DSM_CLUSTER_NAME_BYTES];
  const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGABRT};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_signal);
  __sanitizer_set_death_callback(on_death);
  snprintf(name, sizeof name, "damage-%d", (int)getpid());
  trial.seed = seed;
  damage_world_open(&world, name, seed);
  if (worker == 0 && only < 0) result->cases_failed = run_cases();
  for (uint64_t number = worker; number < count; number += workers) {
    if (only >= 0) number = (uint64_t)only;
    trial.number = number;
    trial.verbose = only >= 0;
    alarm(TRIAL_SECONDS_MAX);
    damage_mutate(&world, &trial);
    damage_outcome outcome = damage_run(&world, &trial);
    if (trial.area == AREA_TRUNCATION) restore_size();
    result->outcomes[trial.area][outcome]++;
    result->done++;
    if (only >= 0) break;
  }
  alarm(0);
  damage_world_close(&world);
}

static uint64_t print_tally(const tally *results, unsigned workers) {
  uint64_t all[OUTCOME_COUNT] = {0};
  printf("%-26s %10s %10s %10s %10s\n", "area", "right", "refused", "missed", "wrong");
  for (unsigned area = 0; area <= AREA_COUNT; area++) {
    uint64_t row[OUTCOME_COUNT] = {0};
    for (unsigned i = 0; i < OUTCOME_COUNT; i++)
      for (unsigned w = 0; w < workers && area < AREA_COUNT; w++)
        row[i] += results[w].outcomes[area][i];
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) all[i] += row[i];
    const uint64_t *shown = area < AREA_COUNT ? row : all;
    printf("%-26s %10llu %10llu %10llu %10llu\n",
           area < AREA_COUNT ? damage_area_names[area] : "all", (unsigned long long)shown[0],
           (unsigned long long)shown[1], (unsigned long long)shown[2],
           (unsigned long long)shown[3]);
  }
  return all[OUTCOME_WRONG];
}

int main(int argc, char **argv) {
  uint64_t count = 100000, seed = (dsm_os_realtime_ns() >> 10) & 0xFFFFFFFF;
  unsigned workers = 2;
  int64_t only = -1;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--count") == 0) count = strtoull(argv[i + 1], NULL, 0);
    if (strcmp(argv[i], "--seed") == 0) seed = strtoull(argv[i + 1], NULL, 0);
    if (strcmp(argv[i], "--workers") == 0) workers = (unsigned)atoi(argv[i + 1]);
    if (strcmp(argv[i], "--only") == 0) only = atoll(argv[i + 1]);
  }
  if (only >= 0 || workers == 0) workers = 1, count = (uint64_t)only + 1;
  if (workers > WORKERS_MAX) workers = WORKERS_MAX;
  tally *results = mmap(NULL, sizeof(tally) * WORKERS_MAX, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (results == MAP_FAILED) give_up("out of memory");
  uint64_t started = dsm_os_monotonic_ns(), crashed = 0, done = 0;
  for (unsigned i = 0; i < workers; i++) {
    pid_t child = fork();
    if (child < 0) give_up("cannot fork");
    if (child > 0) continue;
    run_worker(i, workers, seed, count, only, &results[i]);
    exit(0);
  }
  for (unsigned i = 0; i < workers; i++) {
    int status;
    if (wait(&status) < 0 || status != 0) crashed++;
    fflush(stdout);
  }
  for (unsigned i = 0; i < workers; i++) done += results[i].done;
  uint64_t wrong = print_tally(results, workers) + results[0].cases_failed;
  printf("%u planned cases, %llu failed\n", damage_case_count,
         (unsigned long long)results[0].cases_failed);
  printf("%llu mutations, seed %llu, %llu workers ended early, %.1f s\n", (unsigned long long)done,
         (unsigned long long)seed, (unsigned long long)crashed,
         (double)(dsm_os_monotonic_ns() - started) / 1e9);
  return wrong != 0 || crashed != 0;
}
