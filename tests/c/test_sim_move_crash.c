/* A mover killed at every planned crash point, in the simulated system: each kind of move ×
 * replication × point, then a survivor that goes on with it or takes the stripe elsewhere; and the
 * survivor killed at points of its own, then a second one.
 *
 * Beside the move, between its steps, one key is written. Whatever instant the mover dies at, this
 * key is as before or as after, all others are as they were, in the region with all copies and in
 * the one with a single copy; and once somebody has finished, every node holds what the route says
 * and nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/move.h"
#include "../../csrc/store/route.h"
#include "check_main.h"
#include "crash_story.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-move"
#define NODES 6u
#define KEYS 14u
#define STEPS_MAX 400u
#define SECOND_STRIDE 61u

/* What becomes of each place of the route: a number below 10 is the node at that place before, from
 * 10 on a node that the route did not name. */
typedef struct kind {
  const char *name;
  uint8_t places[3];
  unsigned stride;
} kind;

static const kind kinds[] = {
    {"another primary", {10, 1, 2}, 7},
    {"another last", {0, 1, 10}, 7},
    {"turned round", {2, 1, 0}, 7},
    {"primary to the back, a new one before it", {10, 0, 1}, 11},
    {"all new", {10, 11, 12}, 13},
};

static const uint64_t sizes[] = {5, 64, 300, 0, 900, 3000, 9000};
static const item after = {ITEM_VALUE, 700, 9001};

typedef struct trial {
  const kind *kind;
  uint32_t replicas;
  dsm_route before;
  uint8_t target[DSM_REPLICAS_MAX];
} trial;

static fixture single_of(const fixture *self) {
  fixture single = *self;
  dsm_region_settings settings = {1, 1}, actual;
  single.replicas = 1;
  fixture_require(dsm_region_open(&single.call, "single", 6, &settings, true, &single.region,
                                  &actual) == DSM_OK,
                  "second region");
  return single;
}

static dsm_status put_key(fixture *by, uint64_t key) {
  return fixture_put(by, key, 100 + key, sizes[key % (sizeof sizes / sizeof *sizes)]);
}

static void fill(fixture *by) {
  fixture single = single_of(by);
  for (uint64_t key = 0; key < KEYS; key++) {
    fixture_require(put_key(by, key) == DSM_OK, "put");
    fixture_require(put_key(&single, key) == DSM_OK, "put single");
  }
}

static void find_target(trial *self, const dsm_space *space) {
  uint8_t others[NODES];
  uint32_t count = 0;
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(space, 0));
  fixture_require(dsm_route_unseal(space, word, 0, &self->before), "route");
  for (uint8_t node = 0; node < NODES; node++)
    if (!dsm_route_names(&self->before, node)) others[count++] = node;
  uint32_t places = 0;
  for (uint32_t i = 0; i < 3 && places < self->replicas; i++) {
    uint8_t place = self->kind->places[i];
    if (place >= 10 && place - 10u < count) self->target[places++] = others[place - 10];
    if (place < self->replicas) self->target[places++] = self->before.nodes[place];
  }
  fixture_require(places == self->replicas, "every place has a node");
}

/* Brings the stripe to a route, a small step at a time; `between` after the first one. */
static void move_to(fixture *by, const uint8_t *nodes, uint32_t count, bool between) {
  dsm_move move;
  bool done = false;
  dsm_move_begin(&move, 0, nodes, count, 0);
  move.step_objects = 5;
  for (unsigned step = 0; !done; step++) {
    dsm_status status = dsm_move_step(&by->call, &move, &done);
    if (status != DSM_OK)
      fprintf(stderr, "%s: %s: %s, node %d\n", fixture_story, dsm_status_name(status),
              by->call.fault.what, by->call.fault.node);
    fixture_require(status == DSM_OK && step < STEPS_MAX, "the move gets on");
    if (step == 0 && between)
      fixture_require(fixture_put(by, 0, after.seed, after.bytes) == DSM_OK, "put between");
  }
}

