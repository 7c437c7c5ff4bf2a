/* Nodes that come and go, in the simulated system: ids, builds and epochs; processes that are
 * behind and catch up by reading, writing and scanning; a stopped one; a killed adder and remover
 * at every planned crash point; a node whose segment is lost.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/birth.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/move.h"
#include "../../csrc/store/route.h"
#include "../../csrc/store/route_restore.h"
#include "../../csrc/store/scan.h"
#include "../../csrc/store/snapshot.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-nodes"
#define KEYS 40u
#define STRIPES 4u

static uint32_t run_new(void) {
  uint32_t pid = dsm_sim_process_new();
  dsm_sim_process_run(pid);
  return pid;
}

static fixture begin(uint32_t nodes, uint32_t replicas) {
  dsm_sim_start(1);
  fixture_shape shape = {CLUSTER, nodes, replicas, STRIPES, 4u << 20};
  fixture owner = fixture_create(&shape);
  for (uint64_t key = 0; key < KEYS; key++)
    CHECK_EQUAL(fixture_put(&owner, key, 100 + key, key % 7 ? 40 * (key % 5) : 9000), DSM_OK);
  return owner;
}

static void end(fixture *owner) {
  fixture_close(owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

static void expect_keys(fixture *by, uint64_t from) {
  for (uint64_t key = from; key < KEYS; key++) {
    item expected = {ITEM_VALUE, key % 7 ? 40 * (key % 5) : 9000, 100 + key};
    CHECK(item_equal(fixture_get(by, key), expected));
  }
}

static void move_stripe(fixture *by, uint32_t stripe, const uint8_t *nodes, uint32_t count,
                        uint64_t lost) {
  dsm_move move;
  bool done = false;
  dsm_move_begin(&move, stripe, nodes, count, lost);
  for (unsigned step = 0; !done && step < 200; step++)
    CHECK_EQUAL(dsm_move_step(&by->call, &move, &done), DSM_OK);
  CHECK(done);
}

/* Every stripe to the same nodes. */
static void move_all(fixture *by, const uint8_t *nodes, uint32_t count) {
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++) move_stripe(by, stripe, nodes, count, 0);
}

static dsm_node_entry entry_of(fixture *by, unsigned node) {
  dsm_node_entry entry = {0};
  CHECK_EQUAL(dsm_nodes_read(&by->call, node, &entry), DSM_OK);
  return entry;
}

static unsigned add(fixture *by) {
  unsigned node = DSM_NODES_MAX;
  CHECK_EQUAL(dsm_node_add(&by->call, DSM_NODE_WEIGHT_ONE, &node), DSM_OK);
  return node;
}

static void remove_node(fixture *by, unsigned node) {
  CHECK_EQUAL(dsm_node_drain(&by->call, node), DSM_OK);
  CHECK_EQUAL(dsm_node_leave(&by->call, node), DSM_OK);
  CHECK_EQUAL(dsm_node_remove(&by->call, node), DSM_OK);
}

static uint64_t scan(fixture *by) {
  static uint8_t buffer[1 << 16];
  uint64_t keys = 0;
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
    uint64_t used = 0;
    CHECK_EQUAL(
        dsm_scan_stripe(&by->call, (uint16_t)by->region, stripe, buffer, sizeof buffer, &used),
        DSM_OK);
    for (uint64_t at = 0; at < used; keys++) {
      uint64_t word;
      memcpy(&word, buffer + at, 8);
      at += 8 + (((word & UINT32_MAX) + 7) & ~7ull);
    }
  }
  return keys;
}

