/* Moving stripes in the simulated system, against what the keys are to be: random changes between
 * the steps of random moves, in regions with all and with single copies; versions that never come
 * twice; what was deleted does not come back; damage at the source.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/move.h"
#include "../../csrc/store/route.h"
#include "check_main.h"
#include "fixture.h"

#define CLUSTER "ctest-moving"
#define NODES 5u
#define KEYS 120u

static uint64_t random_state;

typedef struct model {
  item items[KEYS];
  uint64_t versions[KEYS];
} model;

static fixture begin(uint32_t replicas) {
  dsm_sim_start(1);
  fixture_shape shape = {CLUSTER, NODES, replicas, 1, 8u << 20};
  return fixture_create(&shape);
}

static void end(fixture *owner) {
  fixture_close(owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

static fixture single_of(const fixture *self) {
  fixture single = *self;
  dsm_region_settings settings = {1, 1}, actual;
  single.replicas = 1;
  CHECK_EQUAL(dsm_region_open(&single.call, "single", 6, &settings, true, &single.region, &actual),
              DSM_OK);
  return single;
}

/* One random change; its version must be above all before it. */
static void change(fixture *by, model *known) {
  static uint8_t bytes[12000];
  uint64_t key = random_below(&random_state, KEYS), version = 0;
  fixture_key name;
  fixture_key_make(by, &name, key);
  dsm_condition condition = {by->replicas, DSM_ANY_VERSION};
  dsm_status status;
  if (random_below(&random_state, 3) == 0) {
    status = dsm_delete(&by->call, &name.key, condition, &version);
    CHECK_EQUAL(status, known->items[key].kind == ITEM_ABSENT ? DSM_NOT_FOUND : DSM_OK);
    known->items[key] = (item){.kind = ITEM_ABSENT};
  } else {
    uint64_t length = random_below(&random_state, 40) ? random_below(&random_state, 300) : 11000;
    uint64_t seed = random_next(&random_state);
    if (length) pattern_fill(bytes, length, seed);
    dsm_part part = {bytes, length};
    dsm_value value = {&part, 1, 7, length};
    status = dsm_put(&by->call, &name.key, &value, condition, &version);
    CHECK_EQUAL(status, DSM_OK);
    known->items[key] = (item){ITEM_VALUE, length, seed};
  }
  if (status != DSM_OK) return;
  CHECK(version > known->versions[key]);
  known->versions[key] = version;
}

static void compare(fixture *by, const model *known) {
  uint64_t live = 0, length;
  for (uint64_t key = 0; key < KEYS; key++) {
    CHECK(item_equal(fixture_get(by, key), known->items[key]));
    fixture_check_replicas(by, key);
    live += known->items[key].kind != ITEM_ABSENT;
  }
  CHECK_EQUAL(dsm_region_length(&by->call, by->region, &length), DSM_OK);
  CHECK_EQUAL(length, live);
}

static void random_target(uint8_t *nodes, uint32_t count) {
  for (uint32_t i = 0; i < count;) {
    nodes[i] = (uint8_t)random_below(&random_state, NODES);
    bool fresh = true;
    for (uint32_t before = 0; before < i; before++) fresh &= nodes[before] != nodes[i];
    i += fresh;
  }
}

static void random_moves(uint32_t replicas, uint64_t seed) {
  random_state = seed * 0x9E3779B97F4A7C15ull | 1;
  fixture owner = begin(replicas), single = single_of(&owner);
  static model all, one;
  memset(&all, 0, sizeof all);
  memset(&one, 0, sizeof one);
  for (unsigned round = 0; round < 60; round++) {
    dsm_move move;
    bool done = false;
    uint8_t nodes[DSM_REPLICAS_MAX];
    random_target(nodes, replicas);
    dsm_move_begin(&move, 0, nodes, replicas, 0);
    move.step_objects = 1 + (uint32_t)random_below(&random_state, 20);
    /* Some moves are left half done, for the next one to go on from. */
    uint64_t steps = random_below(&random_state, 3) ? UINT64_MAX : random_below(&random_state, 9);
    for (uint64_t step = 0; step < steps && !done; step++) {
      CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_OK);
      for (uint64_t i = random_below(&random_state, 5); i-- > 0;) {
        change(&owner, &all);
        change(&single, &one);
      }
    }
    compare(&owner, &all);
    compare(&single, &one);
    fixture_check_clean(&owner);
  }
  end(&owner);
}

