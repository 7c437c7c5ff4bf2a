/* The coordinator of one transaction.
 *
 *   IDLE --begin--> PREPARING --all votes, some yes--> COMMITTING --all acknowledged--> DONE
 *                       |  \--all read-only--> DONE (committed, nothing logged)
 *                       \--no, time-out, abort--> DONE (aborted, nothing logged)
 *
 * In the non-blocking mode PREPARING goes through DECIDING, and the word says where it leads.
 * Presumed abort is what keeps the abort path free of records and of acknowledgements.
 */
#include "two_phase_commit.h"
#include "../base/check.h"

#include <string.h>

void dsm_two_phase_outputs_clear(dsm_two_phase_outputs *outputs) {
  /* The message arrays are read up to their counts only, so they need no clearing. */
  outputs->now_count = outputs->once_durable_count = outputs->record_count = 0;
  outputs->outcome = outputs->decide = DSM_OUTCOME_NONE;
  outputs->outcome_once_durable = outputs->vote_wanted = false;
}

void dsm__two_phase_send(dsm_two_phase_message *list, uint32_t *count, uint64_t transaction,
                         uint32_t kind, uint32_t from, uint32_t to, uint32_t vote) {
  DSM_ASSERT(*count < DSM_TWO_PHASE_NODES_MAX);
  list[(*count)++] = (dsm_two_phase_message){transaction, kind, vote, from, to};
}

void dsm__two_phase_log(dsm_two_phase_outputs *outputs, uint64_t transaction, uint32_t kind,
                        uint32_t coordinator, uint64_t participants, bool forced) {
  DSM_ASSERT(outputs->record_count < DSM_TWO_PHASE_RECORDS_MAX);
  outputs->records[outputs->record_count++] =
      (dsm_two_phase_record){transaction, participants, kind, coordinator, forced};
}

static void send_to_all(const dsm_coordinator *coordinator, uint64_t nodes, uint32_t kind,
                        dsm_two_phase_message *list, uint32_t *count) {
  for (uint64_t left = nodes; left != 0; left &= left - 1) {
    uint32_t to = (uint32_t)__builtin_ctzll(left);
    dsm__two_phase_send(list, count, coordinator->transaction, kind, coordinator->node, to,
                        DSM_VOTE_NONE);
  }
}

static uint64_t must_acknowledge(const dsm_coordinator *coordinator) {
  return coordinator->participants & ~coordinator->read_only;
}

/* In the non-blocking mode the word already holds the decision, so nothing waits for the log. */
static void send_commit(const dsm_coordinator *coordinator, dsm_two_phase_outputs *outputs) {
  uint64_t silent = must_acknowledge(coordinator) & ~coordinator->acknowledged;
  if (coordinator->options.non_blocking)
    send_to_all(coordinator, silent, DSM_TWO_PHASE_COMMIT, outputs->now, &outputs->now_count);
  else
    send_to_all(coordinator, silent, DSM_TWO_PHASE_COMMIT, outputs->once_durable,
                &outputs->once_durable_count);
}

static void finish_commit(dsm_coordinator *coordinator, uint64_t now_us,
                          dsm_two_phase_outputs *outputs) {
  coordinator->outcome = outputs->outcome = DSM_OUTCOME_COMMITTED;
  if (must_acknowledge(coordinator) == 0) {
    coordinator->state = DSM_COORDINATOR_DONE;
    return;
  }
  bool forced = !coordinator->options.non_blocking;
  coordinator->state = DSM_COORDINATOR_COMMITTING;
  coordinator->resend_at_us = now_us + coordinator->options.resend_us;
  outputs->outcome_once_durable = forced;
  dsm__two_phase_log(outputs, coordinator->transaction, DSM_RECORD_COMMIT, coordinator->node,
                     must_acknowledge(coordinator), forced);
  send_commit(coordinator, outputs);
}

static void finish_abort(dsm_coordinator *coordinator, dsm_two_phase_outputs *outputs) {
  uint64_t told = coordinator->participants & ~coordinator->read_only & ~coordinator->refused;
  coordinator->state = DSM_COORDINATOR_DONE;
  coordinator->outcome = outputs->outcome = DSM_OUTCOME_ABORTED;
  send_to_all(coordinator, told, DSM_TWO_PHASE_ABORT, outputs->now, &outputs->now_count);
}

