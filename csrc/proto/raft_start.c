/* The memory of a node, and its way back from what an earlier run made durable.
 *
 * Law: what is loaded may be any prefix of what was written in the order of dsm_raft_outputs. So
 * the commit index may be behind, entries may be missing after it, and entries may lie below the
 * snapshot; all of that is harmless. A hole in the entries is not.
 */
#include "raft_state.h"

#include <string.h>

typedef struct layout {
  size_t inflight;
  size_t slots;
  size_t payloads;
  size_t sessions;
  size_t snapshot_sessions;
  size_t reads;
  size_t reads_done;
  size_t now_box;
  size_t after_box;
  size_t total;
} layout;

static size_t place(size_t *at, size_t count, size_t size) {
  size_t here = *at;
  *at = (here + count * size + 15) & ~(size_t)15;
  return here;
}

static layout lay_out(const dsm_raft_config *c) {
  size_t at = 0;
  layout l;
  place(&at, 1, sizeof(dsm_raft));
  l.inflight = place(&at, (size_t)DSM_RAFT_NODES_MAX * c->inflight_max, sizeof(uint64_t));
  l.slots = place(&at, c->log_capacity, sizeof(dsm__raft_slot));
  l.payloads = place(&at, c->payload_capacity_bytes, 1);
  l.sessions = place(&at, c->session_capacity, sizeof(dsm_raft_session));
  l.snapshot_sessions = place(&at, c->session_capacity, sizeof(dsm_raft_session));
  l.reads = place(&at, c->read_capacity, sizeof(dsm__raft_pending_read));
  l.reads_done = place(&at, c->read_capacity, sizeof(dsm_raft_read));
  l.now_box = place(&at, c->message_capacity, sizeof(dsm_raft_message));
  l.after_box = place(&at, c->message_capacity, sizeof(dsm_raft_message));
  l.total = at;
  return l;
}

size_t dsm_raft_bytes(const dsm_raft_config *config) {
  return lay_out(config).total;
}

static bool usable(const dsm_raft_config *c) {
  uint32_t slots = c->log_capacity;
  if (slots < 4 * DSM__RAFT_SLOTS_RESERVED || (slots & (slots - 1)) != 0) return false;
  if (c->payload_capacity_bytes == 0 || c->entries_per_message_max == 0) return false;
  if (c->inflight_max == 0 || c->message_capacity < 2 * DSM_RAFT_NODES_MAX) return false;
  if (c->read_capacity == 0 || c->node >= DSM_RAFT_NODES_MAX) return false;
  if (c->election_timeout_us == 0 || c->heartbeat_us == 0) return false;
  if (c->heartbeat_us >= c->election_timeout_us) return false;
  if (c->lease_reads && !c->check_quorum) return false;
  /* A node that joins later starts with the membership that the log began with. */
  return dsm__raft_membership_valid(&c->membership);
}

