/* Creating, attaching and removing a cluster in the simulated system: killed at every crash point,
 * refused memory at every call for it, started twice, opened half-made. Whatever happens, the next
 * creation under the name works and nothing is left when it is closed.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/pin.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/node/service.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"
#include "leaks_ignored.h"

static const fixture_shape shape = {"ctest-create", 3, 2, 4, 1u << 20};

static dsm_status create(dsm_cluster **out, dsm_fault *fault) {
  dsm_options options = {
      shape.name, shape.nodes, shape.replicas, shape.stripes, shape.node_bytes, {0}, 0, 0};
  return dsm_cluster_create(&options, out, fault);
}

static void create_action(void *context) {
  dsm_fault fault;
  CHECK_EQUAL(create(context, &fault), DSM_OK);
}

static void unlink_action(void *context) {
  (void)context;
  dsm_cluster_unlink(shape.name);
}

static void check_usable(void) {
  fixture self = fixture_create(&shape);
  CHECK_EQUAL(fixture_put(&self, 1, 1, 5000), DSM_OK);
  CHECK_EQUAL(fixture_get(&self, 1).bytes, 5000);
  fixture_check_clean(&self);
  fixture_close(&self, true);
  CHECK_EQUAL(dsm_sim_named_segments(), 0);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
}

static void check_nothing_to_attach(void) {
  dsm_cluster *cluster;
  dsm_fault fault;
  CHECK_EQUAL(dsm_cluster_attach(shape.name, -1, &cluster, &fault), DSM_NO_CLUSTER);
}

/* Runs the action in a process of its own and kills it at the point, or at the action's end. */
static bool killed_at(unsigned at, void (*action)(void *), void *context) {
  uint32_t survivor = dsm_sim_process_pid(), victim = dsm_sim_process_new();
  dsm_sim_process_run(victim);
  bool left = crash_jump(at, action, context);
  dsm_sim_process_kill(victim);
  dsm_sim_process_run(survivor);
  return left;
}

static void test_creator_is_killed(void) {
  unsigned stride = rounds_all() ? 1 : 7;
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_start(at);
    dsm_cluster *cluster;
    left = killed_at(at, create_action, &cluster);
    snprintf(fixture_story, sizeof fixture_story, "creation killed at %u %s", at,
             crash_point_name());
    if (left) check_nothing_to_attach();
    dsm_sim_picture *picture = dsm_sim_picture_take();
    bool again = true;
    for (unsigned second = 1 + at % stride; again; second += stride) {
      dsm_sim_picture_restore(picture);
      again = killed_at(second, create_action, &cluster);
      check_usable();
    }
    dsm_sim_picture_free(picture);
    dsm_sim_stop();
  }
}

static void test_remover_is_killed(void) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_start(at);
    fixture self = fixture_create(&shape);
    left = killed_at(at, unlink_action, NULL);
    CHECK_EQUAL(fixture_put(&self, 1, 1, 100), DSM_OK); /* names are gone, mappings are not */
    fixture_close(&self, false);
    check_usable();
    dsm_sim_stop();
  }
}

static void test_creation_without_memory(void) {
  dsm_status status = DSM_STORE_FULL;
  for (unsigned calls = 0; status != DSM_OK; calls++) {
    dsm_sim_start(1);
    dsm_cluster *cluster;
    dsm_fault fault;
    dsm_sim_refuse_after(calls);
    status = create(&cluster, &fault);
    if (status == DSM_OK) {
      CHECK(calls > 3);
      dsm_cluster_unlink(shape.name);
      dsm_cluster_drop(cluster);
    } else {
      CHECK_EQUAL(status, DSM_STORE_FULL);
      CHECK(fault.what != NULL);
    }
    CHECK_EQUAL(dsm_sim_named_segments(), 0);
    CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
    dsm_sim_refuse_after(UINT64_MAX);
    check_usable();
    dsm_sim_stop();
  }
}

static void test_attach_without_memory(void) {
  dsm_sim_start(2);
  fixture owner = fixture_create(&shape);
  uint32_t owner_pid = dsm_sim_process_pid();
  dsm_status status = DSM_STORE_FULL;
  for (unsigned calls = 0; status != DSM_OK; calls++) {
    dsm_cluster *cluster;
    dsm_fault fault;
    uint32_t pid = dsm_sim_process_new();
    dsm_sim_process_run(pid);
    dsm_sim_refuse_after(calls);
    status = dsm_cluster_attach(shape.name, -1, &cluster, &fault);
    dsm_sim_refuse_after(UINT64_MAX);
    if (status == DSM_OK)
      dsm_cluster_drop(cluster);
    else
      CHECK_EQUAL(status, DSM_STORE_FULL);
    dsm_sim_process_kill(pid);
    dsm_sim_process_run(owner_pid);
    CHECK_EQUAL(fixture_put(&owner, 1, calls, 64), DSM_OK);
    fixture_check_clean(&owner);
  }
  fixture_close(&owner, true);
  dsm_sim_stop();
}

