/* The deletion of a register that holds the empty value (section 3.1 of the paper).
 *
 *   TOMBSTONE --all acceptors took it--> FORGETTING --AGED--> FENCING --all FENCED--+
 *       |                                     ^                                     |
 *       \--value present, refused: ended      \-----------another proposer----------+
 *                                                          no other: ERASING --all ERASED--> ended
 */
#include "caspaxos.h"

#include <string.h>

static uint32_t proposer_in_turn(const dsm_collector *collector) {
  return (uint32_t)__builtin_ctzll(collector->proposers_left);
}

static void end(dsm_collector *collector, dsm_change_outcome outcome, dsm_paxos_outputs *outputs) {
  collector->phase = DSM_COLLECTOR_ENDED;
  outputs->outcome = outcome;
}

static void send_phase(const dsm_collector *collector, uint32_t node, dsm_paxos_outputs *outputs) {
  uint64_t silent = collector->acceptors & ~collector->answered;
  uint32_t kind = DSM_PAXOS_ERASE;
  if (collector->phase == DSM_COLLECTOR_FENCING) kind = DSM_PAXOS_FENCE;
  if (collector->phase == DSM_COLLECTOR_FORGETTING) {
    kind = DSM_PAXOS_FORGET;
    silent = UINT64_C(1) << proposer_in_turn(collector);
  }
  dsm_paxos_message *message =
      dsm__paxos_say(outputs->now, &outputs->now_count, kind, collector->round.key, node, silent);
  message->ballot = collector->round.ballot;
  message->age = collector->age;
  if (kind == DSM_PAXOS_FENCE) message->about = proposer_in_turn(collector);
}

static void enter(dsm_collector *collector, dsm_collector_phase phase, uint32_t node,
                  uint64_t now_us, dsm_paxos_outputs *outputs) {
  collector->phase = phase;
  collector->answered = 0;
  collector->wake_us = now_us + collector->options.resend_us;
  send_phase(collector, node, outputs);
}

dsm_status dsm_collector_init(dsm_collector *collector, uint64_t key,
                              const dsm_paxos_config *config, uint64_t proposers,
                              const dsm_paxos_options *options) {
  if (!dsm_paxos_config_compatible(config, config) || proposers == 0) return DSM_USAGE;
  memset(collector, 0, sizeof *collector);
  collector->options = *options;
  collector->round.key = key;
  collector->round.config = *config;
  collector->acceptors = config->prepare_nodes | config->accept_nodes;
  collector->round.config.accept_nodes = collector->acceptors;
  collector->round.config.accept_quorum = (uint32_t)__builtin_popcountll(collector->acceptors);
  collector->proposers_left = proposers;
  return DSM_OK;
}

void dsm_collector_begin(dsm_collector *collector, dsm_proposer_identity *identity, uint64_t now_us,
                         dsm_paxos_outputs *outputs) {
  collector->wake_us = now_us + collector->options.resend_us;
  dsm__round_prepare(&collector->round, identity, outputs);
}

static void receive_in_round(dsm_collector *collector, dsm_proposer_identity *identity,
                             const dsm_paxos_message *message, uint64_t now_us,
                             dsm_paxos_outputs *outputs) {
  dsm_round *round = &collector->round;
  if (!dsm__round_receive(round, identity, message)) return;
  if (round->phase == DSM_ROUND_PROMISED && !round->value.present) {
    collector->wake_us = now_us + collector->options.resend_us;
    /* No promise is carried: the tombstone's ballot must stay the acceptors' highest. */
    dsm__round_accept(round, identity, false, outputs);
  } else if (round->phase == DSM_ROUND_ACCEPTED) {
    enter(collector, DSM_COLLECTOR_FORGETTING, identity->node, now_us, outputs);
  } else if (round->phase == DSM_ROUND_REFUSED &&
             ++collector->attempt < DSM_COLLECTOR_ATTEMPTS_MAX) {
    collector->wake_us =
        now_us + dsm__paxos_backoff_us(collector->options.backoff_us, collector->options.seed,
                                       collector->attempt);
  } else {
    end(collector, DSM_CHANGE_REFUSED, outputs);
  }
}

dsm_status dsm_collector_receive(dsm_collector *collector, dsm_proposer_identity *identity,
                                 const dsm_paxos_message *message, uint64_t now_us,
                                 dsm_paxos_outputs *outputs) {
  if (message->key != collector->round.key || message->from >= DSM_PAXOS_NODES_MAX)
    return DSM_USAGE;
  if (collector->phase == DSM_COLLECTOR_TOMBSTONE) {
    receive_in_round(collector, identity, message, now_us, outputs);
    return DSM_OK;
  }
  if (collector->phase == DSM_COLLECTOR_ENDED ||
      dsm_ballot_compare(message->ballot, collector->round.ballot) != 0)
    return DSM_OK;
  uint64_t sender = UINT64_C(1) << message->from;
  if (collector->phase == DSM_COLLECTOR_FORGETTING) {
    if (message->kind != DSM_PAXOS_AGED || message->from != proposer_in_turn(collector))
      return DSM_OK;
    collector->age = message->age;
    enter(collector, DSM_COLLECTOR_FENCING, identity->node, now_us, outputs);
    return DSM_OK;
  }
  bool fenced = collector->phase == DSM_COLLECTOR_FENCING && message->kind == DSM_PAXOS_FENCED &&
                message->about == proposer_in_turn(collector);
  bool erased = collector->phase == DSM_COLLECTOR_ERASING && message->kind == DSM_PAXOS_ERASED;
  if (!fenced && !erased) return DSM_OK;
  collector->answered |= sender & collector->acceptors;
  if (collector->answered != collector->acceptors) return DSM_OK;
  if (erased) {
    end(collector, DSM_CHANGE_DONE, outputs);
    return DSM_OK;
  }
  collector->proposers_left &= collector->proposers_left - 1;
  enter(collector,
        collector->proposers_left != 0 ? DSM_COLLECTOR_FORGETTING : DSM_COLLECTOR_ERASING,
        identity->node, now_us, outputs);
  return DSM_OK;
}

void dsm_collector_tick(dsm_collector *collector, dsm_proposer_identity *identity, uint64_t now_us,
                        dsm_paxos_outputs *outputs) {
  if (collector->phase == DSM_COLLECTOR_ENDED || now_us < collector->wake_us) return;
  collector->wake_us = now_us + collector->options.resend_us;
  if (collector->round.phase == DSM_ROUND_REFUSED)
    dsm__round_prepare(&collector->round, identity, outputs);
  else if (collector->phase == DSM_COLLECTOR_TOMBSTONE)
    dsm__round_resend(&collector->round, identity->node, outputs);
  else
    send_phase(collector, identity->node, outputs);
}
