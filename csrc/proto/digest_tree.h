/* Digests of what a replica holds, by key range and kept up to date with every change: the leaves
 * are buckets over the top bits of the key's hash, every node above is the sum of its 16 children.
 *
 * A bucket's digest is the sum of its items' hashes, so adding and removing commute, need nothing
 * but the item itself, and cost one addition per level. Sums, not exclusive ors: an item counted
 * twice must show. Two replicas whose roots agree hold the same items but for one chance in 2^64.
 *
 * Nodes are numbered as in a heap: the root is 0, the children of n are 16 n + 1 to 16 n + 16.
 * Pure, no allocation: the caller brings dsm_digest_tree_words() words. One writer at a time.
 */
#ifndef DSM_PROTO_DIGEST_TREE_H
#define DSM_PROTO_DIGEST_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/hash.h"
#include "../base/status.h"
#include "conflict.h"

enum { DSM_DIGEST_CHILDREN = 16, DSM_DIGEST_CHILD_BITS = 4, DSM_DIGEST_DEPTH_MAX = 6 };

typedef struct dsm_digest_tree {
  uint64_t *digests;
  uint32_t depth; /* levels below the root: 16 to the power of depth buckets */
  uint32_t leaf_base;
} dsm_digest_tree;

/* Words that a tree of this depth needs. */
size_t dsm_digest_tree_words(uint32_t depth);

/* A tree of nothing. DSM_USAGE unless depth is 1 to DSM_DIGEST_DEPTH_MAX. */
dsm_status dsm_digest_tree_init(dsm_digest_tree *tree, uint64_t *words, uint32_t depth);

/* Whether every node is the sum of its children. */
bool dsm_digest_tree_valid(const dsm_digest_tree *tree);

void dsm_digest_tree_add(dsm_digest_tree *tree, uint64_t key_hash, uint64_t item);
void dsm_digest_tree_remove(dsm_digest_tree *tree, uint64_t key_hash, uint64_t item);

/* The digest of one version of one key; all that sets versions and keys apart enters it. */
static inline uint64_t dsm_digest_item(uint64_t key_hash, uint64_t key_check,
                                       const dsm_conflict_version *version) {
  uint64_t words[5] = {key_hash, key_check, version->stamp, version->checksum, version->node};
  return dsm_hash64(words, sizeof words, 0);
}

static inline uint32_t dsm_digest_bucket(const dsm_digest_tree *tree, uint64_t key_hash) {
  return (uint32_t)(key_hash >> (64 - DSM_DIGEST_CHILD_BITS * tree->depth));
}

static inline uint32_t dsm_digest_child(uint32_t node, uint32_t child) {
  return node * DSM_DIGEST_CHILDREN + 1 + child;
}

#endif
