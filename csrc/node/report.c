/* From a participant's slot to the event that tells of it. */
#include "report.h"

#include "../mem/nodes.h"

static dsm_event made(const dsm_space *space, dsm_event_kind kind, dsm_fact fact,
                      uint32_t participant, uint32_t incarnation) {
  const dsm_participant_shm *slot = dsm_space_participant(space, participant);
  bool node = participant >= 1 && participant <= DSM_NODES_MAX;
  return (dsm_event){.kind = kind,
                     .fact = fact,
                     .subject = participant,
                     .value = incarnation,
                     .node = node ? (int32_t)participant - 1 : -1,
                     .incarnation = incarnation,
                     .pid = dsm_load_relaxed_u32(&slot->pid),
                     .status = DSM_STATUS_UNKNOWN};
}

static uint64_t since(uint64_t then_ns) {
  uint64_t now_ns = dsm_os_monotonic_ns();
  return then_ns && now_ns > then_ns ? now_ns - then_ns : 0;
}

static void find(const dsm_participant_shm *slot, uint64_t noticed_ns, dsm_event *event) {
  uint32_t why = dsm_load_acquire_u32(&slot->struck_why);
  event->found = why ? why : DSM_FINDING_KERNEL;
  uint64_t from_ns = noticed_ns;
  if (why == DSM_FINDING_HEARTBEAT)
    from_ns = dsm_load_relaxed_u64(&slot->beat_ns);
  else if (why)
    from_ns = dsm_load_relaxed_u64(&slot->struck_ns);
  event->detection_ns = since(from_ns);
}

/* A node that was removed ends without having failed. */
static bool has_left(dsm_call *call, uint32_t participant) {
  dsm_node_entry entry;
  return participant >= 1 && participant <= DSM_NODES_MAX &&
         dsm_nodes_read(call, participant - 1, &entry) == DSM_OK &&
         (entry.state == DSM_NODE_LEAVING || entry.state == DSM_NODE_FREE);
}

dsm_status dsm_report_death(dsm_call *call, uint32_t participant, uint32_t incarnation,
                            uint64_t noticed_ns) {
  dsm_space *space = call->space;
  dsm_participant_shm *slot = dsm_space_participant(space, participant);
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  if (dsm_report_dead(space, participant, incarnation) || kind == DSM_PARTICIPANT_FREE ||
      kind == DSM_PARTICIPANT_FORKING)
    return DSM_OK;
  dsm_event_kind told = participant == 0              ? DSM_EVENT_OWNER_DEAD
                        : participant > DSM_NODES_MAX ? DSM_EVENT_CLIENT_DEAD
                        : has_left(call, participant) ? DSM_EVENT_LEFT
                                                      : DSM_EVENT_DEAD;
  dsm_event event = made(space, told, DSM_FACT_DEATH, participant, incarnation);
  find(slot, noticed_ns, &event);
  /* From here on nobody is served; one that never served leaves the time of the one before it. */
  if (told != DSM_EVENT_LEFT && dsm_load_relaxed_u32(&slot->ready) == 1)
    dsm_store_relaxed_u64(&slot->died_ns, dsm_os_monotonic_ns());
  return dsm_event_post(call, &event);
}

/* Whether the latest of what is told of the node's draining and going is that it has gone. */
static bool told_left(const dsm_space *space, uint32_t node) {
  for (uint64_t at = dsm_event_latest(space); at >= dsm_event_oldest(space) && at > 0; at--) {
    dsm_event event;
    if (dsm_event_read(space, at, &event) != DSM_EVENT_READ || event.node != (int32_t)node)
      continue;
    if (event.kind == DSM_EVENT_LEFT) return true;
    if (event.kind == DSM_EVENT_DRAINING) return false;
  }
  return false;
}

