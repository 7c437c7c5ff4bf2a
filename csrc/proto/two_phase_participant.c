/* A participant of one transaction.
 *
 *   WORKING --PREPARE--> ASKED --yes--> PREPARED --COMMIT--> COMMITTED
 *      |                   |  \--read-only--> READ_ONLY   \--ABORT--> ABORTED
 *      \--time-out, ABORT--+--no, time-out, ABORT--> ABORTED
 *
 * Until it votes yes a participant may abort alone; from then on it may not, and only asks: the
 * coordinator, or in the non-blocking mode the decision word, which it may also close with "abort".
 */
#include "two_phase_commit.h"
#include "../base/check.h"

#include <string.h>

static void say_now(const dsm_participant *participant, uint32_t kind, uint32_t vote,
                    dsm_two_phase_outputs *outputs) {
  dsm__two_phase_send(outputs->now, &outputs->now_count, participant->transaction, kind,
                      participant->node, participant->coordinator, vote);
}

static void say_once_durable(const dsm_participant *participant, uint32_t kind, uint32_t vote,
                             dsm_two_phase_outputs *outputs) {
  dsm__two_phase_send(outputs->once_durable, &outputs->once_durable_count, participant->transaction,
                      kind, participant->node, participant->coordinator, vote);
}

static void finish(dsm_participant *participant, dsm_participant_state state,
                   dsm_two_phase_outputs *outputs) {
  bool committed = state == DSM_PARTICIPANT_COMMITTED;
  /* What never prepared left no record, and presumed abort needs none. */
  if (participant->state == DSM_PARTICIPANT_PREPARED)
    dsm__two_phase_log(outputs, participant->transaction,
                       committed ? DSM_RECORD_COMMITTED : DSM_RECORD_ABORTED,
                       participant->coordinator, 0, committed);
  participant->state = state;
  outputs->outcome = committed ? DSM_OUTCOME_COMMITTED : DSM_OUTCOME_ABORTED;
}

dsm_status dsm_participant_init(dsm_participant *participant, uint64_t transaction, uint32_t node,
                                uint32_t coordinator, const dsm_two_phase_options *options,
                                uint64_t now_us) {
  if (node >= DSM_TWO_PHASE_NODES_MAX || coordinator >= DSM_TWO_PHASE_NODES_MAX) return DSM_USAGE;
  memset(participant, 0, sizeof *participant);
  participant->options = *options;
  participant->transaction = transaction;
  participant->node = node;
  participant->coordinator = coordinator;
  participant->deadline_us = now_us + options->work_timeout_us;
  return DSM_OK;
}

static void receive_prepare(dsm_participant *participant, dsm_two_phase_outputs *outputs) {
  switch (participant->state) {
  case DSM_PARTICIPANT_WORKING:
    participant->state = DSM_PARTICIPANT_ASKED;
    outputs->vote_wanted = true;
    break;
  case DSM_PARTICIPANT_ASKED:
    break;
  case DSM_PARTICIPANT_PREPARED:
    say_once_durable(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_YES, outputs);
    break;
  case DSM_PARTICIPANT_COMMITTED:
    say_once_durable(participant, DSM_TWO_PHASE_ACKNOWLEDGE, DSM_VOTE_NONE, outputs);
    break;
  case DSM_PARTICIPANT_ABORTED:
    say_now(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_NO, outputs);
    break;
  case DSM_PARTICIPANT_READ_ONLY:
    say_now(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_READ_ONLY, outputs);
    break;
  }
}

static dsm_status receive_commit(dsm_participant *participant, dsm_two_phase_outputs *outputs) {
  if (participant->state != DSM_PARTICIPANT_PREPARED &&
      participant->state != DSM_PARTICIPANT_COMMITTED)
    return DSM_CORRUPT;
  if (participant->state == DSM_PARTICIPANT_PREPARED)
    finish(participant, DSM_PARTICIPANT_COMMITTED, outputs);
  say_once_durable(participant, DSM_TWO_PHASE_ACKNOWLEDGE, DSM_VOTE_NONE, outputs);
  return DSM_OK;
}

/* An ABORT that meets a committed participant answers an inquiry that it overtook: the coordinator
 * has forgotten the transaction because this very participant acknowledged it. */
