/* Whether what lies in a record of synchronisation, and in its share of the heap, holds.
 *
 * Under the record's lock: every sealed word verifies, the permits of a semaphore add up, the items
 * of a queue between its head and its tail are whole. A counter and an atomic array are bare
 * numbers, the owner of a lock a bare word: of these nothing can be told.
 *
 * operation        blocks           may be killed
 * dsm_sync_valid   record's lock    anywhere; it stores nothing
 * dsm_sync_mend    record's lock    anywhere; derived words are computed anew, as after a death
 */
#ifndef DSM_MEM_SYNC_VALID_H
#define DSM_MEM_SYNC_VALID_H

#include "sync.h"

/* DSM_CORRUPT, DSM_LOCK_TIMEOUT. */
dsm_status dsm_sync_valid(dsm_call *call, const dsm_sync *sync);
/* Computes anew what follows from the rest; DSM_CORRUPT if it still does not hold. */
dsm_status dsm_sync_mend(dsm_call *call, const dsm_sync *sync);

#endif
