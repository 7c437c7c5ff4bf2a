/* Anti-entropy (Demers et al. 1987; Merkle trees as in Dynamo section 4.7): one replica finds out
 * in which buckets another differs, without either of them listing what agrees.
 *
 * The initiator asks about tree nodes by digest; the other side, which keeps no state, answers with
 * the children of those that differ. Depth first, a fixed number of nodes per message, so both the
 * memory and the messages are bounded however different the replicas are. Equal replicas cost one
 * small query and its answer.
 *
 * A query stays the same until its answer arrives: send it again whenever one may be lost. Answers
 * that are late or repeated change nothing. Trees may change during an exchange; what it then
 * misses the next one finds. Messages are input and are checked.
 */
#ifndef DSM_PROTO_ANTI_ENTROPY_H
#define DSM_PROTO_ANTI_ENTROPY_H

#include "digest_tree.h"

enum {
  DSM_ANTI_ENTROPY_NODES_MAX = 16,
  DSM_ANTI_ENTROPY_CHILDREN_MAX = DSM_ANTI_ENTROPY_NODES_MAX * DSM_DIGEST_CHILDREN,
  DSM_ANTI_ENTROPY_PENDING_MAX = DSM_ANTI_ENTROPY_CHILDREN_MAX * DSM_DIGEST_DEPTH_MAX,
};

typedef struct dsm_anti_entropy_query {
  uint64_t round;
  uint32_t depth, count;
  uint32_t nodes[DSM_ANTI_ENTROPY_NODES_MAX];
  uint64_t digests[DSM_ANTI_ENTROPY_NODES_MAX];
} dsm_anti_entropy_query;

typedef struct dsm_anti_entropy_answer {
  uint64_t round;
  uint32_t depth, count;
  uint32_t differs; /* a bit per node of the query, in its order */
  uint64_t children[DSM_ANTI_ENTROPY_NODES_MAX][DSM_DIGEST_CHILDREN];
} dsm_anti_entropy_answer;

typedef struct dsm_anti_entropy {
  const dsm_digest_tree *tree;
  dsm_anti_entropy_query query;
  uint32_t pending_count;
  uint32_t pending[DSM_ANTI_ENTROPY_PENDING_MAX]; /* deeper nodes nearer to the end */
} dsm_anti_entropy;

/* Begins an exchange. Rounds count up from first_round, so that a new exchange with the same peer
 * does not take answers to an old one for its own. */
void dsm_anti_entropy_start(dsm_anti_entropy *exchange, const dsm_digest_tree *tree,
                            uint64_t first_round);

/* The query to send now, or again; NULL when the exchange is complete. */
const dsm_anti_entropy_query *dsm_anti_entropy_next(const dsm_anti_entropy *exchange);

/* The other side. DSM_USAGE for a query that no tree of this depth can have sent. */
dsm_status dsm_anti_entropy_respond(const dsm_digest_tree *tree,
                                    const dsm_anti_entropy_query *query,
                                    dsm_anti_entropy_answer *answer);

/* Takes an answer; buckets that differ go to buckets (room for DSM_ANTI_ENTROPY_CHILDREN_MAX) and
 * their number to bucket_count. DSM_USAGE for an answer of the wrong shape to the current query. */
dsm_status dsm_anti_entropy_receive(dsm_anti_entropy *exchange,
                                    const dsm_anti_entropy_answer *answer, uint32_t *buckets,
                                    uint32_t *bucket_count);

#endif