static void decide(dsm_coordinator *coordinator, dsm_two_phase_outcome wanted, uint64_t now_us,
                   dsm_two_phase_outputs *outputs) {
  bool nobody_asks_the_word = must_acknowledge(coordinator) == 0;
  if (coordinator->options.non_blocking && !nobody_asks_the_word) {
    coordinator->state = DSM_COORDINATOR_DECIDING;
    outputs->decide = wanted;
  } else if (wanted == DSM_OUTCOME_COMMITTED) {
    finish_commit(coordinator, now_us, outputs);
  } else {
    finish_abort(coordinator, outputs);
  }
}

dsm_status dsm_coordinator_init(dsm_coordinator *coordinator, uint64_t transaction, uint32_t node,
                                uint64_t participants, const dsm_two_phase_options *options) {
  if (node >= DSM_TWO_PHASE_NODES_MAX || participants == 0) return DSM_USAGE;
  memset(coordinator, 0, sizeof *coordinator);
  coordinator->options = *options;
  coordinator->transaction = transaction;
  coordinator->node = node;
  coordinator->participants = participants;
  return DSM_OK;
}

dsm_status dsm_coordinator_begin(dsm_coordinator *coordinator, uint64_t now_us,
                                 dsm_two_phase_outputs *outputs) {
  if (coordinator->state != DSM_COORDINATOR_IDLE) return DSM_USAGE;
  coordinator->state = DSM_COORDINATOR_PREPARING;
  coordinator->deadline_us = now_us + coordinator->options.vote_timeout_us;
  coordinator->resend_at_us = now_us + coordinator->options.resend_us;
  send_to_all(coordinator, coordinator->participants, DSM_TWO_PHASE_PREPARE, outputs->now,
              &outputs->now_count);
  return DSM_OK;
}

dsm_status dsm_coordinator_abort(dsm_coordinator *coordinator, dsm_two_phase_outputs *outputs) {
  if (coordinator->state != DSM_COORDINATOR_PREPARING) return DSM_RETRY;
  decide(coordinator, DSM_OUTCOME_ABORTED, 0, outputs);
  return DSM_OK;
}

static void receive_vote(dsm_coordinator *coordinator, const dsm_two_phase_message *message,
                         uint64_t now_us, dsm_two_phase_outputs *outputs) {
  uint64_t voter = UINT64_C(1) << message->from;
  if (coordinator->state == DSM_COORDINATOR_DONE && coordinator->outcome == DSM_OUTCOME_ABORTED &&
      message->vote == DSM_VOTE_YES) {
    /* A yes that crossed our ABORT, or came after it was lost. */
    send_to_all(coordinator, voter, DSM_TWO_PHASE_ABORT, outputs->now, &outputs->now_count);
    return;
  }
  if (coordinator->state != DSM_COORDINATOR_PREPARING) return;
  if (message->vote == DSM_VOTE_NO) {
    coordinator->refused |= voter;
    decide(coordinator, DSM_OUTCOME_ABORTED, now_us, outputs);
    return;
  }
  if (message->vote == DSM_VOTE_YES) coordinator->yes |= voter;
  if (message->vote == DSM_VOTE_READ_ONLY) coordinator->read_only |= voter;
  if ((coordinator->yes | coordinator->read_only) == coordinator->participants)
    decide(coordinator, DSM_OUTCOME_COMMITTED, now_us, outputs);
}

static void receive_acknowledge(dsm_coordinator *coordinator, uint64_t sender,
                                dsm_two_phase_outputs *outputs) {
  if (coordinator->state != DSM_COORDINATOR_COMMITTING) return;
  coordinator->acknowledged |= sender;
  if ((must_acknowledge(coordinator) & ~coordinator->acknowledged) != 0) return;
  coordinator->state = DSM_COORDINATOR_DONE;
  dsm__two_phase_log(outputs, coordinator->transaction, DSM_RECORD_END, coordinator->node, 0,
                     false);
}

static void receive_inquire(const dsm_coordinator *coordinator, uint64_t sender,
                            dsm_two_phase_outputs *outputs) {
  if (coordinator->outcome == DSM_OUTCOME_ABORTED)
    send_to_all(coordinator, sender, DSM_TWO_PHASE_ABORT, outputs->now, &outputs->now_count);
  /* The COMMIT record may not be durable yet, so even an answer waits for it. */
  if (coordinator->outcome == DSM_OUTCOME_COMMITTED)
    send_to_all(coordinator, sender, DSM_TWO_PHASE_COMMIT, outputs->once_durable,
                &outputs->once_durable_count);
}

