/* Who must agree: majorities of a set of voters, and of two sets at once while the membership
 * changes (Raft, Ongaro's dissertation section 4.3; the incoming and the outgoing configuration).
 *
 * Voters are the bits of a word: node ids 0 to 63. A configuration without outgoing voters is a
 * plain majority. An empty set agrees with everything, so that it is neutral in a joint one;
 * whoever wants a cluster without voters to be an error checks that itself.
 *
 * Pure functions of their arguments.
 */
#ifndef DSM_PROTO_QUORUM_H
#define DSM_PROTO_QUORUM_H

#include <stdbool.h>
#include <stdint.h>

enum { DSM_QUORUM_NODES_MAX = 64 };

typedef struct dsm_quorum {
  uint64_t incoming, outgoing;
} dsm_quorum;

typedef enum dsm_vote_result {
  DSM_VOTE_PENDING,
  DSM_VOTE_LOST,
  DSM_VOTE_WON,
} dsm_vote_result;

/* The smallest number of voters of a set that is more than half. */
uint32_t dsm_quorum_majority(uint64_t voters);

/* Whether the nodes hold a majority of every set of the quorum. */
bool dsm_quorum_reached(const dsm_quorum *quorum, uint64_t nodes);

/* Result of a vote in which yes and no have answered, disjoint sets of nodes. */
dsm_vote_result dsm_quorum_vote(const dsm_quorum *quorum, uint64_t yes, uint64_t no);

/* The highest index that a majority of every set has acknowledged. acknowledged has an entry per
 * node id that is a voter; 0 where nothing is known. UINT64_MAX for a quorum without voters. */
uint64_t dsm_quorum_committed(const dsm_quorum *quorum, const uint64_t *acknowledged);

#endif
