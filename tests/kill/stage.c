/* The three clusters of a scenario, and their names, which never stay behind. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/mem/arena.h"
#include "step.h"

#define STRIPES 2u
#define NODE_PAGES 96u

static const char *const roles[3] = {"a", "b", "c"};

static void role_name(char *out, size_t room, unsigned role) {
  snprintf(out, room, "step-%d-%s", (int)getpid(), roles[role]);
}

void stage_unlink_all(void) {
  char name[DSM_CLUSTER_NAME_BYTES];
  for (unsigned role = 0; role < 3; role++) {
    role_name(name, sizeof name, role);
    dsm_cluster_unlink(name);
  }
}

static void touch(const outside *segments, unsigned segment, uint64_t start, uint64_t bytes) {
  for (uint64_t at = start & ~4095ull; at < start + bytes; at += DSM_PAGE_BYTES)
    (void)*(const volatile uint8_t *)(segments->segment[segment].base + at);
}

static void touch_run(void *context, uint64_t page, const dsm_run *run) {
  const outside *node = context;
  if (run->kind != DSM_RUN_UNBACKED)
    touch(node, 0, page * DSM_ARENA_PAGE_BYTES, run->pages * DSM_ARENA_PAGE_BYTES);
}

/* Makes visible what has memory and was never written: pictures show pages that hold data. Of the
 * control segment's tables only the parts that a change can reach; trace_unwatched tells if that
 * was too little. */
static void touch_backed(const stage *self, dsm_call *call) {
  const dsm_layout *layout = &call->space->layout;
  const uint64_t control[] = {0,
                              layout->participants,
                              layout->regions,
                              layout->routes,
                              layout->locks,
                              layout->node_locks,
                              layout->intents,
                              layout->arena_intents,
                              layout->arena_intents + DSM_PAGE_BYTES,
                              layout->region_counts};
  for (size_t i = 0; i < sizeof control / sizeof *control; i++)
    touch(&self->victim, 0, control[i], 1);
  for (uint32_t i = 0; i < call->space->node_count; i++) {
    outside node = {.count = 1, .segment = {self->victim.segment[1 + i]}};
    touch(&node, 0, 0, layout->data);
    if (dsm_arena_valid(call, i, touch_run, &node) != DSM_OK) give_up("arena is not valid");
  }
}

void stage_open(stage *self, const scenario *scenario, uint32_t replicas) {
  char name[DSM_CLUSTER_NAME_BYTES], copy[DSM_CLUSTER_NAME_BYTES], second[DSM_CLUSTER_NAME_BYTES];
  *self = (stage){.scenario = scenario};
  role_name(name, sizeof name, 0);
  role_name(copy, sizeof copy, 1);
  role_name(second, sizeof second, 2);
  dsm_options options = {name, replicas, replicas, STRIPES, NODE_PAGES * DSM_PAGE_BYTES, {0}, 0, 0};
  dsm_fault fault;
  dsm_status status = dsm_cluster_create(&options, &self->owner, &fault);
  if (status != DSM_OK) give_up("create: %s %s", dsm_status_name(status), fault.what);
  dsm_call call = dsm_call_make(&self->owner->space, 1000);
  world_build(&self->world, &call, replicas, scenario, &self->change);
  outside_open(&self->victim, name, replicas);
  touch_backed(self, &call);
  outside_make(&self->copy, copy, &self->victim);
  outside_make(&self->second, second, &self->victim);
  picture_take(&self->victim, &self->before);
}

void stage_close(stage *self) {
  for (uint64_t i = 0; i < self->kept_count; i++) picture_free(&self->kept[i].bytes);
  free(self->kept);
  picture_lay(&self->before, &self->victim);
  outside_unlink(&self->victim);
  outside_unlink(&self->copy);
  outside_unlink(&self->second);
  outside_close(&self->victim);
  outside_close(&self->copy);
  outside_close(&self->second);
  picture_free(&self->before);
  dsm_cluster_drop(self->owner);
}

void step_report(const stage *self, const char *phase, uint64_t step, const char *wrong) {
  fprintf(stderr, "FAILED: %s, replication %u, %s, instruction %llu: %s\n", self->scenario->name,
          self->world.replicas, phase, (unsigned long long)step, wrong);
}
