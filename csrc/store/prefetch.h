/* Asking for cache lines before they are needed. Hints only: nothing read here is trusted, and
 * nothing is decided by it.
 *
 * With some ten thousand keys the time of a call is mostly that of its misses, each of them also in
 * the TLB. What a call will touch follows from the key's hash in two steps: the heads (route, lock,
 * intent, subs) at once, the object after the sub has come. Between the steps the caller does other
 * work: hashes the value, takes the lock, or looks at the next key of a batch.
 */
#ifndef DSM_STORE_PREFETCH_H
#define DSM_STORE_PREFETCH_H

#include "table.h"

/* For a read: the primary's sub, then the object that the key's home slot names. */
void dsm_prefetch_read_head(const dsm_space *space, uint64_t hash);
void dsm_prefetch_read_object(const dsm_space *space, uint64_t hash);

/* For a change: lock, intent and all replicas' subs, then their objects and slabs. */
void dsm_prefetch_change_head(const dsm_space *space, uint64_t hash);
void dsm_prefetch_change_object(const dsm_space *space, uint64_t hash);

#endif
