/* Which of several versions of one object wins, the same on every replica.
 *
 * Versions have one total order: stamp, then node, then checksum of the value; nothing about a
 * version's way to a replica enters it. Last-write-wins takes the greatest, first-write-wins the
 * least. A custom resolver sees the distinct versions in ascending order, so that all replicas that
 * hold the same versions ask it the same question; it must answer from its arguments alone.
 *
 * Pure, apart from what the caller's resolver does.
 */
#ifndef DSM_PROTO_CONFLICT_H
#define DSM_PROTO_CONFLICT_H

#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

typedef struct dsm_conflict_version {
  uint64_t stamp; /* of a hybrid clock */
  uint64_t checksum;
  uint64_t handle; /* the caller's own; neither compared nor read */
  uint32_t node;
} dsm_conflict_version;

typedef enum dsm_conflict_policy {
  DSM_CONFLICT_LAST_WRITE_WINS,
  DSM_CONFLICT_FIRST_WRITE_WINS,
  DSM_CONFLICT_CUSTOM,
} dsm_conflict_policy;

/* Index of the winner among count ascending, distinct versions. */
typedef size_t dsm_conflict_resolver(const dsm_conflict_version *versions, size_t count,
                                     void *context);

/* Below, at or above 0 as left lies to right in the total order. */
int dsm_conflict_compare(const dsm_conflict_version *left, const dsm_conflict_version *right);

/* Sorts the versions, drops repeated ones and returns how many are left. */
size_t dsm_conflict_order(dsm_conflict_version *versions, size_t count);

/* Orders the versions as above and names the winner. resolver and context are read for
 * DSM_CONFLICT_CUSTOM alone. DSM_USAGE without versions, or when the resolver names none of them.
 */
dsm_status dsm_conflict_resolve(dsm_conflict_policy policy, dsm_conflict_version *versions,
                                size_t count, dsm_conflict_resolver *resolver, void *context,
                                dsm_conflict_version *winner);

#endif
