/* Opening, polling and closing the descriptors. */
#include "watch.h"

#include "registry.h"

#define STOP_TAG DSM_PARTICIPANTS_MAX
#define DOOR_TAG (DSM_PARTICIPANTS_MAX + 1)
#define TAGS_MAX 64u

dsm_status dsm_watch_open(dsm_watch *watch, const dsm_space *space) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++)
    watch->participants[i] = (dsm_watched){.descriptor = -1};
  watch->stop = dsm_os_event_open();
  watch->poller = dsm_os_poller_open();
  /* Without a door, who joins is met at the next beat. */
  watch->door = dsm_os_door_open(dsm_registry_door(space, space->participant));
  if (watch->stop < 0 || watch->poller < 0) return DSM_OS;
  if (watch->door >= 0) dsm_os_poller_add(watch->poller, watch->door, DOOR_TAG);
  return dsm_os_poller_add(watch->poller, watch->stop, STOP_TAG) ? DSM_OK : DSM_OS;
}

static void let_go(dsm_watch *watch, uint32_t participant) {
  dsm_watched *entry = &watch->participants[participant];
  dsm_os_poller_remove(watch->poller, entry->descriptor);
  dsm_os_process_unwatch(entry->descriptor);
  entry->descriptor = -1;
}

void dsm_watch_close(dsm_watch *watch) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX && watch->poller >= 0; i++) let_go(watch, i);
  dsm_os_poller_close(watch->poller);
  dsm_os_door_close(watch->door);
  dsm_os_event_close(watch->stop);
}

static void begin(dsm_watch *watch, const dsm_participant_shm *slot, uint32_t participant) {
  dsm_watched *entry = &watch->participants[participant];
  dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                            .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
  entry->descriptor = dsm_os_process_watch(&process);
  entry->over = entry->descriptor < 0;
  if (entry->over || dsm_os_poller_add(watch->poller, entry->descriptor, participant)) return;
  /* No room in the kernel: we look for ourselves at each beat. */
  dsm_os_process_unwatch(entry->descriptor);
  entry->descriptor = -1;
  entry->over = !dsm_os_process_alive(&process);
}

void dsm_watch_refresh(dsm_watch *watch, const dsm_space *space, dsm_watch_death *tell,
                       void *context) {
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  for (uint32_t i = 0; i < high && i < DSM_PARTICIPANTS_MAX; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    dsm_watched *entry = &watch->participants[i];
    uint32_t kind = dsm_load_acquire_u32(&slot->kind);
    uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
    bool wanted =
        i != space->participant && kind != DSM_PARTICIPANT_FREE && kind != DSM_PARTICIPANT_DEAD;
    bool known = entry->descriptor >= 0 || entry->over;
    if (known && wanted && entry->incarnation == incarnation) continue;
    if (known) let_go(watch, i);
    *entry = (dsm_watched){.descriptor = -1, .incarnation = incarnation};
    if (wanted) begin(watch, slot, i);
    if (entry->over) tell(context, i, incarnation, dsm_os_monotonic_ns());
  }
}

bool dsm_watch_wait(dsm_watch *watch, uint32_t wait_ms, dsm_watch_death *tell, void *context) {
  uint32_t tags[TAGS_MAX];
  unsigned count = dsm_os_poller_wait(watch->poller, tags, TAGS_MAX, wait_ms);
  uint64_t noticed_ns = dsm_os_monotonic_ns();
  bool stop = false;
  for (unsigned i = 0; i < count; i++) {
    uint32_t tag = tags[i];
    stop |= tag == STOP_TAG;
    if (tag == DOOR_TAG) dsm_os_door_clear(watch->door);
    if (tag >= DSM_PARTICIPANTS_MAX) continue;
    watch->participants[tag].over = true;
    let_go(watch, tag);
    tell(context, tag, watch->participants[tag].incarnation, noticed_ns);
  }
  return !stop;
}
