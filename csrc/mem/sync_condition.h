/* Who waits for a condition, in which order, and who has been notified.
 *
 *   I  each waiting thread has an entry: state (2), ticket (20), participant + 1 (9), incarnation
 *      (13). Enlisting, notifying and leaving store one entry once.
 *   I  a notification goes to the one who has waited longest; that of a process that dies before it
 *      has left goes to the next.
 *
 * The lock that goes with the condition is another record, and the callers': they hold it when they
 * enlist or notify.
 */
#ifndef DSM_MEM_SYNC_CONDITION_H
#define DSM_MEM_SYNC_CONDITION_H

#include "sync.h"

#define DSM_SYNC_CONDITION_LOCK 0u /* setting: number of the lock's record */
#define DSM_SYNC_WAITERS_MAX 1024u
#define DSM_SYNC_CONDITION_HEAP_BYTES (DSM_SYNC_WAITERS_MAX * 8u)

/* DSM_TOO_MANY beyond DSM_SYNC_WAITERS_MAX. */
dsm_status dsm_sync_condition_enlist(dsm_call *call, const dsm_sync *sync, uint32_t *entry);
/* DSM_RETRY while the entry waits, DSM_OK once it is notified. No lock. */
dsm_status dsm_sync_condition_poll(dsm_call *call, const dsm_sync *sync, uint32_t entry);
/* Ends the wait: DSM_OK if it was notified, DSM_RETRY if not. To be called once, whatever happens.
 */
dsm_status dsm_sync_condition_leave(dsm_call *call, const dsm_sync *sync, uint32_t entry);
/* Notifies up to so many. */
dsm_status dsm_sync_condition_notify(dsm_call *call, const dsm_sync *sync, uint32_t waiters);

#endif
