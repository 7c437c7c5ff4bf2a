/* Reads that append nothing: ReadIndex and leases (dissertation, sections 6.4 and 6.4.1).
 *
 * A read at index i is right if, at some moment after it was asked for, this node led and knew
 * every committed entry up to i. ReadIndex proves it by a heartbeat round that began after the
 * request and that a majority answered. A lease proves it by the promise of a majority: whoever
 * answered a heartbeat sent at t votes for nobody before t + election time-out on its own clock.
 *
 * Law: the lease is shortened by what two clocks may drift apart meanwhile; it ends with the term,
 * and as soon as leadership is offered to somebody (lease_fenced), because that vote breaks
 * promises. A lease read carries valid_until: whoever serves it looks at the clock again after
 * reading, since a process can be stopped between a check and what follows it.
 */
#include "raft_state.h"

void dsm__raft_read_done(dsm_raft *raft, uint8_t source, uint64_t context, uint64_t index,
                         uint64_t valid_until) {
  if (source != raft->config.node) {
    dsm__raft_send(raft, &(dsm_raft_message){.kind = DSM_RAFT_READ_INDEX_REPLY,
                                             .target = source,
                                             .term = raft->term,
                                             .context = context,
                                             .index = index});
    return;
  }
  if (raft->reads_done_count == raft->config.read_capacity) {
    raft->dropped_count++;
    return;
  }
  raft->reads_done[raft->reads_done_count++] =
      (dsm_raft_read){.context = context, .index = index, .valid_until = valid_until};
}

static uint64_t confirmed_round(const dsm_raft *raft) {
  dsm_quorum quorum = dsm__raft_quorum(&raft->membership);
  return dsm_quorum_committed(&quorum, raft->round_confirmed);
}

/* 0: no lease. */
static uint64_t lease_end(const dsm_raft *raft) {
  const dsm_raft_config *config = &raft->config;
  if (!config->lease_reads || raft->lease_fenced) return 0;
  uint64_t round = confirmed_round(raft);
  if (round == 0 || raft->round - round >= DSM__RAFT_ROUNDS_KEPT) return 0;
  uint64_t drift = config->election_timeout_us * config->clock_drift_ppm / 1000000 + 1;
  if (drift >= config->election_timeout_us) return 0;
  return raft->round_sent_at[round % DSM__RAFT_ROUNDS_KEPT] + config->election_timeout_us - drift;
}

void dsm__raft_read_request(dsm_raft *raft, uint8_t source, uint64_t context) {
  bool owns = dsm__raft_leader_owns_commit(raft);
  uint64_t lease = owns ? lease_end(raft) : 0;
  bool alone = dsm__raft_voters(&raft->membership) == dsm__raft_bit(raft->config.node);
  if (owns && (alone || (raft->now < lease && source == raft->config.node))) {
    dsm__raft_read_done(raft, source, context, raft->commit, alone ? 0 : lease);
    return;
  }
  if (raft->read_count == raft->config.read_capacity) {
    raft->dropped_count++;
    return;
  }
  dsm__raft_pending_read *read = &raft->reads[raft->read_count++];
  *read = (dsm__raft_pending_read){.context = context, .source = source};
  if (!owns) return;
  dsm__raft_leader_broadcast_heartbeat(raft);
  read->index = raft->commit;
  read->round = raft->round;
}

/* The reads that came before this term's first commit are as good as asked for now. */
void dsm__raft_read_first_commit(dsm_raft *raft) {
  if (raft->read_count == 0) return;
  dsm__raft_leader_broadcast_heartbeat(raft);
  for (uint32_t i = 0; i < raft->read_count; i++) {
    if (raft->reads[i].index != 0) continue;
    raft->reads[i].index = raft->commit;
    raft->reads[i].round = raft->round;
  }
  dsm__raft_read_round_confirmed(raft);
}

void dsm__raft_read_round_confirmed(dsm_raft *raft) {
  uint64_t round = confirmed_round(raft);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < raft->read_count; i++) {
    dsm__raft_pending_read read = raft->reads[i];
    if (read.index != 0 && read.round <= round)
      dsm__raft_read_done(raft, read.source, read.context, read.index, 0);
    else
      raft->reads[kept++] = read;
  }
  raft->read_count = kept;
}

dsm_status dsm_raft_read_index(dsm_raft *raft, uint64_t context, uint64_t now) {
  dsm__raft_input_begin(raft, now);
  if (raft->role == DSM_RAFT_LEADER) {
    if (raft->read_count == raft->config.read_capacity) return DSM_TOO_MANY;
    dsm__raft_read_request(raft, raft->config.node, context);
    return DSM_OK;
  }
  if (raft->leader == DSM_RAFT_NONE) return DSM_RETRY;
  dsm__raft_send(raft, &(dsm_raft_message){.kind = DSM_RAFT_READ_INDEX,
                                           .target = raft->leader,
                                           .term = raft->term,
                                           .context = context});
  return DSM_OK;
}
