/* The initiator's stack of nodes still to ask about. A query takes from its end; children are
 * pushed shallow ones first, so before another node of a level is opened all below the last are
 * gone, and at most one query's children are pending per level.
 */
#include "anti_entropy.h"

#include "../base/check.h"

static void fill_query(dsm_anti_entropy *exchange) {
  dsm_anti_entropy_query *query = &exchange->query;
  query->count = 0;
  while (query->count < DSM_ANTI_ENTROPY_NODES_MAX && exchange->pending_count > 0) {
    uint32_t node = exchange->pending[--exchange->pending_count];
    query->nodes[query->count] = node;
    query->digests[query->count++] = exchange->tree->digests[node];
  }
}

void dsm_anti_entropy_start(dsm_anti_entropy *exchange, const dsm_digest_tree *tree,
                            uint64_t first_round) {
  memset(exchange, 0, sizeof *exchange);
  exchange->tree = tree;
  exchange->query.round = first_round;
  exchange->query.depth = tree->depth;
  exchange->pending_count = 1; /* the root */
  fill_query(exchange);
}

const dsm_anti_entropy_query *dsm_anti_entropy_next(const dsm_anti_entropy *exchange) {
  return exchange->query.count > 0 ? &exchange->query : NULL;
}

dsm_status dsm_anti_entropy_respond(const dsm_digest_tree *tree,
                                    const dsm_anti_entropy_query *query,
                                    dsm_anti_entropy_answer *answer) {
  if (query->depth != tree->depth || query->count > DSM_ANTI_ENTROPY_NODES_MAX) return DSM_USAGE;
  memset(answer, 0, sizeof *answer);
  answer->round = query->round;
  answer->depth = query->depth;
  answer->count = query->count;
  for (uint32_t i = 0; i < query->count; i++) {
    uint32_t node = query->nodes[i];
    if (node >= tree->leaf_base) return DSM_USAGE;
    if (tree->digests[node] == query->digests[i]) continue;
    answer->differs |= UINT32_C(1) << i;
    memcpy(answer->children[i], &tree->digests[dsm_digest_child(node, 0)],
           sizeof answer->children[i]);
  }
  return DSM_OK;
}

/* Opens one node that differs: its differing children are buckets, or nodes to ask about next. */
static void open_node(dsm_anti_entropy *exchange, uint32_t node, const uint64_t *theirs,
                      uint32_t *buckets, uint32_t *bucket_count) {
  const dsm_digest_tree *tree = exchange->tree;
  for (uint32_t k = 0; k < DSM_DIGEST_CHILDREN; k++) {
    uint32_t child = dsm_digest_child(node, k);
    if (tree->digests[child] == theirs[k]) continue;
    if (child >= tree->leaf_base) {
      buckets[(*bucket_count)++] = child - tree->leaf_base;
      continue;
    }
    DSM_ASSERT(exchange->pending_count < DSM_ANTI_ENTROPY_PENDING_MAX);
    exchange->pending[exchange->pending_count++] = child;
  }
}

dsm_status dsm_anti_entropy_receive(dsm_anti_entropy *exchange,
                                    const dsm_anti_entropy_answer *answer, uint32_t *buckets,
                                    uint32_t *bucket_count) {
  dsm_anti_entropy_query *query = &exchange->query;
  *bucket_count = 0;
  if (query->count == 0 || answer->round != query->round) return DSM_OK;
  if (answer->count != query->count || answer->depth != query->depth) return DSM_USAGE;
  /* The query took the deepest nodes first; opened in reverse, the deepest end up on top again. */
  for (uint32_t i = query->count; i-- > 0;)
    if (answer->differs >> i & 1)
      open_node(exchange, query->nodes[i], answer->children[i], buckets, bucket_count);
  query->round++;
  fill_query(exchange);
  return DSM_OK;
}
