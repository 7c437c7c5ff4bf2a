/* The proposer's side of a CASPaxos register, the fence of its acceptors, and membership steps. */
#include "caspaxos.h"

#include <string.h>

static bool no_ballot(dsm_ballot ballot) {
  return ballot.counter == 0;
}

static void finish(dsm_register *reg, dsm_change_outcome outcome, dsm_paxos_outputs *outputs) {
  if (outcome != DSM_CHANGE_DONE) {
    reg->round.phase = DSM_ROUND_IDLE;
    reg->stable = false;
  }
  reg->busy = reg->waiting = false;
  outputs->outcome = outcome;
}

static void prepare(dsm_register *reg, dsm_proposer_identity *identity, uint64_t now_us,
                    dsm_paxos_outputs *outputs) {
  reg->stable = reg->waiting = false;
  reg->wake_us = now_us + reg->options.resend_us;
  dsm__round_prepare(&reg->round, identity, outputs);
}

static void want_change(dsm_register *reg, dsm_paxos_outputs *outputs) {
  reg->waiting = true;
  outputs->change_wanted = true;
}

static void accept(dsm_register *reg, dsm_proposer_identity *identity, uint64_t now_us,
                   dsm_paxos_outputs *outputs) {
  if (no_ballot(reg->first_tried)) reg->first_tried = reg->round.ballot;
  reg->last_tried = reg->round.ballot;
  reg->wake_us = now_us + reg->options.resend_us;
  dsm__round_accept(&reg->round, identity, true, outputs);
}

dsm_status dsm_register_init(dsm_register *reg, uint64_t key, const dsm_paxos_config *config,
                             const dsm_paxos_options *options) {
  if (!dsm_paxos_config_compatible(config, config)) return DSM_USAGE;
  memset(reg, 0, sizeof *reg);
  reg->options = *options;
  reg->round.config = *config;
  reg->round.key = key;
  return DSM_OK;
}

dsm_status dsm_register_configure(dsm_register *reg, const dsm_paxos_config *config) {
  if (!dsm_paxos_config_compatible(config, config)) return DSM_USAGE;
  if (reg->busy) return DSM_RETRY;
  reg->round.config = *config;
  reg->stable = false;
  return DSM_OK;
}

dsm_status dsm_register_begin(dsm_register *reg, dsm_proposer_identity *identity, bool repeatable,
                              uint64_t now_us, uint64_t deadline_us, dsm_paxos_outputs *outputs) {
  if (reg->busy) return DSM_RETRY;
  reg->busy = true;
  reg->repeatable = repeatable;
  reg->first_tried = (dsm_ballot){0};
  reg->attempt = 0;
  reg->deadline_us = deadline_us;
  if (!reg->stable || reg->round.age != identity->age) {
    prepare(reg, identity, now_us, outputs);
    return DSM_OK;
  }
  /* The acceptors promised `next` as they took our last value, so that one is the highest. */
  reg->stable = false;
  reg->round.highest = reg->round.ballot;
  reg->round.ballot = reg->round.next;
  reg->round.phase = DSM_ROUND_PROMISED;
  want_change(reg, outputs);
  return DSM_OK;
}

dsm_status dsm_register_change(dsm_register *reg, dsm_proposer_identity *identity,
                               const dsm_paxos_value *value, uint64_t now_us,
                               dsm_paxos_outputs *outputs) {
  if (!reg->waiting) return DSM_RETRY;
  if (value->size > DSM_PAXOS_VALUE_BYTES_MAX) return DSM_USAGE;
  reg->waiting = false;
  reg->round.value = *value;
  accept(reg, identity, now_us, outputs);
  return DSM_OK;
}

/* A quorum has promised. If this change was sent before, its fate is decided here. The highest
 * ballot is one of ours: it is the change itself, carry it on. Lower than ours: no acceptor of this
 * quorum took ours and none ever will, so the change starts afresh. Anything else may or may not
 * build on ours. */
static void promised(dsm_register *reg, dsm_proposer_identity *identity, uint64_t now_us,
                     dsm_paxos_outputs *outputs) {
  dsm_ballot highest = reg->round.highest;
  if (no_ballot(reg->first_tried) || dsm_ballot_compare(highest, reg->first_tried) < 0)
    want_change(reg, outputs);
  else if (dsm_ballot_compare(highest, reg->first_tried) == 0 ||
           dsm_ballot_compare(highest, reg->last_tried) == 0)
    accept(reg, identity, now_us, outputs);
  else if (reg->repeatable)
    want_change(reg, outputs);
  else
    finish(reg, DSM_CHANGE_UNKNOWN, outputs);
}

dsm_status dsm_register_receive(dsm_register *reg, dsm_proposer_identity *identity,
                                const dsm_paxos_message *message, uint64_t now_us,
                                dsm_paxos_outputs *outputs) {
  dsm_round *round = &reg->round;
  if (message->key != round->key) return DSM_USAGE;
  if (!dsm__round_receive(round, identity, message)) return DSM_OK;
  if (round->phase == DSM_ROUND_PROMISED) {
    promised(reg, identity, now_us, outputs);
  } else if (round->phase == DSM_ROUND_ACCEPTED) {
    uint32_t carried = (uint32_t)__builtin_popcountll(round->carried);
    reg->stable = carried >= round->config.prepare_quorum;
    finish(reg, DSM_CHANGE_DONE, outputs);
  } else if (round->phase == DSM_ROUND_REFUSED) {
    reg->wake_us =
        now_us + dsm__paxos_backoff_us(reg->options.backoff_us, reg->options.seed, reg->attempt);
    reg->attempt++;
  }
  return DSM_OK;
}

