/* Checkpoints under deaths, in the simulated system: who takes one and who writes beside it, killed
 * at every planned crash point.
 *
 * A checkpoint goes on step by step; between the steps another process overwrites, deletes, adds,
 * commits and moves stripes, so that objects of every size are replaced before, while and after it
 * is walked. If the writer dies, the checkpoint goes on and holds the instant of its cut exactly.
 * If who takes it dies, writers go on, and the next one takes what there is then. In the end
 * nothing is kept: no saved memory, no pin, no run in limbo, no page.
 */
#include <stdio.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "crash_story.h"
#include "cut_story.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-cut"
#define STEPS 14u

typedef struct trial {
  uint32_t replicas;
  fixture owner, taker, writer;
  uint32_t owner_pid, taker_pid, writer_pid, dead;
  item expected[CUT_KEYS];
  uint32_t step;
} trial;

/* Static, since deaths jump out of what uses them. */
static cut_taker taken;
static unsigned taker_deaths, writer_deaths;

/* A checkpoint from where it stands to its end, with changes between its steps. */
static void go_on(void *context) {
  trial *self = context;
  if (self->step == 0) {
    cut_open(&taken, &self->taker);
    self->step = 1;
  }
  while (!taken.done) {
    if (self->step < STEPS) {
      dsm_sim_process_run(self->writer_pid);
      uint32_t step = self->step++;
      cut_story_change(&self->writer, step);
      cut_story_change(&self->writer, step + 2);
      dsm_sim_process_run(self->taker_pid);
    }
    cut_step(&taken, &self->taker);
  }
  cut_close(&taken, &self->taker);
}

static void judge(trial *self, bool retire) {
  dsm_sim_process_run(self->owner_pid);
  cut_story_judge(&self->owner, retire);
}

static void after_death(trial *self, unsigned at) {
  self->dead = dsm_sim_process_pid();
  dsm_sim_process_kill(self->dead);
  if (self->dead == self->writer_pid) {
    writer_deaths++;
    dsm_sim_process_run(self->taker_pid);
    if (at % 2) fixture_retire_dead(&self->taker);
    self->step = STEPS; /* nobody writes any more */
    go_on(self);
    cut_story_require_same(taken.sink.items, self->expected,
                           "the checkpoint is the instant of its cut");
  } else {
    taker_deaths++;
    dsm_sim_process_run(self->writer_pid);
    cut_story_change(&self->writer, at % STEPS);
  }
  judge(self, at % 3 == 0);
}

/* Who takes a checkpoint and who writes beside it, one of them to its n-th point. */
static bool try_death(void *context, unsigned at) {
  trial *self = context;
  self->step = self->dead = 0;
  self->writer = crash_attach(CLUSTER, &self->writer_pid);
  self->taker = crash_attach(CLUSTER, &self->taker_pid);
  cut_story_look(&self->taker, self->expected);
  bool left = crash_jump(at, go_on, self);
  snprintf(fixture_story, sizeof fixture_story, "replication %u, point %u %s, %s", self->replicas,
           at, crash_point_name(), dsm_sim_process_pid() == self->writer_pid ? "writer" : "taker");
  if (left) {
    after_death(self, at);
  } else {
    cut_story_require_same(taken.sink.items, self->expected,
                           "the checkpoint is the instant of its cut");
    cut_story_require_nothing_kept(&self->taker);
    judge(self, true);
  }
  if (self->dead != self->writer_pid) dsm_sim_process_kill(self->writer_pid);
  if (self->dead != self->taker_pid) dsm_sim_process_kill(self->taker_pid);
  fixture_abandon(&self->writer);
  fixture_abandon(&self->taker);
  return left;
}

static void try_deaths(uint32_t replicas) {
  dsm_sim_start(replicas);
  trial self = {.replicas = replicas, .owner_pid = dsm_sim_process_pid()};
  fixture_shape shape = {CLUSTER, CUT_NODES, replicas, CUT_STRIPES, 4u << 20};
  self.owner = fixture_create(&shape);
  cut_story_fill(&self.owner);
  crash_each(1 + replicas, rounds_all() ? 1 : 7, try_death, &self);
  fixture_close(&self.owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

/* What a bit was flipped in at the primary is taken from a backup; without one it is damage. */
static void try_damage(uint32_t replicas) {
  dsm_sim_start(9);
  fixture_shape shape = {CLUSTER, CUT_NODES, replicas, 1, 4u << 20};
  fixture by = fixture_create(&shape);
  item expected[CUT_KEYS];
  cut_story_fill(&by);
  cut_story_look(&by, expected);
  for (uint64_t key = 1; key < CUT_KEYS; key++) {
    fixture_key name;
    dsm_read read;
    if (expected[key].kind == ITEM_ABSENT) continue;
    fixture_key_make(&by, &name, key);
    CHECK_EQUAL(dsm_read_begin(&by.call, &name.key, &read), DSM_OK);
    uint8_t *object = (uint8_t *)dsm_object_at(by.call.space, read.node, read.offset);
    for (unsigned place = 0; place < 2; place++) {
      uint8_t *byte = object + (place ? read.header.key_offset : 8);
      *byte ^= 16;
      snprintf(fixture_story, sizeof fixture_story, "replication %u, key %u, place %u", replicas,
               (unsigned)key, place);
      if (replicas > 1) {
        cut_take(&taken, &by);
        cut_story_require_same(taken.sink.items, expected, "a backup tells what the primary held");
      } else {
        bool done = false;
        cut_open(&taken, &by);
        dsm_status status = DSM_OK;
        while (status == DSM_OK && !done) {
          status = dsm_walk_fill(&by.call, &taken.walk, &taken.frames, &done);
          taken.frames.used = 0;
        }
        CHECK_EQUAL(status, DSM_CORRUPT);
        dsm_walk_drop(by.call.space, &taken.walk);
        dsm_cut_end(&by.call, taken.number, false);
      }
      *byte ^= 16;
    }
  }
  fixture_close(&by, true);
  dsm_sim_stop();
}

/* A writer that has no room to save goes on; the checkpoint is told. */
static void try_full(void) {
  dsm_sim_start(3);
  fixture_shape shape = {CLUSTER, CUT_NODES, 2, 1, 4u << 20};
  fixture by = fixture_create(&shape);
  cut_story_fill(&by);
  cut_open(&taken, &by);
  CHECK(!dsm_cut_spoiled(by.call.space, taken.number));
  dsm_cut_shm *cut = dsm_space_cut(by.call.space);
  dsm_store_relaxed_u64(&cut->saved_bytes, by.call.space->layout.saved_bytes - 64);
  CHECK_EQUAL(fixture_put(&by, 2, 77, 64), DSM_OK);
  CHECK(dsm_cut_spoiled(by.call.space, taken.number));
  dsm_walk_drop(by.call.space, &taken.walk);
  dsm_cut_end(&by.call, taken.number, false);
  cut_take(&taken, &by);
  item now[CUT_KEYS];
  cut_story_look(&by, now);
  cut_story_require_same(taken.sink.items, now, "the next one is whole");
  cut_story_require_nothing_kept(&by);
  fixture_close(&by, true);
  dsm_sim_stop();
}

int main(void) {
  for (uint32_t replicas = 1; replicas <= 3; replicas++) try_deaths(replicas);
  try_damage(1);
  try_damage(2);
  try_full();
  CHECK(taker_deaths > 20);
  CHECK(writer_deaths > 20);
  printf("%u deaths of takers, %u of writers\n", taker_deaths, writer_deaths);
  return check_result("sim_cut_crash");
}
