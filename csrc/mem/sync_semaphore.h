/* Permits that return when the process that holds them dies.
 *
 *   I  available = total - the sum of what participants hold; `available` is derived, the two
 *      others are what counts. Taking and returning change one holding, adding changes the total.
 *   I  a release returns the process's own permits first; what it releases beyond these is added.
 */
#ifndef DSM_MEM_SYNC_SEMAPHORE_H
#define DSM_MEM_SYNC_SEMAPHORE_H

#include "sync.h"

#define DSM_SYNC_SEMAPHORE_VALUE 0u   /* settings */
#define DSM_SYNC_SEMAPHORE_BOUNDED 1u /* 1: a release beyond the own permits is refused */
#define DSM_SYNC_SEMAPHORE_HEAP_BYTES (DSM_PARTICIPANTS_MAX * 8u)
#define DSM_SYNC_PERMITS_MAX ((1u << 24) - 1)

/* DSM_RETRY if there is none. *left: how many were available afterwards. */
dsm_status dsm_sync_semaphore_try(dsm_call *call, const dsm_sync *sync, uint32_t *left);
/* DSM_USAGE if bounded and more than the process holds, DSM_OVERFLOW. Wakes who waits. */
dsm_status dsm_sync_semaphore_release(dsm_call *call, const dsm_sync *sync, uint32_t permits);
/* Available permits, as of about now. */
dsm_status dsm_sync_semaphore_value(dsm_call *call, const dsm_sync *sync, uint32_t *value);

#endif