/* An id is given again with a new build; who was away meanwhile has the old segment mapped. */
static void an_id_is_used_again(void) {
  fixture owner = begin(2, 1);
  uint32_t owner_pid = dsm_sim_process_pid();
  uint32_t reader_pid = run_new(), writer_pid = run_new();
  fixture writer = fixture_attach(CLUSTER);
  dsm_sim_process_run(reader_pid);
  fixture reader = fixture_attach(CLUSTER);
  dsm_sim_process_run(owner_pid);
  uint64_t epoch = dsm_load_relaxed_u64(&dsm_space_control(owner.call.space)->epoch);
  CHECK_EQUAL(add(&owner), 2);
  CHECK_EQUAL(entry_of(&owner, 2).build, 1);
  CHECK(dsm_load_relaxed_u64(&dsm_space_control(owner.call.space)->epoch) == epoch + 1);
  move_all(&owner, (const uint8_t[]){2}, 1);
  dsm_sim_process_run(reader_pid);
  expect_keys(&reader, 0);
  fixture_key key;
  dsm_sight sight;
  uint64_t present;
  fixture_key_make(&reader, &key, 0); /* 9,000 bytes: it can be pinned */
  CHECK_EQUAL(dsm_snapshot_look(&reader.call, &key.key, &sight), DSM_OK);
  dsm_read pinned;
  CHECK_EQUAL(dsm_read_begin(&reader.call, &key.key, &pinned), DSM_OK);
  CHECK_EQUAL(dsm_read_pin(&reader.call, &pinned), DSM_OK);
  const uint8_t *view = dsm_read_value(reader.call.space, &pinned);

  dsm_sim_process_run(owner_pid);
  move_all(&owner, (const uint8_t[]){0}, 1);
  CHECK_EQUAL(fixture_put(&owner, 0, 500, 9000), DSM_OK);
  remove_node(&owner, 2);
  CHECK_EQUAL(entry_of(&owner, 2).state, DSM_NODE_FREE);
  CHECK_EQUAL(add(&owner), 2);
  CHECK_EQUAL(entry_of(&owner, 2).build, 2);
  move_all(&owner, (const uint8_t[]){2}, 1);

  /* By reading, by comparing, by scanning: nothing of the old build is believed, and what was
   * pinned there is still what it was. */
  dsm_sim_process_run(reader_pid);
  CHECK_EQUAL(dsm_snapshot_again(&reader.call, &key.key, &sight, &present), DSM_ABORTED);
  CHECK(item_equal(fixture_get(&reader, 0), (item){ITEM_VALUE, 9000, 500}));
  expect_keys(&reader, 1);
  CHECK_EQUAL(scan(&reader), KEYS);
  uint64_t seed;
  CHECK(pattern_holds(dsm_read_value(reader.call.space, &pinned), 9000, &seed) && seed == 100);
  CHECK(dsm_read_value(reader.call.space, &pinned) == view);
  dsm_read_unpin(reader.call.space, &pinned);
  /* The writer has never seen node 2 in any build. */
  dsm_sim_process_run(writer_pid);
  CHECK_EQUAL(fixture_put(&writer, 1, 600, 70), DSM_OK);
  CHECK(item_equal(fixture_get(&writer, 1), (item){ITEM_VALUE, 70, 600}));
  CHECK_EQUAL(scan(&writer), KEYS);
  dsm_sim_process_run(reader_pid);
  CHECK(item_equal(fixture_get(&reader, 1), (item){ITEM_VALUE, 70, 600}));
  fixture_check_clean(&reader);
  fixture_close(&reader, false);
  dsm_sim_process_run(writer_pid);
  fixture_close(&writer, false);
  dsm_sim_process_run(owner_pid);
  end(&owner);
}

/* The mover died between a new route and its copies. Who has never seen the new node takes neither
 * the new word for damage nor an old copy for the truth, also when the first thing it does is scan.
 */
static void a_route_to_an_unknown_node_is_whole(void) {
  fixture owner = begin(2, 1);
  uint32_t owner_pid = dsm_sim_process_pid(), scanner_pid = run_new();
  fixture scanner = fixture_attach(CLUSTER);
  const dsm_space *space = scanner.call.space;
  dsm_sim_process_run(owner_pid);
  uint64_t before = dsm_load_relaxed_u64(dsm_space_route(owner.call.space, 0));
  CHECK_EQUAL(add(&owner), 2);
  move_all(&owner, (const uint8_t[]){2}, 1);
  for (unsigned node = 0; node < 3; node++)
    dsm_store_relaxed_u64(dsm_space_node_route(owner.call.space, node, 0), before);
  uint64_t moved = dsm_load_relaxed_u64(dsm_space_route(owner.call.space, 0));
  dsm_sim_process_run(scanner_pid);
  CHECK(!dsm_route_restore(space, 0));
  CHECK(dsm_load_relaxed_u64(dsm_space_route(space, 0)) == moved);
  CHECK_EQUAL(scan(&scanner), KEYS);
  expect_keys(&scanner, 0);
  CHECK(dsm_load_relaxed_u64(dsm_space_route(space, 0)) == moved);
  dsm_route_copy(space, 0, moved);
  fixture_check_clean(&scanner);
  fixture_close(&scanner, false);
  dsm_sim_process_run(owner_pid);
  end(&owner);
}