dsm_status dsm_coordinator_receive(dsm_coordinator *coordinator,
                                   const dsm_two_phase_message *message, uint64_t now_us,
                                   dsm_two_phase_outputs *outputs) {
  if (message->from >= DSM_TWO_PHASE_NODES_MAX) return DSM_USAGE;
  if (message->transaction != coordinator->transaction) return DSM_USAGE;
  uint64_t sender = UINT64_C(1) << message->from;
  /* After a recovery those that only read are no longer known; they need no answer either. */
  if ((sender & coordinator->participants) == 0) return DSM_OK;
  switch (message->kind) {
  case DSM_TWO_PHASE_VOTE:
    receive_vote(coordinator, message, now_us, outputs);
    return DSM_OK;
  case DSM_TWO_PHASE_ACKNOWLEDGE:
    receive_acknowledge(coordinator, sender, outputs);
    return DSM_OK;
  case DSM_TWO_PHASE_INQUIRE:
    receive_inquire(coordinator, sender, outputs);
    return DSM_OK;
  default:
    return DSM_USAGE;
  }
}

void dsm_coordinator_tick(dsm_coordinator *coordinator, uint64_t now_us,
                          dsm_two_phase_outputs *outputs) {
  if (coordinator->state == DSM_COORDINATOR_PREPARING && now_us >= coordinator->deadline_us) {
    decide(coordinator, DSM_OUTCOME_ABORTED, now_us, outputs);
    return;
  }
  if (now_us < coordinator->resend_at_us) return;
  coordinator->resend_at_us = now_us + coordinator->options.resend_us;
  if (coordinator->state == DSM_COORDINATOR_PREPARING) {
    uint64_t silent = coordinator->participants & ~coordinator->yes & ~coordinator->read_only;
    send_to_all(coordinator, silent, DSM_TWO_PHASE_PREPARE, outputs->now, &outputs->now_count);
  } else if (coordinator->state == DSM_COORDINATOR_COMMITTING) {
    send_commit(coordinator, outputs);
  }
}

dsm_status dsm_coordinator_decided(dsm_coordinator *coordinator, dsm_two_phase_outcome held,
                                   uint64_t now_us, dsm_two_phase_outputs *outputs) {
  if (coordinator->state != DSM_COORDINATOR_DECIDING) return DSM_USAGE;
  if (held == DSM_OUTCOME_NONE) return DSM_USAGE;
  if (held == DSM_OUTCOME_COMMITTED)
    finish_commit(coordinator, now_us, outputs);
  else
    finish_abort(coordinator, outputs);
  return DSM_OK;
}

dsm_status dsm_coordinator_recover(dsm_coordinator *coordinator,
                                   const dsm_two_phase_record *record) {
  if (record->transaction != coordinator->transaction) return DSM_USAGE;
  switch (record->kind) {
  case DSM_RECORD_COMMIT:
    /* With nobody to acknowledge no record is written, and none could end it. */
    if (record->participants == 0) return DSM_CORRUPT;
    coordinator->outcome = DSM_OUTCOME_COMMITTED;
    coordinator->participants = record->participants;
    coordinator->state = DSM_COORDINATOR_COMMITTING;
    coordinator->resend_at_us = 0;
    return DSM_OK;
  case DSM_RECORD_END:
    coordinator->outcome = DSM_OUTCOME_COMMITTED;
    coordinator->state = DSM_COORDINATOR_DONE;
    return DSM_OK;
  default:
    return DSM_CORRUPT;
  }
}

bool dsm_coordinator_presume(const dsm_two_phase_message *message, dsm_two_phase_outcome held,
                             dsm_two_phase_message *answer) {
  bool asks = message->kind == DSM_TWO_PHASE_INQUIRE ||
              (message->kind == DSM_TWO_PHASE_VOTE && message->vote == DSM_VOTE_YES);
  if (!asks || held == DSM_OUTCOME_NONE) return false;
  uint32_t kind = held == DSM_OUTCOME_COMMITTED ? DSM_TWO_PHASE_COMMIT : DSM_TWO_PHASE_ABORT;
  *answer = (dsm_two_phase_message){message->transaction, kind, DSM_VOTE_NONE, message->to,
                                    message->from};
  return true;
}
