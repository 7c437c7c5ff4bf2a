/* The proposer and learner of a single decree: propose until something is chosen, then tell. */
#include "paxos.h"

#include <string.h>

dsm_status dsm_proposer_init(dsm_proposer *proposer, uint64_t key, const dsm_paxos_config *config,
                             uint64_t learners, const dsm_paxos_options *options) {
  if (!dsm_paxos_config_compatible(config, config)) return DSM_USAGE;
  memset(proposer, 0, sizeof *proposer);
  proposer->options = *options;
  proposer->round.config = *config;
  proposer->round.key = key;
  proposer->learners = learners;
  return DSM_OK;
}

static void learn(dsm_proposer *proposer, const dsm_paxos_value *value,
                  dsm_paxos_outputs *outputs) {
  proposer->round.phase = DSM_ROUND_IDLE;
  if (proposer->chosen.present) return;
  proposer->chosen = *value;
  outputs->outcome = DSM_CHANGE_DONE;
}

static void prepare(dsm_proposer *proposer, dsm_proposer_identity *identity, uint64_t now_us,
                    dsm_paxos_outputs *outputs) {
  proposer->wake_us = now_us + proposer->options.resend_us;
  dsm__round_prepare(&proposer->round, identity, outputs);
}

dsm_status dsm_proposer_propose(dsm_proposer *proposer, dsm_proposer_identity *identity,
                                const dsm_paxos_value *value, uint64_t now_us,
                                dsm_paxos_outputs *outputs) {
  if (!value->present) return DSM_USAGE;
  if (proposer->chosen.present) {
    outputs->outcome = DSM_CHANGE_DONE;
    return DSM_OK;
  }
  if (proposer->round.phase != DSM_ROUND_IDLE) return DSM_RETRY;
  proposer->wanted = *value;
  proposer->attempt = 0;
  prepare(proposer, identity, now_us, outputs);
  return DSM_OK;
}

dsm_status dsm_proposer_receive(dsm_proposer *proposer, dsm_proposer_identity *identity,
                                const dsm_paxos_message *message, uint64_t now_us,
                                dsm_paxos_outputs *outputs) {
  dsm_round *round = &proposer->round;
  if (message->key != round->key) return DSM_USAGE;
  if (message->kind == DSM_PAXOS_CHOSEN) {
    if (!message->value.present || message->value.size > DSM_PAXOS_VALUE_BYTES_MAX)
      return DSM_USAGE;
    learn(proposer, &message->value, outputs);
    return DSM_OK;
  }
  if (!dsm__round_receive(round, identity, message)) return DSM_OK;
  if (round->phase == DSM_ROUND_PROMISED) {
    if (!round->value.present) round->value = proposer->wanted;
    proposer->wake_us = now_us + proposer->options.resend_us;
    dsm__round_accept(round, identity, false, outputs);
  } else if (round->phase == DSM_ROUND_ACCEPTED) {
    learn(proposer, &round->value, outputs);
    uint64_t others = proposer->learners & ~(UINT64_C(1) << identity->node);
    if (others == 0) return DSM_OK;
    dsm_paxos_message *chosen = dsm__paxos_say(outputs->now, &outputs->now_count, DSM_PAXOS_CHOSEN,
                                               round->key, identity->node, others);
    chosen->ballot = round->ballot;
    chosen->value = round->value;
  } else if (round->phase == DSM_ROUND_REFUSED) {
    proposer->wake_us = now_us + dsm__paxos_backoff_us(proposer->options.backoff_us,
                                                       proposer->options.seed, proposer->attempt);
    proposer->attempt++;
  }
  return DSM_OK;
}

void dsm_proposer_tick(dsm_proposer *proposer, dsm_proposer_identity *identity, uint64_t now_us,
                       dsm_paxos_outputs *outputs) {
  dsm_round *round = &proposer->round;
  if (round->phase == DSM_ROUND_IDLE || now_us < proposer->wake_us) return;
  if (round->phase == DSM_ROUND_REFUSED) {
    prepare(proposer, identity, now_us, outputs);
    return;
  }
  proposer->wake_us = now_us + proposer->options.resend_us;
  dsm__round_resend(round, identity->node, outputs);
}
