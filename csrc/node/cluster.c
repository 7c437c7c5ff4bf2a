/* Attaching to a cluster, references, leaving. Creation is in creation.c. */
#define _GNU_SOURCE
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/crash.h"
#include "../mem/headers.h"
#include "../mem/lock.h"
#include "../mem/pin.h"
#include "../store/array_directory.h"
#include "adopt.h"
#include "registry.h"
#include "report.h"
#include "service.h"
#include "starter.h"

#define FOLLOW_LOOKS 60
#define FOLLOW_PAUSE_US 50000u
#define ATTACH_WAIT_MS 2000u
#define UNLINK_WAIT_MS 200u

void dsm_cluster_unlink(const char *name) {
  char segment[DSM_SEGMENT_NAME_BYTES];
  for (uint32_t node = 0; node < DSM_NODES_MAX; node++) {
    dsm_segment_name(segment, name, (int)node);
    dsm_os_segment_unlink(segment);
    DSM_CRASH_POINT("cluster.unlinked");
  }
  dsm_segment_name(segment, name, -1);
  dsm_os_segment_unlink(segment);
}

void dsm_cluster_unlink_own(dsm_cluster *cluster) {
  char segment[DSM_SEGMENT_NAME_BYTES];
  dsm_space *space = &cluster->space;
  dsm_call call = dsm_call_make(space, UNLINK_WAIT_MS);
  dsm_lock_shm *lock = &dsm_space_control(space)->registry;
  bool must_repair = false;
  /* Under the lock nobody of this cluster removes a name between our look and our removal, and
   * nobody else may while we hold the segment. Without it, if its holder is stopped, we go on: the
   * gap is some microseconds wide. */
  bool locked = dsm_lock_take(&call, lock, &must_repair) == DSM_OK;
  if (locked && must_repair) dsm_lock_repaired(lock, DSM_OK);
  /* All nodes there are, also those that came since this process last looked. */
  dsm_nodes_catch_up(&call);
  for (uint32_t node = 0; node < space->node_count; node++) {
    if (!space->nodes[node].base) continue;
    dsm_segment_name(segment, cluster->name, (int)node);
    dsm_os_segment_unlink_own(segment, &space->nodes[node]);
    DSM_CRASH_POINT("cluster.unlinked");
  }
  dsm_array_unlink_all(space);
  dsm_segment_name(segment, cluster->name, -1);
  dsm_os_segment_unlink_own(segment, &space->control);
  if (locked) dsm_lock_drop(lock);
}

static void unmap(dsm_cluster *cluster) {
  dsm_nodes_close(&cluster->space);
  dsm_os_segment_close(&cluster->space.control);
  dsm_os_fork_flag_close(cluster->fork_flag);
  dsm_starter_free(cluster->starter);
  free(cluster);
}

static dsm_status check_control(dsm_call *call, dsm_cluster *cluster, const char *name) {
  dsm_space *space = call->space;
  dsm_control_shm *control = dsm_space_control(space);
  /* A creator may have been killed, or be about, to ask for this page: looking at it would raise
   * SIGBUS where the file system is full (I-9). */
  DSM_TRY(dsm_os_segment_back(&space->control, 0, DSM_PAGE_BYTES));
  if (control->magic != 0 && !dsm_headers_control_holds(control))
    dsm_headers_control_restore(name, control);
  if (dsm_load_acquire_u64((const dsm_atomic_u64 *)(const void *)&control->magic) !=
      DSM_CONTROL_MAGIC)
    return dsm_fail(call, control->magic == 0 ? DSM_NO_CLUSTER : DSM_CORRUPT,
                    "magic of the control segment", -1, -1, control->magic, DSM_CONTROL_MAGIC);
  if (control->layout_version != DSM_LAYOUT_VERSION || control->word_bytes != sizeof(void *))
    return dsm_fail(call, DSM_LAYOUT, "layout version", -1, -1, control->layout_version,
                    DSM_LAYOUT_VERSION);
  dsm_config_shm config = control->config;
  if (dsm_config_checksum(&config) != control->config_check ||
      dsm_layout_compute(&config, &space->layout) != DSM_OK)
    return dsm_fail(call, DSM_CORRUPT, "configuration does not verify", -1, -1,
                    control->config_check, 0);
  if (space->control.bytes != space->layout.control_bytes)
    return dsm_fail(call, DSM_CORRUPT, "size of the control segment", -1, -1, space->control.bytes,
                    space->layout.control_bytes);
  if (config.pid_namespace != dsm_os_pid_namespace())
    return dsm_fail(call, DSM_USAGE, "pid namespace", -1, -1, dsm_os_pid_namespace(),
                    config.pid_namespace);
  space->config = config;
  space->hash_seed = config.hash_seed;
  space->stripe_count = config.stripe_count;
  space->stripe_shift = 64 - (uint32_t)__builtin_ctz(config.stripe_count);
  space->replicas = config.replicas;
  memcpy(cluster->name, config.name, sizeof cluster->name);
  cluster->name[sizeof cluster->name - 1] = 0;
  return DSM_OK;
}

