/* Making a cluster: segments, locks, routes, arenas; the magic last. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "../base/crash.h"
#include "../mem/arena.h"
#include "../mem/decision.h"
#include "../store/array_directory.h"
#include "../store/stripe.h"
#include "balance.h"
#include "birth.h"
#include "cluster.h"
#include "event.h"
#include "registry.h"

#define HEARTBEAT_MS 100u
#define SUSPECT_MS 1000u
#define TIMEOUT_MS 3000u

static dsm_status store_full(dsm_call *call, dsm_status status, int node, uint64_t bytes) {
  return status == DSM_STORE_FULL
             ? dsm_fail(call, status, "no room for the cluster's tables", node, -1, bytes, 0)
             : status;
}

static dsm_status init_locks(const dsm_space *space) {
  DSM_TRY(dsm_os_mutex_init(&dsm_space_control(space)->registry.mutex));
  DSM_TRY(dsm_os_mutex_init(&dsm_space_balance(space)->lock.mutex));
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++)
    DSM_TRY(dsm_os_mutex_init(&dsm_space_lock(space, stripe)->mutex));
  for (uint32_t node = 0; node < DSM_NODES_MAX; node++)
    DSM_TRY(dsm_os_mutex_init(&dsm_space_node_lock(space, node)->mutex));
  DSM_TRY(dsm_event_init(space));
  return dsm_decision_init(space);
}

static dsm_status create_control(dsm_call *call, const dsm_config_shm *config) {
  dsm_space *space = call->space;
  dsm_control_shm *control = dsm_space_control(space);
  DSM_TRY(store_full(call, dsm_os_segment_back(&space->control, 0, space->layout.region_counts), -1,
                     space->layout.region_counts));
  uint64_t mailbox_bytes =
      offsetof(dsm_mailboxes_shm, nodes) + (uint64_t)space->node_count * sizeof(dsm_mailbox_shm);
  DSM_TRY(store_full(call,
                     dsm_os_segment_back(&space->control, space->layout.mailboxes, mailbox_bytes),
                     -1, mailbox_bytes));
  DSM_TRY(store_full(call,
                     dsm_os_segment_back(&space->control, space->layout.cut, sizeof(dsm_cut_shm)),
                     -1, sizeof(dsm_cut_shm)));
  control->layout_version = DSM_LAYOUT_VERSION;
  control->word_bytes = sizeof(void *);
  control->config = *config;
  control->config_check = dsm_config_checksum(config);
  dsm_store_relaxed_u32(&control->detached, DSM_OWNED);
  dsm_store_relaxed_u64(&control->epoch, 1);
  dsm_store_relaxed_u64(
      &control->region_count,
      dsm_seal(0, dsm_space_locator(space, DSM_CONTROL_SEGMENT, &control->region_count)));
  dsm_store_relaxed_u64(
      &control->sync_count,
      dsm_seal(0, dsm_space_locator(space, DSM_CONTROL_SEGMENT, &control->sync_count)));
  dsm_array_directory_init(space);
  dsm_nodes_init(space, config->node_count);
  DSM_TRY(init_locks(space));
  return dsm_balance_first_routes(space);
}

static dsm_status create(dsm_call *call, const dsm_config_shm *config) {
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_space *space = call->space;
  dsm_status status = dsm_layout_compute(config, &space->layout);
  if (status != DSM_OK)
    return dsm_fail(call, status, "sizes of the cluster", -1, -1, config->node_segment_bytes,
                    config->stripe_count);
  space->config = *config;
  space->hash_seed = config->hash_seed;
  space->stripe_count = config->stripe_count;
  space->stripe_shift = 64 - (uint32_t)__builtin_ctz(config->stripe_count);
  space->node_count = config->node_count;
  space->replicas = config->replicas;
  dsm_segment_name(name, config->name, -1);
  DSM_TRY(dsm_os_segment_create(name, space->layout.control_bytes, &space->control));
  DSM_CRASH_POINT("create.control");
  DSM_TRY(create_control(call, config));
  for (uint32_t node = 0; node < space->node_count; node++) DSM_TRY(dsm_node_make(call, node, 1));
  DSM_TRY(dsm_nodes_follow(call));
  DSM_TRY(dsm_registry_join(call, DSM_PARTICIPANT_OWNER, -1, &space->participant));
  dsm_control_shm *control = dsm_space_control(space);
  dsm_store_release_u32(&control->state, DSM_STATE_RUNNING);
  DSM_CRASH_POINT("create.filled");
  return DSM_OK;
}

void dsm_cluster_reveal(dsm_cluster *cluster) {
  dsm_control_shm *control = dsm_space_control(&cluster->space);
  dsm_store_release_u64((dsm_atomic_u64 *)(void *)&control->magic, DSM_CONTROL_MAGIC);
}

/* Removes what a killed cluster of that name left; DSM_EXISTS if somebody is attached to it. */
static dsm_status make_way(dsm_call *call, const char *cluster) {
  char name[DSM_SEGMENT_NAME_BYTES];
  bool alone, removed;
  dsm_segment_name(name, cluster, -1);
  dsm_status status = dsm_os_segment_alone(name, &alone);
  if (status == DSM_OK && !alone)
    return dsm_fail(call, DSM_EXISTS, "presence lock is held", -1, -1, 0, 0);
  for (int node = -1; node < (int)DSM_NODES_MAX; node++) {
    dsm_segment_name(name, cluster, node);
    dsm_os_segment_sweep(name, &removed);
    DSM_CRASH_POINT("create.swept");
  }
  return DSM_OK;
}