static void receive_abort(dsm_participant *participant, dsm_two_phase_outputs *outputs) {
  if (participant->state == DSM_PARTICIPANT_WORKING ||
      participant->state == DSM_PARTICIPANT_ASKED || participant->state == DSM_PARTICIPANT_PREPARED)
    finish(participant, DSM_PARTICIPANT_ABORTED, outputs);
}

dsm_status dsm_participant_receive(dsm_participant *participant,
                                   const dsm_two_phase_message *message, uint64_t now_us,
                                   dsm_two_phase_outputs *outputs) {
  (void)now_us;
  if (message->transaction != participant->transaction || message->from != participant->coordinator)
    return DSM_USAGE;
  switch (message->kind) {
  case DSM_TWO_PHASE_PREPARE:
    receive_prepare(participant, outputs);
    return DSM_OK;
  case DSM_TWO_PHASE_COMMIT:
    return receive_commit(participant, outputs);
  case DSM_TWO_PHASE_ABORT:
    receive_abort(participant, outputs);
    return DSM_OK;
  default:
    return DSM_USAGE;
  }
}

dsm_status dsm_participant_vote(dsm_participant *participant, dsm_two_phase_vote vote,
                                uint64_t now_us, dsm_two_phase_outputs *outputs) {
  if (participant->state != DSM_PARTICIPANT_ASKED) return DSM_RETRY;
  switch (vote) {
  case DSM_VOTE_YES:
    participant->state = DSM_PARTICIPANT_PREPARED;
    participant->deadline_us = now_us + participant->options.inquire_timeout_us;
    dsm__two_phase_log(outputs, participant->transaction, DSM_RECORD_PREPARED,
                       participant->coordinator, 0, true);
    say_once_durable(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_YES, outputs);
    return DSM_OK;
  case DSM_VOTE_NO:
    finish(participant, DSM_PARTICIPANT_ABORTED, outputs);
    say_now(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_NO, outputs);
    return DSM_OK;
  case DSM_VOTE_READ_ONLY:
    participant->state = DSM_PARTICIPANT_READ_ONLY;
    say_now(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_READ_ONLY, outputs);
    return DSM_OK;
  default:
    return DSM_USAGE;
  }
}

void dsm_participant_tick(dsm_participant *participant, uint64_t now_us,
                          dsm_two_phase_outputs *outputs) {
  if (now_us < participant->deadline_us) return;
  if (participant->state == DSM_PARTICIPANT_WORKING ||
      participant->state == DSM_PARTICIPANT_ASKED) {
    finish(participant, DSM_PARTICIPANT_ABORTED, outputs);
  } else if (participant->state == DSM_PARTICIPANT_PREPARED) {
    participant->deadline_us = now_us + participant->options.inquire_timeout_us;
    if (participant->options.non_blocking)
      outputs->decide = DSM_OUTCOME_ABORTED;
    else
      say_now(participant, DSM_TWO_PHASE_INQUIRE, DSM_VOTE_NONE, outputs);
  }
}

dsm_status dsm_participant_decided(dsm_participant *participant, dsm_two_phase_outcome held,
                                   dsm_two_phase_outputs *outputs) {
  /* A COMMIT or ABORT may have come while the word was being swapped. */
  if (participant->state != DSM_PARTICIPANT_PREPARED) return DSM_OK;
  if (held == DSM_OUTCOME_COMMITTED) return receive_commit(participant, outputs);
  if (held == DSM_OUTCOME_ABORTED) receive_abort(participant, outputs);
  return DSM_OK;
}

dsm_status dsm_participant_recover(dsm_participant *participant,
                                   const dsm_two_phase_record *record) {
  if (record->transaction != participant->transaction) return DSM_USAGE;
  switch (record->kind) {
  case DSM_RECORD_PREPARED:
    if (record->coordinator >= DSM_TWO_PHASE_NODES_MAX) return DSM_CORRUPT;
    participant->coordinator = record->coordinator;
    participant->state = DSM_PARTICIPANT_PREPARED;
    participant->deadline_us = 0;
    return DSM_OK;
  case DSM_RECORD_COMMITTED:
    participant->state = DSM_PARTICIPANT_COMMITTED;
    return DSM_OK;
  case DSM_RECORD_ABORTED:
    participant->state = DSM_PARTICIPANT_ABORTED;
    return DSM_OK;
  default:
    return DSM_CORRUPT;
  }
}