dsm_status dsm_report_left(dsm_call *call, uint32_t node, uint32_t build) {
  const dsm_space *space = call->space;
  const dsm_participant_shm *slot = dsm_space_participant(space, 1 + node);
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  if (incarnation) dsm_report_death(call, 1 + node, incarnation, 0);
  if (told_left(space, node)) return DSM_OK;
  dsm_event event = made(space, DSM_EVENT_LEFT, DSM_FACT_LEFT, node, incarnation);
  event.value = build;
  event.node = (int32_t)node;
  event.pid = 0;
  return dsm_event_post(call, &event);
}

dsm_status dsm_report_repair(dsm_call *call, uint32_t participant, uint32_t incarnation) {
  const dsm_participant_shm *slot = dsm_space_participant(call->space, participant);
  dsm_event event =
      made(call->space, DSM_EVENT_REPAIRED, DSM_FACT_REPAIR, participant, incarnation);
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  if (kind == DSM_PARTICIPANT_FORKING || kind == DSM_PARTICIPANT_FREE ||
      has_left(call, participant))
    return DSM_OK;
  event.amount = dsm_load_relaxed_u32(&slot->repaired);
  event.recovery_ns = since(dsm_load_relaxed_u64(&slot->died_ns));
  return dsm_event_post(call, &event);
}

dsm_status dsm_report_exit(dsm_call *call, uint32_t node, uint32_t pid, int32_t status) {
  uint32_t participant = 1 + node;
  const dsm_participant_shm *slot = dsm_space_participant(call->space, participant);
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  dsm_event event = made(call->space, DSM_EVENT_EXITED, DSM_FACT_EXIT, participant, incarnation);
  if (event.pid != pid) { /* it ended before it had joined */
    event.fact = DSM_FACT_NONE;
    event.incarnation = 0;
    event.pid = pid;
  }
  event.status = status;
  return dsm_event_post(call, &event);
}

dsm_status dsm_report_serving(dsm_call *call, uint32_t mended) {
  uint32_t self = call->space->participant;
  const dsm_participant_shm *slot = dsm_space_participant(call->space, self);
  uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
  /* An id that is used again has had processes of another node. */
  bool first = incarnation == 1 || dsm_load_relaxed_u64(&slot->died_ns) == 0;
  dsm_event_kind kind = first ? DSM_EVENT_JOINED : DSM_EVENT_REPLACED;
  dsm_event event = made(call->space, kind, DSM_FACT_SERVING, self, incarnation);
  event.recovery_ns = since(dsm_load_relaxed_u64(&slot->died_ns));
  event.amount = mended;
  return dsm_event_post(call, &event);
}

bool dsm_report_suspected(const dsm_space *space, uint32_t participant, uint32_t incarnation) {
  uint64_t known = dsm_event_known(space, DSM_FACT_SUSPICION, participant);
  return known >= dsm_suspicion(incarnation, 0) && (known & 1);
}

dsm_status dsm_report_suspicion(dsm_call *call, uint32_t participant, uint32_t incarnation,
                                bool suspected) {
  if (dsm_report_suspected(call->space, participant, incarnation) == suspected) return DSM_OK;
  uint64_t known = dsm_event_known(call->space, DSM_FACT_SUSPICION, participant);
  uint64_t fresh = dsm_suspicion(incarnation, 0);
  dsm_event event = made(call->space, suspected ? DSM_EVENT_SUSPECTED : DSM_EVENT_CLEARED,
                         DSM_FACT_SUSPICION, participant, incarnation);
  event.value = (known > fresh ? known : fresh) + 1;
  event.found = DSM_FINDING_HEARTBEAT;
  event.detection_ns =
      since(dsm_load_relaxed_u64(&dsm_space_participant(call->space, participant)->beat_ns));
  return dsm_event_post(call, &event);
}

dsm_status dsm_report_fence(dsm_call *call, uint32_t participant, uint32_t incarnation) {
  if (dsm_event_known(call->space, DSM_FACT_FENCED, participant) >= incarnation) return DSM_OK;
  dsm_event event = made(call->space, DSM_EVENT_FENCED, DSM_FACT_FENCED, participant, incarnation);
  event.found = DSM_FINDING_HEARTBEAT;
  event.detection_ns =
      since(dsm_load_relaxed_u64(&dsm_space_participant(call->space, participant)->beat_ns));
  return dsm_event_post(call, &event);
}

