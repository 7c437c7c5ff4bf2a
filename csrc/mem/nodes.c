/* The node table and the mappings that follow it. */
#define _GNU_SOURCE
#include "nodes.h"

#include <stdio.h>
#include <stdlib.h>

#include "../base/crash.h"
#include "headers.h"
#include "lock.h"

#define TABLE_SALT 0x4E4F4445ull
#define STATE_BITS 3
#define LENT_BITS 1
#define WEIGHT_BITS 16

void dsm_segment_name(char *out, const char *cluster, int node) {
  unsigned user = dsm_os_user();
  if (node < 0)
    snprintf(out, DSM_SEGMENT_NAME_BYTES, "/dsm-%u-%s", user, cluster);
  else
    snprintf(out, DSM_SEGMENT_NAME_BYTES, "/dsm-%u-%s-n%d", user, cluster, node);
}

static uint64_t entry_word(unsigned node, const dsm_node_entry *entry) {
  uint64_t value = (uint64_t)entry->build << (STATE_BITS + LENT_BITS + WEIGHT_BITS) |
                   (uint64_t)entry->weight << (STATE_BITS + LENT_BITS) |
                   (uint64_t)entry->lent << STATE_BITS | (uint64_t)entry->state;
  return dsm_seal(value, TABLE_SALT + node);
}

/* The entry as the copy of the latest epoch has it; 0 if none verifies. */
static uint64_t told(const dsm_space *space, unsigned node) {
  uint64_t best = 0, latest = 0;
  for (unsigned other = 0; other < space->node_count; other++) {
    bool ok;
    if (!dsm_space_present(space, other)) continue;
    const dsm_node_table_shm *copy = dsm_space_node_table_copy(space, other);
    uint64_t word = dsm_load_acquire_u64(&copy->nodes[node]);
    uint64_t epoch = dsm_load_relaxed_u64(&copy->epoch);
    dsm_unseal(word, TABLE_SALT + node, &ok);
    if (!ok || epoch < latest) continue;
    best = word;
    latest = epoch;
  }
  return best;
}

/* A damaged entry is told anew by the copies; whoever changes the table meanwhile wins. */
static uint64_t restore(const dsm_space *space, unsigned node, uint64_t damaged) {
  dsm_atomic_u64 *entry = &dsm_space_node_table(space)->nodes[node];
  uint64_t word = told(space, node);
  if (word) dsm_cas_acq_rel_u64(entry, &damaged, word);
  DSM_CRASH_POINT("nodes.restored");
  return dsm_load_acquire_u64(entry);
}

dsm_status dsm_nodes_read(dsm_call *call, unsigned node, dsm_node_entry *out) {
  bool ok;
  uint64_t word = dsm_load_acquire_u64(&dsm_space_node_table(call->space)->nodes[node]);
  uint64_t value = dsm_unseal(word, TABLE_SALT + node, &ok);
  if (DSM_UNLIKELY(!ok))
    value = dsm_unseal(restore(call->space, node, word), TABLE_SALT + node, &ok);
  *out = (dsm_node_entry){
      .state = (dsm_node_state)(value & ((1u << STATE_BITS) - 1)),
      .weight = (uint32_t)(value >> (STATE_BITS + LENT_BITS)) & ((1u << WEIGHT_BITS) - 1),
      .build = (uint32_t)(value >> (STATE_BITS + LENT_BITS + WEIGHT_BITS)),
      .lent = value >> STATE_BITS & 1,
  };
  if (DSM_LIKELY(ok && out->state <= DSM_NODE_LOST)) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "entry of the node table does not verify", (int)node, -1, word,
                  0);
}

void dsm_nodes_copy(const dsm_space *space, unsigned node) {
  const dsm_node_table_shm *table = dsm_space_node_table(space);
  dsm_node_table_shm *copy = dsm_space_node_table_copy(space, node);
  for (unsigned i = 0; i < DSM_NODES_MAX; i++)
    dsm_store_relaxed_u64(&copy->nodes[i], dsm_load_relaxed_u64(&table->nodes[i]));
  dsm_store_release_u64(&copy->epoch, dsm_load_relaxed_u64(&dsm_space_control(space)->epoch));
}

/* The copies first lag and then follow; a kill in between leaves some of the epoch before. */
static void copy_to_all(const dsm_space *space) {
  for (unsigned node = 0; node < space->node_count; node++) {
    if (dsm_space_present(space, node)) dsm_nodes_copy(space, node);
    DSM_CRASH_POINT("nodes.copied");
  }
}

static void raise_epoch(dsm_space *space) {
  dsm_fetch_add_relaxed_u64(&dsm_space_control(space)->epoch, 1);
  dsm_fence_seq_cst();
}

void dsm_nodes_write(dsm_space *space, unsigned node, const dsm_node_entry *entry) {
  dsm_store_release_u64(&dsm_space_node_table(space)->nodes[node], entry_word(node, entry));
  DSM_CRASH_POINT("nodes.written");
  dsm_fence_release();
  raise_epoch(space);
  DSM_CRASH_POINT("nodes.raised");
  copy_to_all(space);
}

void dsm_nodes_init(const dsm_space *space, uint32_t count) {
  dsm_node_table_shm *table = dsm_space_node_table(space);
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry = {.state = DSM_NODE_FREE};
    if (node < count)
      entry = (dsm_node_entry){.state = DSM_NODE_UP, .weight = DSM_NODE_WEIGHT_ONE, .build = 1};
    dsm_store_relaxed_u64(&table->nodes[node], entry_word(node, &entry));
  }
}