static void act(crash_story *story, fixture *victim) {
  const trial *self = story->context;
  move_to(victim, self->target, self->replicas, true);
}

static void judge_keys(fixture *by) {
  fixture single = single_of(by);
  uint64_t length;
  for (uint64_t key = 0; key < KEYS; key++) {
    uint64_t bytes = sizes[key % (sizeof sizes / sizeof *sizes)];
    item expected = {ITEM_VALUE, bytes, 100 + key};
    item found = fixture_get(by, key);
    fixture_require(item_equal(found, expected) || (key == 0 && item_equal(found, after)),
                    "the value is what was put");
    fixture_require(item_equal(fixture_get(&single, key), expected), "the single copy is there");
  }
  fixture_require(dsm_region_length(&by->call, by->region, &length) == DSM_OK && length == KEYS,
                  "the region counts its keys");
}

/* What a survivor does: it reads, writes, and brings the stripe to where it is to be, or back. */
static void recover(crash_story *story, fixture *by) {
  const trial *self = story->context;
  judge_keys(by);
  fixture_require(put_key(by, 3) == DSM_OK, "the survivor writes");
  if (story->at % 4 < 2)
    move_to(by, self->before.nodes, self->before.count, false);
  else
    move_to(by, self->target, self->replicas, false);
}

static void judge(crash_story *story, fixture *by, bool rescued) {
  const trial *self = story->context;
  (void)rescued;
  judge_keys(by);
  fixture_retire_dead(by);
  fixture_require(put_key(by, 5) == DSM_OK, "writes go on");
  fixture_check_clean(by);
  move_to(by, self->target, self->replicas, false);
  judge_keys(by);
  fixture_check_clean(by);
  fixture_require(dsm_strays_read(by->call.space, 0) == 0, "nothing is left behind");
  for (uint32_t node = 0; node < NODES; node++) {
    uint32_t place = 0;
    while (place < self->replicas && self->target[place] != node) place++;
    uint64_t expected = place == self->replicas ? 0 : place == 0 ? 2 * KEYS : KEYS;
    fixture_require(dsm_node_objects(by->call.space, node) == expected,
                    "every node holds what its place says");
  }
  fixture single = single_of(by);
  for (uint64_t key = 0; key < KEYS; key++) {
    fixture_check_replicas(by, key);
    fixture_require(fixture_delete(by, key) == DSM_OK, "delete");
    fixture_require(fixture_delete(&single, key) == DSM_OK, "delete single");
  }
  fixture_require(fixture_limbo_pages(by) == 0, "nothing stays in limbo");
  fixture_require(fixture_used_pages(by) == 0, "no page is lost");
  fixture_check_clean(by);
}

static void try_kind(const kind *kind, uint32_t replicas) {
  trial self = {.kind = kind, .replicas = replicas};
  unsigned stride = rounds_all() ? 1 : kind->stride;
  crash_story story = {
      .cluster = CLUSTER,
      .name = kind->name,
      .replicas = replicas,
      .context = &self,
      .stride = stride,
      .second_stride = SECOND_STRIDE * (rounds_all() ? 5 : stride),
      .second_every = rounds_all() ? 1 : 3,
      .act = act,
      .recover = recover,
      .judge = judge,
  };
  fixture_shape shape = {CLUSTER, NODES, replicas, 1, 4u << 20};
  dsm_sim_start(replicas);
  fixture owner = fixture_create(&shape);
  fill(&owner);
  find_target(&self, owner.call.space);
  crash_story_tell(&story, owner);
  dsm_sim_stop();
}

int main(int argc, char **argv) {
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (argc > 1 && strcmp(argv[1], kinds[i].name) != 0) continue;
    for (uint32_t replicas = 1; replicas <= 3; replicas++) try_kind(&kinds[i], replicas);
  }
  CHECK(crash_deaths > 20);
  CHECK(crash_second_deaths > 20);
  printf("%u deaths, %u second deaths\n", crash_deaths, crash_second_deaths);
  return check_result("sim_move_crash");
}
