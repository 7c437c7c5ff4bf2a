/* Snapshots: what a transaction has read so far was there at one instant.
 *
 * Each read remembers the generation of its stripe. When another one is added, the earlier ones are
 * looked at again: a stripe whose generation is the same has not changed, for the others the key's
 * version is compared. So code between two reads never computes on values that were not there
 * together, even if its transaction will fail.
 *
 * A commit changes its stripes one after another, each armed from before the first change until its
 * own is done. Who saw one new value and looks at another stripe afterwards finds it armed, or
 * changed; so a stripe that is armed is waited for, and looked at armed first, then generation.
 *
 * No function takes a lock but dsm_snapshot_wait. All leave nothing when killed.
 */
#ifndef DSM_STORE_SNAPSHOT_H
#define DSM_STORE_SNAPSHOT_H

#include "read.h"

typedef struct dsm_sight {
  dsm_read read;
  uint64_t version; /* 0: absent */
} dsm_sight;

/* Looks at the key: DSM_OK, DSM_NOT_FOUND, DSM_CORRUPT; DSM_LOCK_TIMEOUT: a commit is passing. */
dsm_status dsm_snapshot_look(dsm_call *call, const dsm_key *key, dsm_sight *out);
/* Looks at one earlier read again. DSM_OK, DSM_ABORTED (*present: the version now),
 * DSM_LOCK_TIMEOUT: a commit is passing. */
dsm_status dsm_snapshot_again(dsm_call *call, const dsm_key *key, dsm_sight *sight,
                              uint64_t *present);
/* Waits until no commit is passing the stripe, at most call->wait_ms; repairs a dead one's. */
dsm_status dsm_snapshot_wait(dsm_call *call, uint32_t stripe);

#endif
