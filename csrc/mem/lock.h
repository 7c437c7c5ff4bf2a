/* Locks of the control segment: robust, owned, repaired before use (I-4).
 *
 * operation        blocks                 may be killed
 * dsm_lock_take    spin, then ≤ wait_ms   anywhere; the next taker is told by *must_repair
 * dsm_lock_drop    no                     anywhere; as above
 *
 * The death of an owner is written into `pending` before the mutex is made consistent, and only
 * dsm_lock_repaired clears it. So a repair that cannot be finished now (another lock that it needs
 * is held by a stopped process) is left to the next taker, and one that fails quarantines what the
 * lock protects. A lock is dropped by the thread that took it.
 */
#ifndef DSM_MEM_LOCK_H
#define DSM_MEM_LOCK_H

#include "space.h"

/* DSM_LOCK_TIMEOUT with the owner in call->fault; DSM_CORRUPT if quarantined (then not held). */
dsm_status dsm_lock_take(dsm_call *call, dsm_lock_shm *lock, bool *must_repair);
/* The same, quarantined or not: for who mends it. */
dsm_status dsm_lock_take_any(dsm_call *call, dsm_lock_shm *lock, bool *must_repair);
/* After a repair; the lock stays held. DSM_LOCK_TIMEOUT leaves it to the next taker. */
void dsm_lock_repaired(dsm_lock_shm *lock, dsm_status outcome);
void dsm_lock_drop(dsm_lock_shm *lock);

#endif
