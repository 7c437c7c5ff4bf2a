/* A stripe that moves away while a reader is between its route and its table: what the reader then
 * finds at the old node, nothing or another's, is not believed (I-5, I-8).
 */
#include <stdio.h>
#include <string.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/move.h"
#include "check_main.h"
#include "fixture.h"

enum { KEYS = 30, BYTES = 300, NODES = 4 };

static fixture owner;
static uint32_t replicas;
static uint8_t first_node; /* of the next route; it grows with each move */
static bool is_moving;
static unsigned moves;

/* All of the stripe goes to nodes that it is not at. */
static void move_away(void) {
  dsm_call call = dsm_call_make(owner.call.space, 0);
  dsm_move move;
  bool done = false;
  uint8_t nodes[DSM_REPLICAS_MAX];
  first_node = (uint8_t)((first_node + replicas) % NODES);
  for (uint32_t i = 0; i < replicas; i++) nodes[i] = (uint8_t)((first_node + i) % NODES);
  dsm_move_begin(&move, 0, nodes, replicas, 0);
  for (unsigned step = 0; !done && step < 500; step++)
    CHECK_EQUAL(dsm_move_step(&call, &move, &done), DSM_OK);
  CHECK(done);
  moves++;
}

/* Once per read, at its first look: who moves reads, too. */
static void at_point(const char *name) {
  if (is_moving || strcmp(name, "read.routed") != 0) return;
  is_moving = true;
  move_away();
}

static void story(uint32_t copies) {
  replicas = copies;
  snprintf(fixture_story, sizeof fixture_story, "%u copies", copies);
  dsm_sim_start(5);
  owner = fixture_create(&(fixture_shape){"ctest-readmoved", NODES, copies, 1, 8u << 20});
  for (uint64_t key = 0; key < KEYS; key++)
    CHECK_EQUAL(fixture_put(&owner, key, 100 + key, BYTES), DSM_OK);
  for (uint64_t key = 0; key < KEYS + 5; key++) {
    fixture_key name;
    dsm_read read;
    fixture_key_make(&owner, &name, key);
    is_moving = false;
    dsm_crash_hook = at_point;
    dsm_status status = dsm_read_begin(&owner.call, &name.key, &read);
    dsm_crash_hook = NULL;
    CHECK(is_moving);
    CHECK_EQUAL(status, key < KEYS ? DSM_OK : DSM_NOT_FOUND);
    item expected = {key < KEYS ? ITEM_VALUE : ITEM_ABSENT, key < KEYS ? BYTES : 0,
                     key < KEYS ? 100 + key : 0};
    CHECK(item_equal(fixture_get(&owner, key), expected));
  }
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

int main(void) {
  story(1);
  story(2);
  CHECK(moves >= 2 * KEYS);
  return check_result("sim_read_moved");
}
