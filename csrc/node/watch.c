/* Opening, polling and closing the descriptors. */
#include "watch.h"

#include "registry.h"

dsm_status dsm_watch_open(dsm_watch *watch, const dsm_space *space) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++)
    watch->participants[i] = (dsm_watched){.descriptor = -1};
  watch->stop = dsm_os_event_open();
  /* Without a door, who joins is met at the next beat. */
  watch->door = dsm_os_door_open(dsm_registry_door(space, space->participant));
  return watch->stop >= 0 ? DSM_OK : DSM_OS;
}

void dsm_watch_close(dsm_watch *watch) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++)
    dsm_os_process_unwatch(watch->participants[i].descriptor);
  dsm_os_door_close(watch->door);
  dsm_os_event_close(watch->stop);
}

static uint32_t high_of(const dsm_space *space) {
  uint32_t high = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  return high < DSM_PARTICIPANTS_MAX ? high : DSM_PARTICIPANTS_MAX;
}

void dsm_watch_refresh(dsm_watch *watch, const dsm_space *space, dsm_watch_death *tell,
                       void *context) {
  uint32_t high = high_of(space);
  for (uint32_t i = 0; i < high; i++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, i);
    dsm_watched *entry = &watch->participants[i];
    uint32_t kind = dsm_load_acquire_u32(&slot->kind);
    uint32_t incarnation = dsm_load_relaxed_u32(&slot->incarnation);
    bool wanted =
        i != space->participant && kind != DSM_PARTICIPANT_FREE && kind != DSM_PARTICIPANT_DEAD;
    bool known = entry->descriptor >= 0 || entry->over;
    if (known && wanted && entry->incarnation == incarnation) continue;
    dsm_os_process_unwatch(entry->descriptor);
    *entry = (dsm_watched){.descriptor = -1};
    if (!wanted) continue;
    dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                              .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
    entry->descriptor = dsm_os_process_watch(&process);
    entry->incarnation = incarnation;
    entry->over = entry->descriptor < 0;
    if (entry->over) tell(context, i, incarnation, dsm_os_monotonic_ns());
  }
}

bool dsm_watch_wait(dsm_watch *watch, const dsm_space *space, uint32_t wait_ms,
                    dsm_watch_death *tell, void *context) {
  int descriptors[DSM_PARTICIPANTS_MAX + 2];
  bool ready[DSM_PARTICIPANTS_MAX + 2];
  uint32_t high = high_of(space);
  for (uint32_t i = 0; i < high; i++) descriptors[i] = watch->participants[i].descriptor;
  descriptors[high] = watch->stop;
  descriptors[high + 1] = watch->door;
  dsm_os_poll(descriptors, ready, high + 2, wait_ms);
  uint64_t noticed_ns = dsm_os_monotonic_ns();
  if (ready[high + 1]) dsm_os_door_clear(watch->door);
  for (uint32_t i = 0; i < high; i++) {
    if (!ready[i]) continue;
    tell(context, i, watch->participants[i].incarnation, noticed_ns);
    dsm_os_process_unwatch(watch->participants[i].descriptor);
    watch->participants[i].descriptor = -1;
    watch->participants[i].over = true;
  }
  return !ready[high];
}