static void configure(dsm_config_shm *config, const dsm_options *options) {
  uint64_t bytes =
      options->node_segment_bytes ? options->node_segment_bytes : dsm_os_capacity_bytes();
  *config = (dsm_config_shm){
      .cluster_id = dsm_os_random_u64(),
      .hash_seed = options->hash_seed ? options->hash_seed : dsm_os_random_u64(),
      .pid_namespace = dsm_os_pid_namespace(),
      .created_ns = dsm_os_realtime_ns(),
      .node_segment_bytes = (bytes + DSM_PAGE_BYTES - 1) & ~(uint64_t)(DSM_PAGE_BYTES - 1),
      .node_count = options->node_count,
      .stripe_count = options->stripe_count,
      .replicas = options->replicas,
      .scrub_kib_per_s = options->scrub_kib_per_s};
  config->detection = options->detection;
  if (config->detection.heartbeat_ms == 0)
    config->detection = (dsm_detection_shm){.heartbeat_ms = HEARTBEAT_MS,
                                            .suspect_ms = SUSPECT_MS,
                                            .timeout_ms = TIMEOUT_MS,
                                            .recovery = DSM_RECOVERY_ADOPT};
  strncpy(config->name, options->name, sizeof config->name - 1);
}

static void destroy(dsm_cluster *cluster, const char *name) {
  dsm_space *space = &cluster->space;
  if (space->control.base) dsm_cluster_unlink(name);
  dsm_nodes_close(space);
  dsm_os_segment_close(&space->control);
  dsm_os_fork_flag_close(cluster->fork_flag);
  free(cluster);
}

dsm_status dsm_cluster_create(const dsm_options *options, dsm_cluster **out, dsm_fault *fault) {
  *fault = (dsm_fault){.node = -1, .stripe = -1};
  dsm_cluster *cluster = calloc(1, sizeof *cluster);
  if (!cluster) return DSM_OS;
  cluster->space.participant = DSM_NOBODY;
  dsm_call call = dsm_call_make(&cluster->space, 0);
  dsm_config_shm config;
  configure(&config, options);
  dsm_status status = make_way(&call, config.name);
  if (status == DSM_OK) {
    cluster->fork_flag = dsm_os_fork_flag_open();
    status = cluster->fork_flag ? create(&call, &config) : DSM_OS;
  }
  if (status != DSM_OK) {
    *fault = call.fault;
    destroy(cluster, config.name);
    return status;
  }
  memcpy(cluster->name, config.name, sizeof cluster->name);
  dsm_store_relaxed_u32(&cluster->references, 1);
  if (!options->hash_seed) dsm_cluster_reveal(cluster);
  *out = cluster;
  return DSM_OK;
}