static dsm_status retire_dead(dsm_call *call) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) {
    bool retired;
    DSM_TRY(dsm_registry_retire(call, i, &retired));
  }
  return DSM_OK;
}

/* True if the owner or a node lives, one of whom is the keeper. */
static bool is_kept(const dsm_space *space) {
  for (uint32_t i = 0; i <= DSM_NODES_MAX; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                              .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
    uint32_t kind = dsm_load_acquire_u32(&slot->kind);
    if ((kind == DSM_PARTICIPANT_OWNER || kind == DSM_PARTICIPANT_NODE) &&
        dsm_os_process_alive(&process))
      return true;
  }
  return false;
}

/* A segment that lost its name is being replaced, if there is a keeper: the table will name
 * another.
 */
static dsm_status follow_patiently(dsm_call *call) {
  dsm_status status = dsm_nodes_follow(call);
  for (int looks = 0; status == DSM_RETRY && looks < FOLLOW_LOOKS && is_kept(call->space);
       looks++) {
    dsm_os_pause(FOLLOW_PAUSE_US);
    status = dsm_nodes_follow(call);
  }
  return status == DSM_RETRY ? DSM_CORRUPT : status;
}

static dsm_status attach(dsm_call *call, dsm_cluster *cluster, const char *name, int node) {
  DSM_TRY(check_control(call, cluster, name));
  dsm_cluster_state state = dsm_cluster_state_read(cluster);
  if (state == DSM_STATE_STOPPING)
    return dsm_fail(call, DSM_NO_CLUSTER, "cluster is stopping", -1, -1, 0, 0);
  DSM_TRY(follow_patiently(call));
  if (state != DSM_STATE_RUNNING && state != DSM_STATE_STARTING) {
    if (!is_kept(call->space))
      return dsm_fail(call, DSM_CORRUPT, "state of the cluster", -1, -1, state, DSM_STATE_RUNNING);
    dsm_vigil_state(&cluster->vigil, call->space);
  }
  if (node >= (int)DSM_NODES_MAX || (node >= 0 && !dsm_space_present(call->space, (unsigned)node)))
    return dsm_fail(call, DSM_USAGE, "there is no such node", node, -1, 0, 0);
  dsm_participant_kind kind = node < 0 ? DSM_PARTICIPANT_CLIENT : DSM_PARTICIPANT_NODE;
  uint32_t participant;
  dsm_status status = dsm_registry_join(call, kind, node, &participant);
  if (status == DSM_TOO_MANY) {
    DSM_TRY(retire_dead(call));
    status = dsm_registry_join(call, kind, node, &participant);
  }
  DSM_TRY(status);
  call->space->participant = participant;
  return DSM_OK;
}

dsm_status dsm_cluster_attach(const char *name, int node, dsm_cluster **out, dsm_fault *fault) {
  char segment[DSM_SEGMENT_NAME_BYTES];
  *fault = (dsm_fault){.node = -1, .stripe = -1};
  dsm_cluster *cluster = calloc(1, sizeof *cluster);
  if (!cluster) return DSM_OS;
  cluster->space.participant = DSM_NOBODY;
  dsm_call call = dsm_call_make(&cluster->space, ATTACH_WAIT_MS);
  dsm_segment_name(segment, name, -1);
  dsm_status status = dsm_os_segment_open(segment, &cluster->space.control);
  if (status == DSM_OK) {
    cluster->fork_flag = dsm_os_fork_flag_open();
    status = cluster->fork_flag ? attach(&call, cluster, name, node) : DSM_OS;
  }
  if (status == DSM_CORRUPT && !call.fault.what)
    dsm_fail(&call, status, "size of the control segment", -1, -1, cluster->space.control.bytes, 0);
  if (status != DSM_OK) {
    *fault = call.fault;
    unmap(cluster);
    return status;
  }
  dsm_store_relaxed_u32(&cluster->references, 1);
  *out = cluster;
  return DSM_OK;
}

