/* Locks of the control segment: robust, owned, repaired before use (I-4).
 *
 * operation        blocks                 may be killed
 * dsm_lock_take    spin, then ≤ wait_ms   anywhere; the next taker is told with *owner_died
 * dsm_lock_drop    no                     anywhere; as above
 *
 * Who takes a lock whose owner died must repair what it protects and then call dsm_lock_repaired:
 * with the outcome DSM_OK the lock is an ordinary one again, with any other what it protects is
 * quarantined and refused from then on. A lock is dropped by the thread that took it.
 */
#ifndef DSM_MEM_LOCK_H
#define DSM_MEM_LOCK_H

#include "space.h"

/* DSM_LOCK_TIMEOUT with the owner in call->fault; DSM_CORRUPT if quarantined (then not held). */
dsm_status dsm_lock_take(dsm_call *call, dsm_lock_shm *lock, bool *owner_died);
void dsm_lock_repaired(dsm_lock_shm *lock, dsm_status outcome);
void dsm_lock_drop(dsm_lock_shm *lock);

#endif
