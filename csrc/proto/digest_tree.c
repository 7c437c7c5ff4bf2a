/* One addition per level, from the leaf to the root. */
#include "digest_tree.h"

size_t dsm_digest_tree_words(uint32_t depth) {
  size_t words = 0;
  for (uint32_t level = 0; level <= depth; level++) words = words * DSM_DIGEST_CHILDREN + 1;
  return words;
}

dsm_status dsm_digest_tree_init(dsm_digest_tree *tree, uint64_t *words, uint32_t depth) {
  if (depth == 0 || depth > DSM_DIGEST_DEPTH_MAX) return DSM_USAGE;
  uint32_t leaf_base = (uint32_t)dsm_digest_tree_words(depth - 1);
  *tree = (dsm_digest_tree){.digests = words, .depth = depth, .leaf_base = leaf_base};
  memset(words, 0, dsm_digest_tree_words(depth) * sizeof *words);
  return DSM_OK;
}

bool dsm_digest_tree_valid(const dsm_digest_tree *tree) {
  for (uint32_t node = 0; node < tree->leaf_base; node++) {
    uint64_t sum = 0;
    for (uint32_t child = 0; child < DSM_DIGEST_CHILDREN; child++)
      sum += tree->digests[dsm_digest_child(node, child)];
    if (sum != tree->digests[node]) return false;
  }
  return true;
}

void dsm_digest_tree_add(dsm_digest_tree *tree, uint64_t key_hash, uint64_t item) {
  uint32_t node = tree->leaf_base + dsm_digest_bucket(tree, key_hash);
  for (; node > 0; node = (node - 1) / DSM_DIGEST_CHILDREN) tree->digests[node] += item;
  tree->digests[0] += item;
}

void dsm_digest_tree_remove(dsm_digest_tree *tree, uint64_t key_hash, uint64_t item) {
  dsm_digest_tree_add(tree, key_hash, UINT64_C(0) - item);
}
