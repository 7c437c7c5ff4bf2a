/* What is done, and what must hold in the end. */
#include "balance_story.h"

#include "../../csrc/node/balance.h"
#include "../../csrc/node/birth.h"
#include "../../csrc/store/route.h"

#define KEYS 60u
#define STEPS_MAX 3000u

static uint64_t bytes_of(uint64_t key) {
  return key % 11 == 0 ? 6000 : 30 * (key % 9);
}

fixture balance_story_begin(const char *cluster, uint32_t replicas) {
  fixture_shape shape = {cluster, 3, replicas, BALANCE_STRIPES, 4u << 20};
  fixture owner = fixture_create(&shape);
  for (uint64_t key = 0; key < KEYS; key++)
    fixture_require(fixture_put(&owner, key, 100 + key, bytes_of(key)) == DSM_OK, "put");
  return owner;
}

void balance_story_settle(fixture *by, bool writes) {
  dsm_balancer balancer = {0};
  uint32_t pause = 0;
  dsm_balance_pace(by->call.space, 1ull << 40);
  for (unsigned step = 0; pause != DSM_BALANCE_IDLE; step++) {
    fixture_require(step < STEPS_MAX, "the rebalance comes to an end");
    pause = dsm_balancer_step(&by->call, &balancer);
    if (pause && pause != DSM_BALANCE_IDLE) dsm_os_pause(pause);
    uint64_t key = step % KEYS;
    if (writes && step % 3 == 0)
      fixture_require(fixture_put(by, key, 100 + key, bytes_of(key)) == DSM_OK, "put between");
  }
}

void balance_story_act(fixture *by) {
  unsigned node;
  fixture_require(dsm_node_add(&by->call, DSM_NODE_WEIGHT_ONE, &node) == DSM_OK, "add");
  balance_story_settle(by, true);
  fixture_require(dsm_node_drain(&by->call, 0) == DSM_OK, "drain");
  balance_story_settle(by, true);
}

static void require_shares(fixture *by, uint32_t replicas) {
  uint32_t load[DSM_NODES_MAX] = {0}, up = 0;
  for (uint32_t stripe = 0; stripe < BALANCE_STRIPES; stripe++) {
    dsm_route route;
    uint64_t word = dsm_load_acquire_u64(dsm_space_route(by->call.space, stripe));
    fixture_require(dsm_route_decode(word, stripe, &route) && route.count == replicas, "route");
    for (uint32_t i = 0; i < replicas; i++) load[route.nodes[i]]++;
    fixture_require(dsm_strays_read(by->call.space, stripe) == 0, "nothing is left behind");
    for (unsigned node = 0; node < DSM_NODES_MAX; node++)
      if (dsm_space_present(by->call.space, node))
        fixture_require(dsm_load_relaxed_u64(dsm_space_node_route(by->call.space, node, stripe)) ==
                            word,
                        "the headers' copies are those of control");
  }
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    fixture_require(dsm_nodes_read(&by->call, node, &entry) == DSM_OK, "table");
    fixture_require(entry.state == DSM_NODE_UP || entry.state == DSM_NODE_FREE, "at rest");
    up += entry.state == DSM_NODE_UP;
    fixture_require(entry.state == DSM_NODE_UP || load[node] == 0, "only who is up is named");
  }
  for (unsigned node = 0; node < DSM_NODES_MAX; node++)
    fixture_require(load[node] == 0 || (load[node] + 3 >= BALANCE_STRIPES * replicas / up &&
                                        load[node] <= BALANCE_STRIPES * replicas / up + 3),
                    "shares are even");
}

void balance_story_judge(fixture *by) {
  fixture_retire_dead(by);
  balance_story_settle(by, false);
  for (uint64_t key = 0; key < KEYS; key++) {
    item expected = {ITEM_VALUE, bytes_of(key), 100 + key};
    fixture_require(item_equal(fixture_get(by, key), expected), "the value is what was put");
    fixture_check_replicas(by, key);
  }
  fixture_check_clean(by);
  require_shares(by, by->replicas);
}
