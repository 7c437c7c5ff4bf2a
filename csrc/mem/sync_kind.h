/* What differs from kind to kind: first contents, repair, burial. One row per kind in sync_kind.c.
 *
 *   init     words and heap of a new record, before anybody can see it
 *   repair   under the record's lock, inherited from a dead owner: derived words are computed anew
 *   bury     takes from a participant what it holds; *changed if anything was. Locks by itself
 */
#ifndef DSM_MEM_SYNC_KIND_H
#define DSM_MEM_SYNC_KIND_H

#include "sync.h"

void dsm_sync_kind_init(const dsm_space *space, const dsm_sync *sync);
dsm_status dsm_sync_kind_repair(dsm_call *call, const dsm_sync *sync);
dsm_status dsm_sync_kind_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                              uint32_t incarnation, bool killed, bool *changed);

typedef void dsm_sync_init_of(const dsm_space *space, const dsm_sync *sync);
typedef dsm_status dsm_sync_repair_of(dsm_call *call, const dsm_sync *sync);
typedef dsm_status dsm_sync_bury_of(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                                    uint32_t incarnation, bool killed, bool *changed);

dsm_sync_bury_of dsm__sync_lock_bury;
dsm_sync_init_of dsm__sync_semaphore_init, dsm__sync_barrier_init, dsm__sync_event_init,
    dsm__sync_condition_init, dsm__sync_queue_init;
dsm_sync_repair_of dsm__sync_semaphore_repair, dsm__sync_barrier_repair, dsm__sync_queue_repair;
dsm_sync_bury_of dsm__sync_semaphore_bury, dsm__sync_barrier_bury, dsm__sync_condition_bury,
    dsm__sync_queue_bury;

#endif