void dsm_report_strike(const dsm_space *space, uint32_t participant, dsm_finding why) {
  dsm_participant_shm *slot = dsm_space_participant(space, participant);
  dsm_store_relaxed_u64(&slot->struck_ns, dsm_os_monotonic_ns());
  dsm_store_release_u32(&slot->struck_why, why);
}

/* Takes what a counter has grown by since it was last told, whoever tells it. */
static uint64_t untold(dsm_atomic_u64 *counter, dsm_atomic_u64 *told) {
  uint64_t now = dsm_load_relaxed_u64(counter), before = dsm_load_relaxed_u64(told);
  if (now <= before || !dsm_cas_acq_rel_u64(told, &before, now)) return 0;
  return now - before;
}

static void tell(dsm_call *call, int node, dsm_event_kind kind, dsm_atomic_u64 *counter,
                 dsm_atomic_u64 *told) {
  dsm_event event = {.kind = kind,
                     .node = node,
                     .found = DSM_FINDING_CHECKSUM,
                     .status = DSM_STATUS_UNKNOWN,
                     .amount = untold(counter, told)};
  if (event.amount == 0 || dsm_event_post(call, &event) == DSM_OK) return;
  dsm_fetch_add_relaxed_u64(told, 0 - event.amount); /* for the next time */
}

void dsm_report_recovery(dsm_call *call, int node) {
  dsm_recovery_shm *recovery = dsm_space_recovery(call->space);
  tell(call, node, DSM_EVENT_DAMAGE_MENDED, &recovery->stripes_mended, &recovery->told_mended);
  tell(call, node, DSM_EVENT_DAMAGE_FOUND, &recovery->objects_lost, &recovery->told_lost);
  dsm_array_directory_shm *arrays = dsm_space_arrays(call->space);
  tell(call, node, DSM_EVENT_ARRAY_MENDED, &arrays->mended, &arrays->told_mended);
  tell(call, node, DSM_EVENT_ARRAY_LOST, &arrays->lost, &arrays->told_lost);
}

static dsm_event of_checkpoint(int node, dsm_event_kind kind, uint32_t stripes) {
  return (dsm_event){.kind = kind,
                     .node = node,
                     .found = DSM_FINDING_CHECKSUM,
                     .status = DSM_STATUS_UNKNOWN,
                     .stripes = stripes};
}

dsm_status dsm_report_filled(dsm_call *call, int node, uint32_t stripes, uint64_t bytes,
                             uint64_t checkpoint, uint64_t checkpoint_ns) {
  dsm_recovery_shm *recovery = dsm_space_recovery(call->space);
  dsm_event event = of_checkpoint(node, DSM_EVENT_FILLED, stripes);
  uint32_t before = dsm_load_relaxed_u32(&recovery->told_filled);
  uint32_t now = (uint32_t)dsm_load_relaxed_u64(&recovery->objects_filled);
  dsm_report_recovery(call, node); /* the loss comes before what followed it */
  event.amount = now - before;
  event.bytes = bytes;
  event.checkpoint = checkpoint;
  event.checkpoint_ns = checkpoint_ns;
  if (now == before || !dsm_cas_acq_rel_u32(&recovery->told_filled, &before, now)) return DSM_OK;
  dsm_status status = dsm_event_post(call, &event);
  if (status != DSM_OK)
    dsm_fetch_add_relaxed_u32(&recovery->told_filled, 0 - (uint32_t)event.amount);
  return status;
}

dsm_status dsm_report_unfilled(dsm_call *call, int node, uint32_t stripes) {
  dsm_event event = of_checkpoint(node, DSM_EVENT_UNFILLED, stripes);
  dsm_report_recovery(call, node);
  return dsm_event_post(call, &event);
}
