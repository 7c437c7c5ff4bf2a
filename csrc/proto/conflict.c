/* Siblings are few, so insertion sorts them: stable, in place and without recursion. */
#include "conflict.h"

static int compare_words(uint64_t left, uint64_t right) {
  return (left > right) - (left < right);
}

int dsm_conflict_compare(const dsm_conflict_version *left, const dsm_conflict_version *right) {
  int order = compare_words(left->stamp, right->stamp);
  if (order == 0) order = compare_words(left->node, right->node);
  return order != 0 ? order : compare_words(left->checksum, right->checksum);
}

size_t dsm_conflict_order(dsm_conflict_version *versions, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    dsm_conflict_version version = versions[i];
    size_t place = kept;
    while (place > 0 && dsm_conflict_compare(&versions[place - 1], &version) > 0) place--;
    if (place > 0 && dsm_conflict_compare(&versions[place - 1], &version) == 0) continue;
    for (size_t hole = kept++; hole > place; hole--) versions[hole] = versions[hole - 1];
    versions[place] = version;
  }
  return kept;
}

dsm_status dsm_conflict_resolve(dsm_conflict_policy policy, dsm_conflict_version *versions,
                                size_t count, dsm_conflict_resolver *resolver, void *context,
                                dsm_conflict_version *winner) {
  size_t kept = dsm_conflict_order(versions, count);
  size_t chosen = kept;
  if (policy == DSM_CONFLICT_LAST_WRITE_WINS && kept > 0) chosen = kept - 1;
  if (policy == DSM_CONFLICT_FIRST_WRITE_WINS && kept > 0) chosen = 0;
  if (policy == DSM_CONFLICT_CUSTOM && kept > 0) chosen = resolver(versions, kept, context);
  if (chosen >= kept) return DSM_USAGE;
  *winner = versions[chosen];
  return DSM_OK;
}