static void what_is_refused(void) {
  fixture owner = begin(2, 2);
  unsigned node;
  CHECK_EQUAL(dsm_node_drain(&owner.call, 1), DSM_USAGE);
  CHECK_EQUAL(owner.call.fault.right, 2);
  CHECK_EQUAL(dsm_node_drain(&owner.call, 7), DSM_USAGE);
  CHECK_EQUAL(dsm_node_drain(&owner.call, 4000), DSM_USAGE);
  CHECK_EQUAL(dsm_node_leave(&owner.call, 1), DSM_USAGE);
  CHECK_EQUAL(dsm_node_remove(&owner.call, 1), DSM_USAGE);
  CHECK_EQUAL(dsm_node_remove(&owner.call, 7), DSM_OK);
  CHECK_EQUAL(dsm_node_add(&owner.call, 0, &node), DSM_USAGE);
  CHECK_EQUAL(dsm_node_add(&owner.call, DSM_NODE_WEIGHT_MAX + 1, &node), DSM_USAGE);
  CHECK_EQUAL(dsm_node_weigh(&owner.call, 3, 500), DSM_USAGE);
  CHECK_EQUAL(dsm_node_weigh(&owner.call, 1, 500), DSM_OK);
  CHECK_EQUAL(entry_of(&owner, 1).weight, 500);
  for (unsigned id = 2; id < DSM_NODES_MAX; id++) CHECK_EQUAL(add(&owner), id);
  CHECK_EQUAL(dsm_node_add(&owner.call, 1000, &node), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_node_drain(&owner.call, 0), DSM_OK);
  CHECK_EQUAL(dsm_node_leave(&owner.call, 0), DSM_RETRY); /* routes name it */
  dsm_move move;
  bool done;
  dsm_route route;
  CHECK(dsm_route_decode(dsm_load_relaxed_u64(dsm_space_route(owner.call.space, 0)), 0, &route));
  /* Nothing moves to a node that drains, nor to one that is not there. */
  move_stripe(&owner, 0, (const uint8_t[]){5, 6}, 2, 0);
  dsm_move_begin(&move, 0, (const uint8_t[]){0, 6}, 2, 0);
  CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_RETRY);
  for (uint32_t stripe = 1; stripe < STRIPES; stripe++)
    move_stripe(&owner, stripe, (const uint8_t[]){5, 6}, 2, 0);
  CHECK_EQUAL(dsm_node_leave(&owner.call, 0), DSM_OK);
  CHECK_EQUAL(dsm_node_remove(&owner.call, 0), DSM_OK);
  expect_keys(&owner, 0);
  fixture_check_clean(&owner);
  end(&owner);
}

/* A mover that is stopped between its look at the node table and its store cannot have a node
 * leave; one that is stopped with the lock in its hand names the culprit. */
static void a_stopped_mover_blocks_its_stripe_alone(void) {
  fixture owner = begin(3, 1);
  uint32_t owner_pid = dsm_sim_process_pid(), mover_pid = run_new();
  fixture mover = fixture_attach(CLUSTER);
  dsm_route held;
  CHECK_EQUAL(dsm_stripe_take(&mover.call, 2, &held), DSM_OK);
  dsm_sim_process_freeze(mover_pid, true);
  dsm_sim_process_run(owner_pid);
  owner.call.wait_ms = 10;
  dsm_move move;
  bool done;
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
    if (stripe == 2) continue;
    move_stripe(&owner, stripe, (const uint8_t[]){1}, 1, 0);
  }
  dsm_move_begin(&move, 2, (const uint8_t[]){1}, 1, 0);
  CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_LOCK_TIMEOUT);
  CHECK_EQUAL(owner.call.fault.process.pid, mover_pid);
  CHECK_EQUAL(dsm_node_drain(&owner.call, 2), DSM_OK);
  CHECK_EQUAL(dsm_node_leave(&owner.call, 2), DSM_LOCK_TIMEOUT);
  dsm_sim_process_freeze(mover_pid, false);
  dsm_sim_process_run(mover_pid);
  dsm_stripe_drop(&mover.call, 2, &held);
  fixture_close(&mover, false);
  dsm_sim_process_run(owner_pid);
  move_stripe(&owner, 2, (const uint8_t[]){1}, 1, 0);
  CHECK_EQUAL(dsm_node_leave(&owner.call, 2), DSM_OK);
  CHECK_EQUAL(dsm_node_remove(&owner.call, 2), DSM_OK);
  expect_keys(&owner, 0);
  fixture_check_clean(&owner);
  end(&owner);
}

