/* The table of kinds. A kind without a row of its own keeps nothing that could be half done or held
 * by the dead. */
#include "sync_kind.h"

static const struct {
  dsm_sync_init_of *init;
  dsm_sync_repair_of *repair;
  dsm_sync_bury_of *bury;
} rows[DSM_SYNC_ATOMIC + 1] = {
    [DSM_SYNC_LOCK] = {NULL, NULL, dsm__sync_lock_bury},
    [DSM_SYNC_SEMAPHORE] = {dsm__sync_semaphore_init, dsm__sync_semaphore_repair,
                            dsm__sync_semaphore_bury},
    [DSM_SYNC_BARRIER] = {dsm__sync_barrier_init, dsm__sync_barrier_repair, dsm__sync_barrier_bury},
    [DSM_SYNC_EVENT] = {dsm__sync_event_init, NULL, NULL},
    [DSM_SYNC_CONDITION] = {dsm__sync_condition_init, NULL, dsm__sync_condition_bury},
    [DSM_SYNC_QUEUE] = {dsm__sync_queue_init, dsm__sync_queue_repair, dsm__sync_queue_bury},
};

void dsm_sync_kind_init(const dsm_space *space, const dsm_sync *sync) {
  if (rows[sync->kind].init) rows[sync->kind].init(space, sync);
}

dsm_status dsm_sync_kind_repair(dsm_call *call, const dsm_sync *sync) {
  dsm_sync_repair_of *repair = rows[sync->kind].repair;
  return repair ? repair(call, sync) : DSM_OK;
}

dsm_status dsm_sync_kind_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                              uint32_t incarnation, bool killed, bool *changed) {
  dsm_sync_bury_of *bury = rows[sync->kind].bury;
  return bury ? bury(call, sync, participant, incarnation, killed, changed) : DSM_OK;
}
