/* Opening, polling and closing the descriptors. */
#include "watch.h"

#include "registry.h"

#define STOP_TAG DSM_PARTICIPANTS_MAX
#define DOOR_TAG (DSM_PARTICIPANTS_MAX + 1)
#define THREADS_TAG (DSM_PARTICIPANTS_MAX + 2)
#define TAGS_MAX 64u

dsm_status dsm_watch_open(dsm_watch *watch, const dsm_space *space) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++)
    watch->participants[i] = (dsm_watched){.descriptor = -1, .threads = {-1, -1}};
  watch->stop = dsm_os_event_open();
  watch->poller = dsm_os_poller_open();
  /* Without a door, who joins is met at the next beat. */
  watch->door = dsm_os_door_open(dsm_registry_door(space, space->participant));
  if (watch->stop < 0 || watch->poller < 0) return DSM_OS;
  if (watch->door >= 0) dsm_os_poller_add(watch->poller, watch->door, DOOR_TAG);
  return dsm_os_poller_add(watch->poller, watch->stop, STOP_TAG) ? DSM_OK : DSM_OS;
}

static void forget(dsm_watch *watch, int *descriptor) {
  dsm_os_poller_remove(watch->poller, *descriptor);
  dsm_os_process_unwatch(*descriptor);
  *descriptor = -1;
}

static void let_go(dsm_watch *watch, uint32_t participant) {
  forget(watch, &watch->participants[participant].descriptor);
  for (unsigned i = 0; i < 2; i++) forget(watch, &watch->participants[participant].threads[i]);
}

void dsm_watch_close(dsm_watch *watch) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX && watch->poller >= 0; i++) let_go(watch, i);
  dsm_os_poller_close(watch->poller);
  dsm_os_door_close(watch->door);
  dsm_os_event_close(watch->stop);
}

static dsm_os_process process_of(const dsm_participant_shm *slot) {
  return (dsm_os_process){.pid = dsm_load_relaxed_u32(&slot->pid),
                          .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
}

static void begin(dsm_watch *watch, const dsm_participant_shm *slot, uint32_t participant) {
  dsm_watched *entry = &watch->participants[participant];
  dsm_os_process process = process_of(slot);
  entry->descriptor = dsm_os_process_watch(&process);
  entry->over = entry->descriptor < 0;
  if (entry->over || dsm_os_poller_add(watch->poller, entry->descriptor, participant)) return;
  /* No room in the kernel: we look for ourselves at each beat. */
  dsm_os_process_unwatch(entry->descriptor);
  entry->descriptor = -1;
  entry->over = !dsm_os_process_alive(&process);
}

/* Its service threads begin after it has joined; each is tried once. */
static void meet_threads(dsm_watch *watch, const dsm_participant_shm *slot, uint32_t participant) {
  dsm_watched *entry = &watch->participants[participant];
  if (entry->descriptor < 0 || participant > DSM_NODES_MAX) return;
  for (unsigned i = 0; i < 2; i++) {
    uint32_t number = dsm_load_acquire_u32(&slot->threads[i]);
    if (number == entry->numbers[i]) continue;
    dsm_os_process process = process_of(slot);
    forget(watch, &entry->threads[i]);
    entry->numbers[i] = number;
    entry->threads[i] = number ? dsm_os_thread_watch(&process, number) : -1;
    uint32_t tag = THREADS_TAG + 2 * participant + i;
    if (entry->threads[i] >= 0 && !dsm_os_poller_add(watch->poller, entry->threads[i], tag))
      forget(watch, &entry->threads[i]);
  }
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
    if (!known || !wanted || entry->incarnation != incarnation) {
      if (known) let_go(watch, i);
      *entry = (dsm_watched){.descriptor = -1, .threads = {-1, -1}, .incarnation = incarnation};
      if (wanted) begin(watch, slot, i);
      if (entry->over) tell(context, i, incarnation, DSM_ENDING_OVER, dsm_os_monotonic_ns());
    }
    meet_threads(watch, slot, i);
  }
}

/* A service thread has ended. One that was stopped in good order has left no number. */
static void handle_thread(dsm_watch *watch, const dsm_space *space, uint32_t tag,
                          dsm_watch_death *tell, void *context, uint64_t noticed_ns) {
  uint32_t participant = (tag - THREADS_TAG) / 2, i = (tag - THREADS_TAG) % 2;
  dsm_watched *entry = &watch->participants[participant];
  const dsm_participant_shm *slot = dsm_space_participant(space, participant);
  bool doomed = dsm_load_acquire_u32(&slot->threads[i]) == entry->numbers[i] &&
                dsm_load_relaxed_u32(&slot->incarnation) == entry->incarnation;
  forget(watch, &entry->threads[i]);
  if (doomed && !entry->over)
    tell(context, participant, entry->incarnation, DSM_ENDING_BEGUN, noticed_ns);
}

bool dsm_watch_wait(dsm_watch *watch, const dsm_space *space, uint32_t wait_ms,
                    dsm_watch_death *tell, void *context) {
  uint32_t tags[TAGS_MAX];
  unsigned count = dsm_os_poller_wait(watch->poller, tags, TAGS_MAX, wait_ms);
  uint64_t noticed_ns = dsm_os_monotonic_ns();
  bool stop = false;
  for (unsigned i = 0; i < count; i++) {
    uint32_t tag = tags[i];
    stop |= tag == STOP_TAG;
    if (tag == DOOR_TAG) dsm_os_door_clear(watch->door);
    if (tag >= THREADS_TAG) handle_thread(watch, space, tag, tell, context, noticed_ns);
    if (tag >= DSM_PARTICIPANTS_MAX) continue;
    watch->participants[tag].over = true;
    let_go(watch, tag);
    tell(context, tag, watch->participants[tag].incarnation, DSM_ENDING_OVER, noticed_ns);
  }
  return !stop;
}
