/* Ballots, quorums, the acceptor, and the proposer's side of one round. */
#include "paxos.h"
#include "../base/check.h"

#include <string.h>

int dsm_ballot_compare(dsm_ballot left, dsm_ballot right) {
  if (left.counter != right.counter) return left.counter < right.counter ? -1 : 1;
  if (left.node != right.node) return left.node < right.node ? -1 : 1;
  if (left.incarnation != right.incarnation) return left.incarnation < right.incarnation ? -1 : 1;
  return 0;
}

static bool no_ballot(dsm_ballot ballot) {
  return ballot.counter == 0;
}

dsm_status dsm_paxos_value_set(dsm_paxos_value *value, const void *bytes, uint32_t size) {
  if (size > DSM_PAXOS_VALUE_BYTES_MAX) return DSM_USAGE;
  memset(value, 0, sizeof *value);
  value->present = true;
  value->size = size;
  if (size != 0) memcpy(value->bytes, bytes, size);
  return DSM_OK;
}

void dsm_paxos_outputs_clear(dsm_paxos_outputs *outputs) {
  outputs->now_count = outputs->once_durable_count = 0;
  outputs->persist = outputs->persist_identity = outputs->persist_fence = false;
  outputs->change_wanted = false;
  outputs->outcome = DSM_CHANGE_NONE;
}

dsm_paxos_message *dsm__paxos_say(dsm_paxos_message *list, uint32_t *count, uint32_t kind,
                                  uint64_t key, uint32_t from, uint64_t to) {
  DSM_ASSERT(*count < DSM_PAXOS_MESSAGES_MAX);
  dsm_paxos_message *message = &list[(*count)++];
  memset(message, 0, sizeof *message);
  message->kind = kind;
  message->key = key;
  message->from = from;
  message->to = to;
  return message;
}