void dsm_register_tick(dsm_register *reg, dsm_proposer_identity *identity, uint64_t now_us,
                       dsm_paxos_outputs *outputs) {
  if (!reg->busy) return;
  if (now_us >= reg->deadline_us) {
    finish(reg, no_ballot(reg->first_tried) ? DSM_CHANGE_REFUSED : DSM_CHANGE_UNKNOWN, outputs);
    return;
  }
  /* The proposer has aged meanwhile: what this round sends will be fenced off. */
  bool aged = reg->round.age != identity->age;
  if (aged || (reg->round.phase == DSM_ROUND_REFUSED && now_us >= reg->wake_us)) {
    prepare(reg, identity, now_us, outputs);
  } else if (now_us >= reg->wake_us && !reg->waiting) {
    reg->wake_us = now_us + reg->options.resend_us;
    dsm__round_resend(&reg->round, identity->node, outputs);
  }
}

void dsm_fence_init(dsm_fence *fence) {
  memset(fence, 0, sizeof *fence);
}

bool dsm_fence_admits(const dsm_fence *fence, const dsm_paxos_message *message) {
  if (message->kind != DSM_PAXOS_PREPARE && message->kind != DSM_PAXOS_ACCEPT) return true;
  return message->from < DSM_PAXOS_NODES_MAX && message->age >= fence->age[message->from];
}

dsm_status dsm_fence_receive(dsm_fence *fence, uint32_t node, const dsm_paxos_message *message,
                             dsm_paxos_outputs *outputs) {
  if (message->kind != DSM_PAXOS_FENCE || message->about >= DSM_PAXOS_NODES_MAX ||
      message->from >= DSM_PAXOS_NODES_MAX)
    return DSM_USAGE;
  if (message->age > fence->age[message->about]) {
    fence->age[message->about] = message->age;
    outputs->persist_fence = true;
  }
  dsm_paxos_message *answer =
      dsm__paxos_say(outputs->once_durable, &outputs->once_durable_count, DSM_PAXOS_FENCED,
                     message->key, node, UINT64_C(1) << message->from);
  answer->ballot = message->ballot;
  answer->about = message->about;
  answer->age = message->age;
  return DSM_OK;
}

dsm_status dsm_proposer_identity_forget(dsm_proposer_identity *identity,
                                        const dsm_paxos_message *message,
                                        dsm_paxos_outputs *outputs) {
  if (message->kind != DSM_PAXOS_FORGET || message->from >= DSM_PAXOS_NODES_MAX) return DSM_USAGE;
  if (message->ballot.counter > identity->counter) identity->counter = message->ballot.counter;
  identity->age++;
  outputs->persist_identity = true;
  dsm_paxos_message *answer =
      dsm__paxos_say(outputs->once_durable, &outputs->once_durable_count, DSM_PAXOS_AGED,
                     message->key, identity->node, UINT64_C(1) << message->from);
  answer->ballot = message->ballot;
  answer->age = identity->age;
  return DSM_OK;
}

static uint32_t majority_of(uint64_t nodes) {
  return (uint32_t)__builtin_popcountll(nodes) / 2 + 1;
}

/* From an odd set to the next even one (section 2.3.1): first every change must reach one acceptor
 * more, then every register is carried over, and only then may a prepare count the new one. An even
 * set is the next odd one with a member that was down from the start (section 2.3.2): one step. */
uint32_t dsm_members_expand(uint64_t nodes, uint32_t node,
                            dsm_member_step steps[DSM_MEMBER_STEPS_MAX]) {
  if (node >= DSM_PAXOS_NODES_MAX || nodes == 0 || (nodes >> node & 1)) return 0;
  uint64_t all = nodes | UINT64_C(1) << node;
  uint32_t count = 0;
  if (__builtin_popcountll(nodes) % 2 == 1)
    steps[count++] = (dsm_member_step){{nodes, all, majority_of(nodes), majority_of(all)}, true};
  steps[count++] = (dsm_member_step){dsm_paxos_config_majority(all), false};
  return count;
}

/* Backwards. What an odd set accepted may lie on one node too few of the even rest, which its
 * prepare quorums still find, but the next smaller set's would not: so every register is carried
 * over before anything else changes. From an even set the accept quorums on the way leave enough
 * copies among those that stay. */
uint32_t dsm_members_shrink(uint64_t nodes, uint32_t node,
                            dsm_member_step steps[DSM_MEMBER_STEPS_MAX]) {
  if (node >= DSM_PAXOS_NODES_MAX || !(nodes >> node & 1)) return 0;
  uint64_t rest = nodes & ~(UINT64_C(1) << node);
  if (rest == 0) return 0;
  bool odd = __builtin_popcountll(rest) % 2 == 1;
  uint32_t count = 0;
  if (odd)
    steps[count++] = (dsm_member_step){{rest, nodes, majority_of(rest), majority_of(nodes)}, false};
  steps[count++] = (dsm_member_step){dsm_paxos_config_majority(rest), !odd};
  return count;
}
