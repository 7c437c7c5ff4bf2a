/* Counting bits for votes; selecting an order statistic for the committed index. */
#include "quorum.h"

static uint32_t count_of(uint64_t nodes) {
  return (uint32_t)__builtin_popcountll(nodes);
}

uint32_t dsm_quorum_majority(uint64_t voters) {
  return count_of(voters) / 2 + 1;
}

static bool majority_reached(uint64_t voters, uint64_t nodes) {
  return voters == 0 || count_of(voters & nodes) >= dsm_quorum_majority(voters);
}

static dsm_vote_result majority_vote(uint64_t voters, uint64_t yes, uint64_t no) {
  if (majority_reached(voters, yes)) return DSM_VOTE_WON;
  return majority_reached(voters, ~no) ? DSM_VOTE_PENDING : DSM_VOTE_LOST;
}

static uint64_t majority_committed(uint64_t voters, const uint64_t *acknowledged) {
  if (voters == 0) return UINT64_MAX;
  /* The greatest indexes in descending order, as many as a majority has voters. */
  uint64_t greatest[DSM_QUORUM_NODES_MAX];
  uint32_t wanted = dsm_quorum_majority(voters), held = 0;
  for (uint64_t left = voters; left != 0; left &= left - 1) {
    uint64_t index = acknowledged[__builtin_ctzll(left)];
    uint32_t hole = held;
    if (held < wanted)
      held++;
    else if (greatest[--hole] >= index)
      continue;
    for (; hole > 0 && greatest[hole - 1] < index; hole--) greatest[hole] = greatest[hole - 1];
    greatest[hole] = index;
  }
  return greatest[wanted - 1];
}

bool dsm_quorum_reached(const dsm_quorum *quorum, uint64_t nodes) {
  return majority_reached(quorum->incoming, nodes) && majority_reached(quorum->outgoing, nodes);
}

dsm_vote_result dsm_quorum_vote(const dsm_quorum *quorum, uint64_t yes, uint64_t no) {
  dsm_vote_result incoming = majority_vote(quorum->incoming, yes, no);
  dsm_vote_result outgoing = majority_vote(quorum->outgoing, yes, no);
  if (incoming == outgoing) return incoming;
  return incoming == DSM_VOTE_LOST || outgoing == DSM_VOTE_LOST ? DSM_VOTE_LOST : DSM_VOTE_PENDING;
}

uint64_t dsm_quorum_committed(const dsm_quorum *quorum, const uint64_t *acknowledged) {
  uint64_t incoming = majority_committed(quorum->incoming, acknowledged);
  uint64_t outgoing = majority_committed(quorum->outgoing, acknowledged);
  return incoming < outgoing ? incoming : outgoing;
}