/* A damaged object at the primary is taken from a backup; with no whole one, nothing is moved. */
static void damage_is_not_copied(void) {
  fixture owner = begin(2);
  for (uint64_t key = 0; key < 5; key++)
    CHECK_EQUAL(fixture_put(&owner, key, 100 + key, 200), DSM_OK);
  dsm_move move;
  bool done = false;
  dsm_move_begin(&move, 0, (const uint8_t[]){0, 1}, 2, 0);
  for (unsigned step = 0; !done && step < 500; step++)
    CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_OK);
  fixture_key key;
  dsm_found found;
  fixture_key_make(&owner, &key, 2);
  for (unsigned node = 0; node < 2; node++) {
    CHECK_EQUAL(dsm_table_find(&owner.call, node, 0, &key.key, &found), DSM_OK);
    owner.call.space->nodes[node].base[found.offset + found.header.value_offset + 50] ^= 4;
    dsm_move_begin(&move, 0, (const uint8_t[]){2, 3}, 2, 0);
    dsm_status status = DSM_OK;
    /* The first time the backup still has it. */
    for (done = false; !done && status == DSM_OK;)
      status = dsm_move_step(&owner.call, &move, &done);
    CHECK_EQUAL(status, node == 0 ? DSM_OK : DSM_CORRUPT);
    if (node == 1) break;
    CHECK(item_equal(fixture_get(&owner, 2), (item){ITEM_VALUE, 200, 102}));
    dsm_move_begin(&move, 0, (const uint8_t[]){0, 1}, 2, 0);
    done = false;
    for (unsigned step = 0; !done && step < 500; step++)
      CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_OK);
    CHECK_EQUAL(dsm_table_find(&owner.call, 0, 0, &key.key, &found), DSM_OK);
    owner.call.space->nodes[0].base[found.offset + found.header.value_offset + 50] ^= 4;
  }
  for (uint64_t other = 0; other < 5; other++)
    if (other != 2)
      CHECK(item_equal(fixture_get(&owner, other), (item){ITEM_VALUE, 200, 100 + other}));
  end(&owner);
}

/* Without room at the target nothing is lost, and the move goes on once there is. */
static void without_room(void) {
  fixture owner = begin(1);
  for (uint64_t key = 0; key < 40; key++)
    CHECK_EQUAL(fixture_put(&owner, key, 100 + key, 9000), DSM_OK);
  dsm_route route;
  CHECK(dsm_route_decode(dsm_load_relaxed_u64(dsm_space_route(owner.call.space, 0)), 0, &route));
  uint8_t target[] = {(uint8_t)(route.nodes[0] == 0 ? 1 : 0)};
  dsm_move move;
  bool done = false;
  dsm_move_begin(&move, 0, target, 1, 0);
  dsm_sim_room_set(0);
  CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_STORE_FULL);
  for (uint64_t key = 0; key < 40; key++)
    CHECK(item_equal(fixture_get(&owner, key), (item){ITEM_VALUE, 9000, 100 + key}));
  fixture_check_clean(&owner);
  dsm_sim_room_set(1ull << 40);
  for (unsigned step = 0; !done && step < 500; step++)
    CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_OK);
  CHECK_EQUAL(move.bytes >= 40 * 9000, 1);
  for (uint64_t key = 0; key < 40; key++)
    CHECK(item_equal(fixture_get(&owner, key), (item){ITEM_VALUE, 9000, 100 + key}));
  fixture_check_clean(&owner);
  end(&owner);
}

int main(void) {
  for (uint32_t replicas = 1; replicas <= 3; replicas++)
    for (uint64_t seed = 1; seed <= 4; seed++) random_moves(replicas, seed);
  damage_is_not_copied();
  without_room();
  return check_result("sim_move");
}