dsm_status dsm_raft_init(void *memory, size_t bytes, const dsm_raft_config *config,
                         dsm_raft **out) {
  if (!usable(config)) return DSM_USAGE;
  layout l = lay_out(config);
  if (bytes < l.total) return DSM_USAGE;
  uint8_t *base = memory;
  dsm_raft *raft = memory;
  memset(raft, 0, sizeof *raft);
  raft->config = *config;
  /* One seed may serve a whole cluster: equal time-outs would collide for ever. */
  raft->random = config->seed ^ ((uint64_t)config->node << 56);
  raft->vote = DSM_RAFT_NONE;
  raft->leader = DSM_RAFT_NONE;
  raft->transfer_target = DSM_RAFT_NONE;
  raft->membership = config->membership;
  raft->snapshot.membership = config->membership;
  raft->log.slots = (dsm__raft_slot *)(base + l.slots);
  raft->log.slot_capacity = config->log_capacity;
  raft->log.payloads = base + l.payloads;
  raft->log.payload_capacity_bytes = config->payload_capacity_bytes;
  dsm__raft_log_reset(&raft->log, 0, 0);
  raft->sessions.table = (dsm_raft_session *)(base + l.sessions);
  raft->sessions.capacity = config->session_capacity;
  raft->snapshot_sessions = (dsm_raft_session *)(base + l.snapshot_sessions);
  raft->snapshot.sessions = raft->snapshot_sessions;
  raft->reads = (dsm__raft_pending_read *)(base + l.reads);
  raft->reads_done = (dsm_raft_read *)(base + l.reads_done);
  raft->now_box.messages = (dsm_raft_message *)(base + l.now_box);
  raft->after_box.messages = (dsm_raft_message *)(base + l.after_box);
  uint64_t *inflight = (uint64_t *)(base + l.inflight);
  for (size_t i = 0; i < DSM_RAFT_NODES_MAX; i++) {
    raft->progress[i].inflight = inflight + i * config->inflight_max;
    dsm__raft_progress_reset(&raft->progress[i], 0, 1);
  }
  *out = raft;
  return DSM_OK;
}

dsm_status dsm_raft_load_vote(dsm_raft *raft, uint64_t term, uint8_t vote) {
  if (raft->started || (vote >= DSM_RAFT_NODES_MAX && vote != DSM_RAFT_NONE)) return DSM_USAGE;
  if (term > DSM_RAFT_TERM_MAX) return DSM_USAGE;
  raft->term = term;
  raft->vote = vote;
  return DSM_OK;
}

dsm_status dsm_raft_load_snapshot(dsm_raft *raft, const dsm_raft_snapshot *snapshot) {
  if (raft->started || raft->log.last != 0) return DSM_USAGE;
  if (!dsm__raft_snapshot_acceptable(raft, snapshot)) return DSM_CORRUPT;
  dsm__raft_log_reset(&raft->log, snapshot->index, snapshot->term);
  dsm__raft_snapshot_install(raft, snapshot);
  return DSM_OK;
}

dsm_status dsm_raft_load_entry(dsm_raft *raft, const dsm_raft_entry *entry) {
  if (raft->started) return DSM_USAGE;
  if (entry->index < raft->log.first) return DSM_OK;
  if (entry->index != raft->log.last + 1) return DSM_CORRUPT;
  if (entry->term < dsm__raft_log_last_term(&raft->log)) return DSM_CORRUPT;
  if (!dsm__raft_log_append(&raft->log, entry)) return DSM_STORE_FULL;
  if (entry->kind == DSM_RAFT_CONFIG) {
    /* A change is proposed only once the one before it is committed. To forget that, after a crash
     * that lost the commit index, would be to ask the wrong majority. */
    if (raft->loaded_commit < raft->change_index) raft->loaded_commit = raft->change_index;
    raft->change_index = entry->index;
  }
  return DSM_OK;
}

dsm_status dsm_raft_load_commit(dsm_raft *raft, uint64_t commit) {
  if (raft->started) return DSM_USAGE;
  if (commit > raft->loaded_commit) raft->loaded_commit = commit;
  return DSM_OK;
}

dsm_status dsm_raft_start(dsm_raft *raft, uint64_t now) {
  if (raft->started) return DSM_USAGE;
  raft->started = true;
  dsm__raft_input_begin(raft, now);
  uint64_t last_term = dsm__raft_log_last_term(&raft->log);
  if (last_term > raft->term) dsm__raft_set_vote(raft, last_term, DSM_RAFT_NONE);
  dsm__raft_become_follower(raft, raft->term, DSM_RAFT_NONE);
  /* An earlier run may have answered a leader just before it ended. */
  raft->promised_until = raft->now + raft->config.election_timeout_us;
  uint64_t commit = raft->loaded_commit < raft->log.last ? raft->loaded_commit : raft->log.last;
  dsm__raft_commit_to(raft, commit);
  raft->commit_changed = false;
  return DSM_OK;
}
