/* Changing objects: put, delete, add. Each is one intent over all replicas, backups first (I-3).
 *
 *   1 take the stripe        2 find the key at every replica      3 check the condition
 *   4 reserve slot and extent at every replica (can fail, changes nothing that is seen)
 *   5 fill the extents       6 list, arm, store, clear            7 settle, drop
 *
 * A kill before the arming of step 6 leaves the old value, after it the new one; a change that
 * fails leaves everything as it was. Step 5 copies the value under the stripe's lock and without
 * the GIL.
 */
#ifndef DSM_STORE_WRITE_H
#define DSM_STORE_WRITE_H

#include "table.h"

#define DSM_ANY_VERSION UINT64_MAX

/* Replicas wanted (at most those of the route) and the condition: DSM_ANY_VERSION, 0 for "only if
 * absent", or the version that the object must have. */
typedef struct dsm_condition {
  uint32_t replicas;
  uint64_t if_version;
} dsm_condition;

/* DSM_VERSION_CONFLICT: *version is what the key has now (0: absent). Blocks for the stripe's lock
 * at most call->wait_ms, then DSM_LOCK_TIMEOUT with nothing changed. */
dsm_status dsm_put(dsm_call *call, const dsm_key *key, const dsm_value *value,
                   dsm_condition condition, uint64_t *version);
/* DSM_NOT_FOUND if absent. *version: the version at which the key ceased to be. */
dsm_status dsm_delete(dsm_call *call, const dsm_key *key, dsm_condition condition,
                      uint64_t *version);
/* Adds to a signed 64-bit counter; an absent key counts as 0. DSM_OVERFLOW, DSM_WRONG_TYPE. */
dsm_status dsm_add(dsm_call *call, const dsm_key *key, int64_t difference, uint32_t replicas,
                   int64_t *result, uint64_t *version);

/* For repairs, with the stripe's lock held: puts a value under a key that the region counts
 * already.
 */
dsm_status dsm_put_counted(dsm_call *call, const dsm_key *key, const dsm_value *value,
                           const dsm_route *route, uint32_t copies);
/* For a cluster that is being filled from a checkpoint: puts the object with the version that it
 * had, if the key is absent; *stored tells. The stripe's generation grows beyond it. */
dsm_status dsm_put_back(dsm_call *call, const dsm_key *key, const dsm_value *value,
                        uint64_t version, uint32_t replicas, bool *stored);

/* Puts an older copy in the place of an object that was lost: with a new version, and only if the
 * key is marked as lost, or is absent while the stripe has lost keys that nobody knows; those are
 * then one fewer, by the same store. *stored tells. What was put meanwhile is never replaced. */
dsm_status dsm_put_lost(dsm_call *call, const dsm_key *key, const dsm_value *value,
                        uint32_t replicas, bool *stored);

/* For repairs and moves, with the stripe's lock held: copies the object in `slot` of the source
 * node as it is, version and checksum included, to the target node. A kill leaves the target as
 * before or with the whole object. The counters of the regions stay. */
dsm_status dsm_transfer(dsm_call *call, uint32_t stripe, unsigned source, unsigned target,
                        const dsm_key *key, uint64_t slot, const dsm_header *header);
/* For moves, with the stripe's lock held: the key at one node ends, the counters stay. */
dsm_status dsm_erase(dsm_call *call, uint32_t stripe, unsigned node, const dsm_key *key);

#endif