static dsm_status verify_segment(dsm_call *call, const dsm_os_segment *segment, unsigned node,
                                 uint32_t build) {
  dsm_node_shm *header = (dsm_node_shm *)(void *)segment->base;
  if (segment->bytes != call->space->layout.node_bytes)
    return dsm_fail(call, DSM_CORRUPT, "size of the node segment", (int)node, -1, segment->bytes,
                    call->space->layout.node_bytes);
  if (!dsm_headers_node_holds(call->space, header, node) &&
      !dsm_headers_node_restore(call->space, header, node, build))
    return dsm_fail(call, DSM_CORRUPT, "node segment is not this cluster's", (int)node, -1,
                    header->magic, DSM_NODE_MAGIC);
  uint32_t found = dsm_headers_build_read(header, build);
  if (found != build)
    return dsm_fail(call, DSM_CORRUPT, "node segment is another build's", (int)node, -1, found,
                    build);
  return DSM_OK;
}

static dsm_status open_segment(dsm_call *call, unsigned node, uint32_t build, dsm_os_segment *out) {
  char name[DSM_SEGMENT_NAME_BYTES];
  char cluster[DSM_CLUSTER_NAME_BYTES];
  snprintf(cluster, sizeof cluster, "%s", call->space->config.name);
  dsm_segment_name(name, cluster, (int)node);
  dsm_status status = dsm_os_segment_open(name, out);
  if (status != DSM_OK)
    return dsm_fail(call, status == DSM_NO_CLUSTER ? DSM_RETRY : status,
                    "node segment cannot be opened", (int)node, -1, 0, 0);
  status = verify_segment(call, out, node, build);
  if (status != DSM_OK) dsm_os_segment_close(out);
  return status;
}

/* Keeps a mapping that views and stopped threads may still look at. */
static bool part(dsm_space *space, const dsm_os_segment *segment) {
  dsm_os_segment *larger =
      realloc(space->parted, (space->parted_count + 1) * sizeof *space->parted);
  if (!larger) return false;
  space->parted = larger;
  space->parted[space->parted_count++] = *segment;
  return true;
}

static void present_set(dsm_space *space, unsigned node, bool present) {
  uint64_t bit = 1ull << node, old = dsm_load_relaxed_u64(&space->nodes_present);
  dsm_store_release_u64(&space->nodes_present, present ? old | bit : old & ~bit);
}

static dsm_status follow_node(dsm_call *call, unsigned node) {
  dsm_space *space = call->space;
  dsm_node_entry entry;
  dsm_status status = dsm_nodes_read(call, node, &entry);
  bool wanted =
      status == DSM_OK && (entry.state == DSM_NODE_UP || entry.state == DSM_NODE_DRAINING);
  dsm_os_segment *segment = &space->nodes[node];
  bool mapped = segment->base && space->builds[node] == entry.build;
  if (!wanted || mapped) {
    present_set(space, node, wanted);
    return status;
  }
  /* Who meets the node between here and the end of this is behind in its epoch, and looks again. */
  present_set(space, node, false);
  dsm_os_segment fresh = {.handle = -1};
  DSM_TRY(open_segment(call, node, entry.build, &fresh));
  if (segment->base && !part(space, segment)) {
    dsm_os_segment_close(&fresh);
    return dsm_fail(call, DSM_OS, "no memory for a mapping", (int)node, -1, 0, 0);
  }
  *segment = fresh;
  space->builds[node] = entry.build;
  if (space->node_count <= node) space->node_count = node + 1;
  present_set(space, node, true);
  return DSM_OK;
}

static dsm_status follow(dsm_call *call) {
  dsm_space *space = call->space;
  const dsm_atomic_u64 *epoch = &dsm_space_control(space)->epoch;
  for (;;) {
    dsm_status first = DSM_OK;
    uint64_t target = dsm_load_acquire_u64(epoch);
    dsm_fault fault = call->fault;
    for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
      dsm_status status = follow_node(call, node);
      if (status == DSM_OK || first != DSM_OK) continue;
      first = status;
      fault = call->fault;
    }
    call->fault = fault;
    dsm_fence_acquire();
    /* A node may have left while we opened its segment. */
    if (dsm_load_acquire_u64(epoch) != target) continue;
    dsm_store_release_u64(&space->epoch, target);
    return first;
  }
}

dsm_status dsm_nodes_follow(dsm_call *call) {
  dsm_space *space = call->space;
  uint32_t nobody = 0;
  while (!dsm_cas_acq_rel_u32(&space->following, &nobody, 1)) {
    nobody = 0;
    dsm_os_yield();
  }
  dsm_status status = follow(call);
  dsm_store_release_u32(&space->following, 0);
  return status;
}

void dsm_nodes_forked(dsm_space *space) {
  dsm_store_relaxed_u32(&space->following, 0);
}

void dsm_nodes_close(dsm_space *space) {
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) dsm_os_segment_close(&space->nodes[node]);
  for (uint32_t i = 0; i < space->parted_count; i++) dsm_os_segment_close(&space->parted[i]);
  free(space->parted);
  space->parted = NULL;
  space->parted_count = 0;
}

dsm_status dsm_registry_take(dsm_call *call) {
  bool must_repair;
  dsm_lock_shm *lock = &dsm_space_control(call->space)->registry;
  DSM_TRY(dsm_lock_take(call, lock, &must_repair));
  /* Every change under this lock ends with one store, so there is nothing to finish but the epoch
   * of the node table, which may be raised once too often. */
  if (must_repair) {
    raise_epoch(call->space);
    dsm_lock_repaired(lock, DSM_OK);
  }
  return DSM_OK;
}

void dsm_registry_drop(dsm_call *call) {
  dsm_lock_drop(&dsm_space_control(call->space)->registry);
}