uint64_t dsm__paxos_backoff_us(uint64_t base_us, uint64_t seed, uint32_t attempt) {
  /* One step of Vigna's splitmix64, so that duelling proposers fall out of step. */
  uint64_t mixed = seed + (attempt + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
  mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
  mixed ^= mixed >> 31;
  uint64_t span_us = base_us << (attempt < 6 ? attempt : 6);
  return base_us + (span_us == 0 ? 0 : mixed % span_us);
}

dsm_paxos_config dsm_paxos_config_majority(uint64_t nodes) {
  uint32_t quorum = (uint32_t)__builtin_popcountll(nodes) / 2 + 1;
  return (dsm_paxos_config){nodes, nodes, quorum, quorum};
}

/* Two quorums miss each other when each first uses up the nodes that the other cannot have, and
 * what is left to draw from the shared nodes does not exhaust them. */
static bool always_meet(uint64_t nodes, uint32_t quorum, uint64_t others, uint32_t other_quorum) {
  uint32_t shared = (uint32_t)__builtin_popcountll(nodes & others);
  uint32_t own = (uint32_t)__builtin_popcountll(nodes & ~others);
  uint32_t foreign = (uint32_t)__builtin_popcountll(others & ~nodes);
  if (quorum > own + shared || other_quorum > foreign + shared) return false;
  uint32_t needed =
      (quorum > own ? quorum - own : 0) + (other_quorum > foreign ? other_quorum - foreign : 0);
  return needed > shared;
}

bool dsm_paxos_config_compatible(const dsm_paxos_config *one, const dsm_paxos_config *other) {
  return always_meet(one->prepare_nodes, one->prepare_quorum, other->accept_nodes,
                     other->accept_quorum) &&
         always_meet(other->prepare_nodes, other->prepare_quorum, one->accept_nodes,
                     one->accept_quorum);
}

void dsm_acceptor_init(dsm_acceptor *acceptor) {
  memset(acceptor, 0, sizeof *acceptor);
}

bool dsm_acceptor_empty(const dsm_acceptor *acceptor) {
  return no_ballot(acceptor->promised) && no_ballot(acceptor->accepted);
}

/* A refusal promises nothing, so it need not wait for the disk. */
static void refuse(const dsm_acceptor *acceptor, uint32_t node, const dsm_paxos_message *message,
                   dsm_paxos_outputs *outputs) {
  dsm_paxos_message *answer = dsm__paxos_say(outputs->now, &outputs->now_count, DSM_PAXOS_REFUSE,
                                             message->key, node, UINT64_C(1) << message->from);
  answer->ballot = message->ballot;
  answer->accepted = acceptor->promised;
}

static dsm_paxos_message *answer_once_durable(uint32_t kind, uint32_t node,
                                              const dsm_paxos_message *message,
                                              dsm_paxos_outputs *outputs) {
  dsm_paxos_message *answer =
      dsm__paxos_say(outputs->once_durable, &outputs->once_durable_count, kind, message->key, node,
                     UINT64_C(1) << message->from);
  answer->ballot = message->ballot;
  return answer;
}

static void receive_prepare(dsm_acceptor *acceptor, uint32_t node, const dsm_paxos_message *message,
                            dsm_paxos_outputs *outputs) {
  int order = dsm_ballot_compare(message->ballot, acceptor->promised);
  if (order < 0) {
    refuse(acceptor, node, message, outputs);
    return;
  }
  acceptor->promised = message->ballot;
  outputs->persist = order > 0;
  dsm_paxos_message *answer = answer_once_durable(DSM_PAXOS_PROMISE, node, message, outputs);
  answer->accepted = acceptor->accepted;
  answer->value = acceptor->value;
}

static void receive_accept(dsm_acceptor *acceptor, uint32_t node, const dsm_paxos_message *message,
                           dsm_paxos_outputs *outputs) {
  /* A repeated ACCEPT is answered even when a later promise stands: that it was accepted stays
   * true. */
  bool repeated = dsm_ballot_compare(message->ballot, acceptor->accepted) == 0;
  if (!repeated) {
    if (dsm_ballot_compare(message->ballot, acceptor->promised) < 0) {
      refuse(acceptor, node, message, outputs);
      return;
    }
    acceptor->accepted = message->ballot;
    acceptor->value = message->value;
    acceptor->promised = no_ballot(message->next) ? message->ballot : message->next;
    outputs->persist = true;
  }
  dsm_paxos_message *answer = answer_once_durable(DSM_PAXOS_ACCEPTED, node, message, outputs);
  if (dsm_ballot_compare(acceptor->promised, message->next) == 0) answer->next = message->next;
}

/* Only the tombstone itself may go: a promise above it, once given, is never lost. */
static void receive_erase(dsm_acceptor *acceptor, uint32_t node, const dsm_paxos_message *message,
                          dsm_paxos_outputs *outputs) {
  bool tombstone = dsm_ballot_compare(acceptor->accepted, message->ballot) == 0 &&
                   dsm_ballot_compare(acceptor->promised, message->ballot) == 0 &&
                   !acceptor->value.present;
  if (tombstone) {
    dsm_acceptor_init(acceptor);
    outputs->persist = true;
  }
  answer_once_durable(DSM_PAXOS_ERASED, node, message, outputs);
}

dsm_status dsm_acceptor_receive(dsm_acceptor *acceptor, uint32_t node,
                                const dsm_paxos_message *message, dsm_paxos_outputs *outputs) {
  if (message->from >= DSM_PAXOS_NODES_MAX || no_ballot(message->ballot) ||
      message->value.size > DSM_PAXOS_VALUE_BYTES_MAX)
    return DSM_USAGE;
  switch (message->kind) {
  case DSM_PAXOS_PREPARE:
    receive_prepare(acceptor, node, message, outputs);
    return DSM_OK;
  case DSM_PAXOS_ACCEPT:
    if (!no_ballot(message->next) && dsm_ballot_compare(message->next, message->ballot) <= 0)
      return DSM_USAGE;
    receive_accept(acceptor, node, message, outputs);
    return DSM_OK;
  case DSM_PAXOS_ERASE:
    receive_erase(acceptor, node, message, outputs);
    return DSM_OK;
  default:
    return DSM_USAGE;
  }
}

static dsm_ballot next_ballot(dsm_proposer_identity *identity) {
  identity->counter++;
  return (dsm_ballot){identity->counter, identity->node, identity->incarnation};
}

static void send_phase(const dsm_round *round, uint64_t to, uint32_t node,
                       dsm_paxos_outputs *outputs) {
  bool preparing = round->phase == DSM_ROUND_PREPARING;
  if (to == 0) return;
  dsm_paxos_message *message =
      preparing ? dsm__paxos_say(outputs->once_durable, &outputs->once_durable_count,
                                 DSM_PAXOS_PREPARE, round->key, node, to)
                : dsm__paxos_say(outputs->now, &outputs->now_count, DSM_PAXOS_ACCEPT, round->key,
                                 node, to);
  message->ballot = round->ballot;
  message->age = round->age;
  if (preparing) return;
  message->next = round->next;
  message->value = round->value;
}

void dsm__round_prepare(dsm_round *round, dsm_proposer_identity *identity,
                        dsm_paxos_outputs *outputs) {
  round->ballot = next_ballot(identity);
  round->age = identity->age;
  round->replied = round->refused = round->carried = 0;
  round->next = round->highest = (dsm_ballot){0};
  memset(&round->value, 0, sizeof round->value);
  round->phase = DSM_ROUND_PREPARING;
  send_phase(round, round->config.prepare_nodes, identity->node, outputs);
}

void dsm__round_accept(dsm_round *round, dsm_proposer_identity *identity, bool carry,
                       dsm_paxos_outputs *outputs) {
  DSM_ASSERT(round->phase == DSM_ROUND_PROMISED);
  round->replied = round->refused = round->carried = 0;
  round->next = carry ? next_ballot(identity) : (dsm_ballot){0};
  round->phase = DSM_ROUND_ACCEPTING;
  send_phase(round, round->config.accept_nodes, identity->node, outputs);
}

void dsm__round_resend(const dsm_round *round, uint32_t node, dsm_paxos_outputs *outputs) {
  if (round->phase == DSM_ROUND_PREPARING)
    send_phase(round, round->config.prepare_nodes & ~round->replied, node, outputs);
  else if (round->phase == DSM_ROUND_ACCEPTING)
    send_phase(round, round->config.accept_nodes & ~round->replied, node, outputs);
}

static uint32_t count_of(uint64_t nodes) {
  return (uint32_t)__builtin_popcountll(nodes);
}

static bool receive_promise(dsm_round *round, uint64_t sender, const dsm_paxos_message *message) {
  if ((sender & round->config.prepare_nodes) == 0) return false;
  round->replied |= sender;
  if (dsm_ballot_compare(message->accepted, round->highest) > 0) {
    round->highest = message->accepted;
    round->value = message->value;
  }
  if (count_of(round->replied) < round->config.prepare_quorum) return false;
  round->phase = DSM_ROUND_PROMISED;
  return true;
}

static bool receive_accepted(dsm_round *round, uint64_t sender, const dsm_paxos_message *message) {
  if ((sender & round->config.accept_nodes) == 0) return false;
  round->replied |= sender;
  if (!no_ballot(round->next) && dsm_ballot_compare(message->next, round->next) == 0)
    round->carried |= sender & round->config.prepare_nodes;
  if (count_of(round->replied) < round->config.accept_quorum) return false;
  round->phase = DSM_ROUND_ACCEPTED;
  return true;
}

static bool receive_refuse(dsm_round *round, uint64_t sender) {
  bool preparing = round->phase == DSM_ROUND_PREPARING;
  uint64_t nodes = preparing ? round->config.prepare_nodes : round->config.accept_nodes;
  uint32_t quorum = preparing ? round->config.prepare_quorum : round->config.accept_quorum;
  round->refused |= sender & nodes & ~round->replied;
  if (count_of(nodes & ~round->refused) >= quorum) return false;
  round->phase = DSM_ROUND_REFUSED;
  return true;
}

bool dsm__round_receive(dsm_round *round, dsm_proposer_identity *identity,
                        const dsm_paxos_message *message) {
  if (message->from >= DSM_PAXOS_NODES_MAX || message->value.size > DSM_PAXOS_VALUE_BYTES_MAX)
    return false;
  uint64_t sender = UINT64_C(1) << message->from;
  /* Whatever is refused for, the next ballot must be above it. */
  if (message->kind == DSM_PAXOS_REFUSE && message->accepted.counter > identity->counter)
    identity->counter = message->accepted.counter;
  if (dsm_ballot_compare(message->ballot, round->ballot) != 0) return false;
  bool preparing = round->phase == DSM_ROUND_PREPARING;
  bool accepting = round->phase == DSM_ROUND_ACCEPTING;
  if (message->kind == DSM_PAXOS_PROMISE && preparing)
    return receive_promise(round, sender, message);
  if (message->kind == DSM_PAXOS_ACCEPTED && accepting)
    return receive_accepted(round, sender, message);
  if (message->kind == DSM_PAXOS_REFUSE && (preparing || accepting))
    return receive_refuse(round, sender);
  return false;
}
