/* A rebalance killed at planned crash points, in the simulated system: a node is added, another one
 * removed, keys are written between the steps. A survivor that knows nothing goes on and comes to
 * the same end: all keys as they were written, even shares, nothing left behind, no segment too
 * many. The survivor is killed as well, at points of its own, and a second one goes on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/balance.h"
#include "../../csrc/node/birth.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/route.h"
#include "check_main.h"
#include "crash_hook.h"
#include "crash_story.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-balance"
#define KEYS 60u
#define STRIPES 16u
#define STEPS_MAX 3000u

static unsigned deaths;

static uint64_t bytes_of(uint64_t key) {
  return key % 11 == 0 ? 6000 : 30 * (key % 9);
}

static void settle_down(fixture *by, bool writes) {
  dsm_balancer balancer = {0};
  uint32_t pause = 0;
  for (unsigned step = 0; pause != DSM_BALANCE_IDLE; step++) {
    fixture_require(step < STEPS_MAX, "the rebalance comes to an end");
    pause = dsm_balancer_step(&by->call, &balancer);
    if (pause != DSM_BALANCE_IDLE) dsm_sim_clock_advance(pause * 1000ull);
    uint64_t key = step % KEYS;
    if (writes && step % 3 == 0)
      fixture_require(fixture_put(by, key, 100 + key, bytes_of(key)) == DSM_OK, "put between");
  }
}

typedef struct trial {
  fixture owner, victim, first;
  uint32_t replicas, first_pid;
} trial;

static void act(void *context) {
  trial *self = context;
  unsigned node;
  fixture *by = &self->victim;
  fixture_require(dsm_node_add(&by->call, DSM_NODE_WEIGHT_ONE, &node) == DSM_OK, "add");
  settle_down(by, true);
  fixture_require(dsm_node_drain(&by->call, 0) == DSM_OK, "drain");
  settle_down(by, true);
}

static void go_on(void *context) {
  trial *self = context;
  settle_down(&self->first, true);
}

static void judge(fixture *by, uint32_t replicas) {
  fixture_retire_dead(by);
  settle_down(by, false);
  for (uint64_t key = 0; key < KEYS; key++) {
    item expected = {ITEM_VALUE, bytes_of(key), 100 + key};
    fixture_require(item_equal(fixture_get(by, key), expected), "the value is what was put");
    fixture_check_replicas(by, key);
  }
  fixture_check_clean(by);
  uint32_t load[DSM_NODES_MAX] = {0}, up = 0;
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
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
    fixture_require(load[node] == 0 || (load[node] + 3 >= STRIPES * replicas / up &&
                                        load[node] <= STRIPES * replicas / up + 3),
                    "shares are even");
}

static bool killed_at(uint32_t replicas, unsigned at, unsigned second) {
  dsm_sim_start(at);
  fixture_shape shape = {CLUSTER, 3, replicas, STRIPES, 4u << 20};
  trial self = {.replicas = replicas};
  self.owner = fixture_create(&shape);
  uint32_t owner_pid = dsm_sim_process_pid();
  for (uint64_t key = 0; key < KEYS; key++)
    fixture_require(fixture_put(&self.owner, key, 100 + key, bytes_of(key)) == DSM_OK, "put");
  uint32_t pid;
  self.victim = crash_attach(CLUSTER, &pid);
  bool left = crash_jump(at, act, &self);
  snprintf(fixture_story, sizeof fixture_story, "replication %u, point %u %s", replicas, at,
           crash_point_name());
  dsm_sim_process_kill(pid);
  fixture_abandon(&self.victim);
  self.first = crash_attach(CLUSTER, &self.first_pid);
  bool again = crash_jump(second, go_on, &self);
  dsm_sim_process_kill(self.first_pid);
  dsm_sim_process_run(owner_pid);
  fixture_abandon(&self.first);
  deaths += left + again;
  judge(&self.owner, replicas);
  fixture_close(&self.owner, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  dsm_sim_stop();
  return left;
}

int main(void) {
  unsigned stride = rounds_all() ? 1 : 23;
  for (uint32_t replicas = 1; replicas <= 2; replicas++)
    for (unsigned at = 1; killed_at(replicas, at, 1 + at * 7919u % 2000u); at += stride) {
    }
  CHECK(deaths > 20);
  printf("%u deaths\n", deaths);
  return check_result("sim_balance_crash");
}