/* The segment of a primary is not to be used any more: its backup takes its place at once, and the
 * copies are made good from there. */
static void a_lost_node_is_left_out(void) {
  fixture owner = begin(4, 2);
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
    move_stripe(&owner, stripe, (const uint8_t[]){3, 1}, 2, 0);
  dsm_node_entry entry = entry_of(&owner, 3);
  uint64_t version_before, version_after;
  fixture_key key;
  dsm_read read;
  fixture_key_make(&owner, &key, 1);
  CHECK_EQUAL(dsm_read_begin(&owner.call, &key.key, &read), DSM_OK);
  version_before = read.header.version;
  entry.state = DSM_NODE_LOST;
  CHECK_EQUAL(dsm_registry_take(&owner.call), DSM_OK);
  dsm_nodes_write(owner.call.space, 3, &entry);
  dsm_registry_drop(&owner.call);
  CHECK_EQUAL(dsm_read_begin(&owner.call, &key.key, &read), DSM_CORRUPT);
  CHECK_EQUAL(fixture_put(&owner, 1, 1, 9), DSM_CORRUPT);
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
    dsm_move move;
    bool done;
    dsm_move_begin(&move, stripe, (const uint8_t[]){1}, 1, 1ull << 3);
    CHECK_EQUAL(dsm_move_step(&owner.call, &move, &done), DSM_OK);
    CHECK(move.published && move.objects == 0);
    move_stripe(&owner, stripe, (const uint8_t[]){1, 2}, 2, 1ull << 3);
  }
  expect_keys(&owner, 0);
  CHECK_EQUAL(fixture_put(&owner, 1, 101, 40), DSM_OK);
  CHECK_EQUAL(dsm_read_begin(&owner.call, &key.key, &read), DSM_OK);
  version_after = read.header.version;
  CHECK(version_after > version_before);
  fixture_check_clean(&owner);
  end(&owner);
}

typedef struct membership {
  fixture *victim;
  bool removes;
} membership;

static void change_membership(void *context) {
  membership *self = context;
  if (!self->removes) {
    unsigned node;
    dsm_node_add(&self->victim->call, DSM_NODE_WEIGHT_ONE, &node);
    return;
  }
  dsm_node_drain(&self->victim->call, 2);
  dsm_node_leave(&self->victim->call, 2);
  dsm_node_remove(&self->victim->call, 2);
}

/* Whatever instant who adds or removes is killed at, the survivor goes on to the same end. */
static bool killed_at(bool removes, unsigned at) {
  fixture owner = begin(3, 1);
  uint32_t owner_pid = dsm_sim_process_pid();
  move_all(&owner, (const uint8_t[]){0}, 1);
  uint32_t pid = run_new();
  fixture victim = fixture_attach(CLUSTER);
  membership change = {&victim, removes};
  bool left = crash_jump(at, change_membership, &change);
  snprintf(fixture_story, sizeof fixture_story, "%s, point %u %s", removes ? "remove" : "add", at,
           crash_point_name());
  dsm_sim_process_kill(pid);
  dsm_sim_process_run(owner_pid);
  fixture_abandon(&victim);
  expect_keys(&owner, 0);
  CHECK_EQUAL(fixture_put(&owner, 3, 103, 40 * 3), DSM_OK);
  if (removes) {
    if (entry_of(&owner, 2).state != DSM_NODE_FREE) remove_node(&owner, 2);
    CHECK_EQUAL(entry_of(&owner, 2).state, DSM_NODE_FREE);
  }
  unsigned wanted = removes ? 2 : entry_of(&owner, 3).state == DSM_NODE_UP ? 4 : 3;
  CHECK_EQUAL(add(&owner), wanted);
  move_all(&owner, (const uint8_t[]){(uint8_t)wanted}, 1);
  expect_keys(&owner, 0);
  fixture_check_clean(&owner);
  run_new();
  fixture late = fixture_attach(CLUSTER);
  expect_keys(&late, 0);
  fixture_close(&late, false);
  dsm_sim_process_run(owner_pid);
  end(&owner);
  return left;
}

static void killed_anywhere(bool removes) {
  unsigned points = 0;
  while (killed_at(removes, points + 1)) points++;
  CHECK(points > 10);
}

int main(void) {
  an_id_is_used_again();
  a_route_to_an_unknown_node_is_whole();
  what_is_refused();
  a_stopped_mover_blocks_its_stripe_alone();
  a_lost_node_is_left_out();
  killed_anywhere(false);
  killed_anywhere(true);
  return check_result("sim_nodes");
}