static void test_names(void) {
  dsm_sim_start(3);
  dsm_cluster *cluster;
  dsm_fault fault;
  check_nothing_to_attach();
  fixture owner = fixture_create(&shape);
  CHECK_EQUAL(create(&cluster, &fault), DSM_EXISTS);
  CHECK_EQUAL(dsm_cluster_attach(shape.name, 3, &cluster, &fault), DSM_USAGE);
  /* Who runs it cannot be swept; who is dead can. */
  uint32_t owner_pid = dsm_sim_process_pid(), other = dsm_sim_process_new();
  dsm_sim_process_run(other);
  CHECK_EQUAL(create(&cluster, &fault), DSM_EXISTS);
  dsm_sim_process_kill(owner_pid);
  check_usable();
  fixture_abandon(&owner);
  dsm_sim_stop();
}

static void attach_and_leave(void) {
  dsm_cluster *cluster = NULL;
  dsm_fault fault;
  CHECK_EQUAL(dsm_cluster_attach(shape.name, -1, &cluster, &fault), DSM_OK);
  if (cluster) dsm_cluster_drop(cluster);
}

static void test_damaged_before_attach(void) {
  dsm_sim_start(4);
  fixture owner = fixture_create(&shape);
  dsm_cluster *cluster;
  dsm_fault fault;
  dsm_control_shm *control = dsm_space_control(owner.call.space);
  /* The nodes' headers tell what the control segment's has lost, and the other way round. */
  dsm_control_shm whole = *control;
  control->layout_version++;
  attach_and_leave();
  control->config.node_count ^= 4;
  attach_and_leave();
  control->magic ^= 1;
  attach_and_leave();
  memset(&control->config, 0, sizeof control->config);
  attach_and_leave();
  CHECK(memcmp(&whole.config, &control->config, sizeof whole.config) == 0);
  dsm_node_shm *node = dsm_space_node(owner.call.space, 1);
  node->config.cluster_id ^= 1;
  attach_and_leave();
  CHECK(memcmp(&whole.config, &node->config, sizeof whole.config) == 0);
  /* A whole header of another cluster is not taken for a damaged one of this. */
  node->config.cluster_id ^= 1;
  node->config_check = dsm_config_checksum(&node->config);
  CHECK_EQUAL(dsm_cluster_attach(shape.name, -1, &cluster, &fault), DSM_CORRUPT);
  CHECK_EQUAL(fault.node, 1);
  node->config = whole.config;
  node->config_check = whole.config_check;
  /* Nobody tells. */
  for (uint32_t n = 0; n < shape.nodes; n++) dsm_space_node(owner.call.space, n)->config_check ^= 1;
  control->config_check ^= 1;
  CHECK_EQUAL(dsm_cluster_attach(shape.name, -1, &cluster, &fault), DSM_CORRUPT);
  for (uint32_t n = 0; n < shape.nodes; n++) dsm_space_node(owner.call.space, n)->config_check ^= 1;
  control->config_check ^= 1;
  dsm_store_release_u32(&control->state, DSM_STATE_STOPPING);
  CHECK_EQUAL(dsm_cluster_attach(shape.name, -1, &cluster, &fault), DSM_NO_CLUSTER);
  dsm_store_release_u32(&control->state, DSM_STATE_RUNNING);
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_segment_name(name, shape.name, 2);
  dsm_sim_truncate(name);
  CHECK_EQUAL(dsm_cluster_attach(shape.name, -1, &cluster, &fault), DSM_CORRUPT);
  CHECK_EQUAL(fault.node, 2);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

/* One round of a node's service thread: the owner is dead, so the cluster stops and loses its
 * names; unless it was detached. */
static void test_owner_dies(bool detached) {
  dsm_sim_start(5);
  fixture owner = fixture_create(&shape);
  dsm_store_release_u32(&dsm_space_control(owner.call.space)->detached,
                        detached ? DSM_DETACHED : DSM_OWNED);
  uint32_t owner_pid = dsm_sim_process_pid(), node_pid = dsm_sim_process_new();
  dsm_sim_process_run(node_pid);
  dsm_cluster *node;
  dsm_fault fault;
  int stopping;
  CHECK_EQUAL(dsm_cluster_attach(shape.name, 0, &node, &fault), DSM_OK);
  dsm_cluster_hold(node);
  CHECK_EQUAL(dsm_service_start(node, 0, &stopping), DSM_OK);
  dsm_sim_process_kill(owner_pid);
  dsm_service_stop(node);
  CHECK_EQUAL(dsm_cluster_state_read(node), detached ? DSM_STATE_RUNNING : DSM_STATE_STOPPING);
  CHECK_EQUAL(dsm_sim_named_segments(), detached ? 1 + shape.nodes : 0);
  CHECK_EQUAL(dsm_load_relaxed_u32(&dsm_space_participant(&node->space, 0)->kind),
              DSM_PARTICIPANT_DEAD);
  dsm_cluster_drop(node);
  dsm_cluster_drop(node);
  check_usable();
  fixture_abandon(&owner);
  dsm_sim_stop();
}

static dsm_cluster *start_node(int node) {
  dsm_cluster *cluster;
  dsm_fault fault;
  int stopping;
  CHECK_EQUAL(dsm_cluster_attach(shape.name, node, &cluster, &fault), DSM_OK);
  CHECK_EQUAL(dsm_service_start(cluster, node, &stopping), DSM_OK);
  return cluster;
}

static void service_round(void *context) {
  dsm_service_stop(context);
}

/* The service that noticed the owner's death dies in the middle of seeing to it. */
static void test_owner_and_heir_die(void) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_start(7);
    fixture owner = fixture_create(&shape);
    uint32_t owner_pid = dsm_sim_process_pid(), heir_pid = dsm_sim_process_new();
    uint32_t last_pid = dsm_sim_process_new();
    dsm_sim_process_run(heir_pid);
    dsm_cluster *heir = start_node(0);
    dsm_sim_process_run(last_pid);
    dsm_cluster *last = start_node(1);
    dsm_sim_process_kill(owner_pid);
    dsm_sim_process_run(heir_pid);
    left = crash_jump(at, service_round, heir);
    dsm_sim_process_kill(heir_pid);
    dsm_sim_process_run(last_pid);
    /* A new cluster may have the name by now; it must keep it. */
    bool free_name = dsm_sim_named_segments() == 0;
    fixture next = {0};
    if (free_name) next = fixture_create(&shape);
    dsm_cluster_hold(last);
    dsm_service_stop(last);
    CHECK_EQUAL(dsm_cluster_state_read(last), DSM_STATE_STOPPING);
    CHECK_EQUAL(dsm_sim_named_segments(), free_name ? 1 + shape.nodes : 0);
    dsm_cluster_drop(last);
    dsm_cluster_drop(last);
    if (free_name) fixture_close(&next, true);
    check_usable();
    fixture_abandon(&owner);
    dsm_sim_stop();
  }
}

