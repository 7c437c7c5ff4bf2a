/* A flag, a 64-bit counter: objects of one word, changed by one atomic operation each.
 *
 * An event's word holds how often it was set (43 bits) and the flag, so that who waits learns that
 * it was set even if it was cleared at once. A counter's word is the user's own 64 bits: it carries
 * no check, and damage to it is not noticed.
 */
#ifndef DSM_MEM_SYNC_EVENT_H
#define DSM_MEM_SYNC_EVENT_H

#include "sync.h"

/* The word as it is; bit 0 is the flag. */
dsm_status dsm_sync_event_read(dsm_call *call, const dsm_sync *sync, uint64_t *word);
/* Sets or clears; wakes all when it sets. */
dsm_status dsm_sync_event_change(dsm_call *call, const dsm_sync *sync, bool flag);

#define DSM_SYNC_ATOMIC_DTYPE 0u /* settings of an array of atomics: number of its type … */
#define DSM_SYNC_ATOMIC_NDIM 1u  /* … its dimensions, and the length of each of them */
#define DSM_SYNC_ATOMIC_NDIM_MAX 4u

/* *result: the new value. DSM_OVERFLOW leaves the counter as it is. */
dsm_status dsm_sync_counter_add(dsm_call *call, const dsm_sync *sync, int64_t difference,
                                int64_t *result);
int64_t dsm_sync_counter_exchange(const dsm_sync *sync, int64_t value);
int64_t dsm_sync_counter_read(const dsm_sync *sync);

#endif
