/* Real deaths: one SIGKILL per distinct state, and SIGKILLs at random instants. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "step.h"

static dsm_status operate(dsm_call *call, const void *context) {
  const stage *self = context;
  return world_change(&self->world, call, &self->change);
}

static void count_verdict(step_counts *counts, const char *wrong, survivor_outcome outcome) {
  counts->states++;
  counts->saw_old += !wrong && outcome == SAW_OLD;
  counts->saw_new += !wrong && outcome == SAW_NEW;
  counts->wrong += wrong != NULL;
}

step_counts step_kill(stage *self) {
  step_counts counts = {0};
  trace run = {0};
  for (uint64_t i = 0; i < self->kept_count; i++) {
    survivor_outcome outcome = SAW_OLD;
    picture_lay(&self->before, &self->victim);
    world_value_ready(self->change.target, &self->change.after);
    trace_start(&run, &self->victim, operate, self);
    trace_run_to(&run, &self->kept[i].place);
    uint32_t participant = run.participant;
    trace_kill(&run);
    counts.instructions += run.steps;
    const char *wrong =
        survivor_verify(self->victim.name, &self->world, &self->change, participant, &outcome);
    if (!wrong && outcome != self->kept[i].outcome) wrong = "the kill and its copy differ";
    count_verdict(&counts, wrong, outcome);
    if (wrong) step_report(self, "SIGKILL", self->kept[i].step, wrong);
  }
  trace_close(&run);
  return counts;
}

/* What the busy process tells before and after each change: the model of what must be there. */
typedef struct progress {
  volatile uint64_t started, finished;
} progress;

#define BUSY_KEYS 6u

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

/* The n-th change of the busy process, and the world after it. */
static change busy_change(world *now, uint64_t *random) {
  static const uint16_t lengths[] = {0, 8, 64, 64, 300, 1500, 5000, 9000};
  change next = {.target = (uint32_t)(next_random(random) % BUSY_KEYS)};
  item *old = &now->items[next.target];
  int64_t tag = old->tag + 1;
  uint64_t dice = next_random(random) % 8;
  if (dice < 2 && old->present)
    next = (change){CHANGE_DELETE, next.target, {.tag = tag}};
  else if (dice < 4 && (!old->present || old->counter))
    next = (change){CHANGE_ADD, next.target, {true, true, 8, (old->present ? old->tag : 0) + 3}};
  else
    next = (change){CHANGE_PUT, next.target, {true, false, lengths[next_random(random) % 8], tag}};
  return next;
}

_Noreturn static void be_busy(const char *cluster, world *now, uint64_t random, progress *told) {
  dsm_cluster *self;
  dsm_fault fault;
  if (dsm_cluster_attach(cluster, -1, &self, &fault) != DSM_OK) give_up("cannot attach");
  dsm_call call = dsm_call_make(&self->space, 1000);
  for (uint64_t n = 1;; n++) {
    change next = busy_change(now, &random);
    told->started = n;
    if (world_change(now, &call, &next) != DSM_OK) give_up("busy: %s", call.fault.what);
    now->items[next.target] = next.after;
    told->finished = n;
  }
}

/* One victim: a random life of up to three milliseconds after its first change, then the model is
 * replayed up to what it told, and a survivor verifies. */
static const char *random_kill(const stage *self, uint64_t seed, progress *told, uint64_t *random,
                               survivor_outcome *outcome, uint64_t *changes) {
  world now = self->world;
  *told = (progress){0};
  pid_t child = fork();
  if (child < 0) give_up("cannot fork");
  if (child == 0) be_busy(self->victim.name, &now, seed, told);
  while (told->started == 0) {
    int status;
    if (waitpid(child, &status, WNOHANG) == child) return "the busy process ended by itself";
  }
  struct timespec life = {0, (long)(next_random(random) % 3000000)};
  nanosleep(&life, NULL);
  kill(child, SIGKILL);
  int status;
  waitpid(child, &status, 0);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return "the busy process ended early";
  change last = {0};
  for (uint64_t n = 1; n <= told->finished; n++) {
    last = busy_change(&now, &seed);
    now.items[last.target] = last.after;
  }
  *changes += told->finished;
  if (told->started > told->finished)
    last = busy_change(&now, &seed);
  else
    last.after = now.items[last.target];
  return survivor_verify(self->victim.name, &now, &last, self->owner->space.node_count + 1,
                         outcome);
}

step_counts step_random_kills(uint32_t replicas, unsigned kills, uint64_t seed) {
  static const scenario empty = {"random instants", true, false, 0, 0, 0, CHANGE_PUT, 0, 64};
  step_counts counts = {0};
  stage self;
  stage_open(&self, &empty, replicas);
  progress *told =
      mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (told == MAP_FAILED) give_up("out of memory");
  uint64_t random = seed;
  for (unsigned i = 0; i < kills; i++) {
    survivor_outcome outcome = SAW_OLD;
    picture_lay(&self.before, &self.victim);
    const char *wrong = random_kill(&self, seed + i, told, &random, &outcome, &counts.instructions);
    count_verdict(&counts, wrong, outcome);
    if (wrong) step_report(&self, "random SIGKILL", i, wrong);
  }
  munmap(told, sizeof *told);
  stage_close(&self);
  return counts;
}