/* A node's process dies with a pin and is replaced before anybody retired it. */
static void test_node_is_started_again(void) {
  dsm_sim_start(6);
  fixture owner = fixture_create(&shape);
  uint32_t owner_pid = dsm_sim_process_pid(), pid = dsm_sim_process_new();
  dsm_cluster *first, *second;
  dsm_fault fault;
  fixture_key key;
  CHECK_EQUAL(fixture_put(&owner, 1, 10, 9000), DSM_OK);
  dsm_sim_process_run(pid);
  CHECK_EQUAL(dsm_cluster_attach(shape.name, 1, &first, &fault), DSM_OK);
  fixture node = owner;
  node.call = dsm_call_make(&first->space, 100);
  dsm_read read;
  fixture_key_make(&node, &key, 1);
  CHECK_EQUAL(dsm_read_begin(&node.call, &key.key, &read), DSM_OK);
  CHECK_EQUAL(dsm_read_pin(&node.call, &read), DSM_OK);
  dsm_sim_process_run(owner_pid);
  CHECK_EQUAL(fixture_put(&owner, 1, 11, 9000), DSM_OK);
  CHECK(fixture_limbo_pages(&owner) > 0);
  dsm_sim_process_run(dsm_sim_process_new());
  CHECK_EQUAL(dsm_cluster_attach(shape.name, 1, &second, &fault), DSM_USAGE);
  CHECK_EQUAL(fault.left, pid);
  dsm_sim_process_kill(pid);
  CHECK_EQUAL(dsm_cluster_attach(shape.name, 1, &second, &fault), DSM_OK);
  CHECK_EQUAL(dsm_pin_count(&second->space, second->space.participant), 0);
  dsm_cluster_drop(second);
  dsm_sim_process_run(owner_pid);
  CHECK_EQUAL(fixture_limbo_pages(&owner), 0);
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_os_fork_flag_close(first->fork_flag);
  free(first);
  dsm_sim_stop();
}

int main(void) {
  test_node_is_started_again();
  test_owner_and_heir_die();
  test_creator_is_killed();
  test_remover_is_killed();
  test_creation_without_memory();
  test_attach_without_memory();
  test_names();
  test_damaged_before_attach();
  test_owner_dies(false);
  test_owner_dies(true);
  return check_result("sim_create");
}