uint32_t dsm_cluster_fork_prepare(dsm_cluster *cluster) {
  dsm_space *space = &cluster->space;
  uint32_t slot = DSM_NOBODY;
  if (space->participant == DSM_NOBODY || dsm_pin_count(space, space->participant) == 0)
    return DSM_NOBODY;
  dsm_call call = dsm_call_make(space, ATTACH_WAIT_MS);
  if (dsm_registry_join(&call, DSM_PARTICIPANT_FORKING, -1, &slot) != DSM_OK) return DSM_NOBODY;
  dsm_pin_copy(space, space->participant, slot);
  return slot;
}

dsm_status dsm_cluster_fork_adopt(dsm_cluster *cluster, uint32_t slot, dsm_fault *fault) {
  dsm_call call = dsm_call_make(&cluster->space, ATTACH_WAIT_MS);
  dsm_os_fork_flag_close(cluster->fork_flag);
  cluster->fork_flag = dsm_os_fork_flag_open();
  dsm_nodes_forked(&cluster->space);
  cluster->vigil = (dsm_vigil){0};
  cluster->service = NULL; /* the thread is the parent's; here there never was one */
  dsm_status status = cluster->fork_flag ? DSM_OK : DSM_OS;
  if (slot != DSM_NOBODY)
    dsm_registry_adopt(&cluster->space, slot);
  else if (status == DSM_OK)
    status = dsm_registry_join(&call, DSM_PARTICIPANT_CLIENT, -1, &slot);
  *fault = call.fault;
  if (status == DSM_OK) cluster->space.participant = slot;
  return status;
}

void dsm_cluster_stop(dsm_cluster *cluster) {
  dsm_store_relaxed_u32(&cluster->vigil.stopped, 1);
  dsm_store_release_u32(&dsm_space_control(&cluster->space)->state, DSM_STATE_STOPPING);
  dsm_registry_knock(&cluster->space);
}

void dsm_cluster_detach(dsm_cluster *cluster) {
  dsm_store_release_u32(&dsm_space_control(&cluster->space)->detached, DSM_DETACHED);
}

/* A segment that another process had is verified before we say that we serve. */
static uint32_t take_over(dsm_space *space) {
  const dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  uint32_t node = dsm_load_relaxed_u32(&slot->node);
  if (dsm_load_relaxed_u32(&slot->kind) != DSM_PARTICIPANT_NODE || node >= DSM_NODES_MAX ||
      dsm_load_relaxed_u32(&slot->incarnation) == 1)
    return 0;
  dsm_scrub_shm *record = &dsm_space_recovery(space)->scrubs[node];
  dsm_call call = dsm_call_make(space, DSM_LOCK_SLICE_MS);
  uint64_t began_ns = dsm_os_monotonic_ns();
  uint32_t mended = dsm_adopt(&call, node);
  dsm_store_relaxed_u64(&record->adopt_ns, dsm_os_monotonic_ns() - began_ns);
  dsm_store_relaxed_u32(&record->adopt_mended, mended);
  dsm_fetch_add_relaxed_u64(&record->adoptions, 1);
  return mended;
}

void dsm_cluster_ready(dsm_cluster *cluster) {
  dsm_space *space = &cluster->space;
  dsm_call call = dsm_call_make(space, ATTACH_WAIT_MS);
  dsm_report_serving(&call, take_over(space));
  DSM_CRASH_POINT("cluster.serving");
  dsm_store_release_u32(&dsm_space_participant(space, space->participant)->ready, 1);
}

void dsm_cluster_hold(dsm_cluster *cluster) {
  dsm_fetch_add_relaxed_u32(&cluster->references, 1);
}

void dsm_cluster_drop(dsm_cluster *cluster) {
  if (atomic_fetch_sub_explicit(&cluster->references, 1, memory_order_acq_rel) != 1) return;
  dsm_service_stop(cluster);
  if (cluster->space.participant != DSM_NOBODY && !dsm_cluster_forked(cluster)) {
    dsm_call call = dsm_call_make(&cluster->space, ATTACH_WAIT_MS);
    dsm_registry_leave(&call);
  }
  unmap(cluster);
}
