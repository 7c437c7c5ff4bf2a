/* Posting, reading and awaiting events. */
#include "event.h"

#include <string.h>

#include "../base/crash.h"
#include "../base/hash.h"
#include "../mem/lock.h"

#define EVENT_SALT 0x45564E54ull

static uint64_t unsealed(const dsm_space *space, const dsm_atomic_u64 *word, bool *ok) {
  return dsm_unseal(dsm_load_acquire_u64(word), dsm_space_locator(space, DSM_CONTROL_SEGMENT, word),
                    ok);
}

static void store_sealed(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value) {
  dsm_store_release_u64(word, dsm_seal(value, dsm_space_locator(space, DSM_CONTROL_SEGMENT, word)));
}

static dsm_event_record_shm *record_of(const dsm_space *space, uint64_t sequence) {
  return &dsm_space_events(space)->ring[sequence % DSM_EVENTS_MAX];
}

static uint64_t check_of(const dsm_event *event) {
  return dsm_hash64(event, sizeof *event, EVENT_SALT + event->sequence);
}

/* The fence: who reads a word of ours and then the head sees that this place is being written. */
static void write_record(dsm_event_record_shm *record, const dsm_event *event) {
  uint64_t words[DSM_EVENT_WORDS] = {check_of(event)};
  memcpy(words + 1, event, sizeof *event);
  dsm_fence_release();
  for (unsigned i = 0; i < DSM_EVENT_WORDS; i++) dsm_store_relaxed_u64(&record->words[i], words[i]);
}

/* True if the record is whole and of that sequence. */
static bool read_record(const dsm_event_record_shm *record, uint64_t sequence, dsm_event *out) {
  uint64_t words[DSM_EVENT_WORDS];
  for (unsigned i = 0; i < DSM_EVENT_WORDS; i++) words[i] = dsm_load_relaxed_u64(&record->words[i]);
  memcpy(out, words + 1, sizeof *out);
  return out->sequence == sequence && words[0] == check_of(out);
}

/* What a damaged head was: the highest sequence of a record that verifies in its place. */
static uint64_t search_head(const dsm_space *space) {
  uint64_t highest = 0;
  for (uint64_t i = 0; i < DSM_EVENTS_MAX; i++) {
    const dsm_event_record_shm *record = record_of(space, i);
    uint64_t sequence = dsm_load_relaxed_u64(&record->words[1]);
    dsm_event event;
    if (sequence % DSM_EVENTS_MAX == i && sequence > highest && sequence <= DSM_SEAL_VALUE_MASK &&
        read_record(record, sequence, &event))
      highest = sequence;
  }
  return highest;
}

uint64_t dsm_event_latest(const dsm_space *space) {
  bool ok;
  uint64_t head = unsealed(space, &dsm_space_events(space)->head, &ok);
  return ok ? head : search_head(space);
}

uint64_t dsm_event_oldest(const dsm_space *space) {
  uint64_t latest = dsm_event_latest(space);
  return latest < DSM_EVENTS_MAX ? 1 : latest - DSM_EVENTS_MAX + 2;
}

dsm_status dsm_event_init(const dsm_space *space) {
  dsm_events_shm *events = dsm_space_events(space);
  DSM_TRY(dsm_os_mutex_init(&events->lock.mutex));
  store_sealed(space, &events->head, 0);
  for (unsigned fact = 0; fact < DSM_FACTS_MAX; fact++)
    for (unsigned subject = 0; subject < DSM_PARTICIPANTS_MAX; subject++)
      store_sealed(space, &events->facts[fact][subject], 0);
  return DSM_OK;
}

uint64_t dsm_event_known(const dsm_space *space, dsm_fact fact, uint32_t subject) {
  bool ok;
  /* A damaged word is no fact: better recorded twice than never. */
  return unsealed(space, &dsm_space_events(space)->facts[fact][subject], &ok);
}

static bool has_fact(const dsm_event *event) {
  return event->fact > DSM_FACT_NONE && event->fact < DSM_FACTS_MAX &&
         event->subject < DSM_PARTICIPANTS_MAX;
}

static void note_fact(const dsm_space *space, const dsm_event *event) {
  if (!has_fact(event) || dsm_event_known(space, event->fact, event->subject) >= event->value)
    return;
  store_sealed(space, &dsm_space_events(space)->facts[event->fact][event->subject], event->value);
}

static void post_locked(dsm_call *call, dsm_event *event, uint64_t sequence) {
  dsm_space *space = call->space;
  dsm_events_shm *events = dsm_space_events(space);
  event->sequence = sequence;
  event->realtime_ns = dsm_os_realtime_ns();
  event->monotonic_ns = dsm_os_monotonic_ns();
  event->by = space->participant;
  write_record(record_of(space, sequence), event);
  DSM_CRASH_POINT("event.written");
  store_sealed(space, &events->head, sequence);
  DSM_CRASH_POINT("event.published");
  note_fact(space, event);
  DSM_CRASH_POINT("event.noted");
  dsm_fetch_add_relaxed_u32(&events->bell, 1);
}

dsm_status dsm_event_post(dsm_call *call, dsm_event *event) {
  dsm_space *space = call->space;
  dsm_events_shm *events = dsm_space_events(space);
  dsm_event latest;
  bool must_repair;
  event->sequence = 0;
  DSM_TRY(dsm_lock_take(call, &events->lock, &must_repair));
  if (must_repair) dsm_lock_repaired(&events->lock, DSM_OK);
  uint64_t head = dsm_event_latest(space);
  if (head && read_record(record_of(space, head), head, &latest)) note_fact(space, &latest);
  if (!has_fact(event) || dsm_event_known(space, event->fact, event->subject) < event->value)
    post_locked(call, event, head + 1);
  dsm_lock_drop(&events->lock);
  /* Also when nothing was posted: whoever recorded it may have been killed before it rang. */
  if (event->sequence || must_repair) dsm_os_word_wake(&events->bell, INT32_MAX);
  return DSM_OK;
}

dsm_event_outcome dsm_event_read(const dsm_space *space, uint64_t sequence, dsm_event *out) {
  if (sequence > dsm_event_latest(space)) return DSM_EVENT_NONE_YET;
  bool whole = read_record(record_of(space, sequence), sequence, out);
  dsm_fence_acquire();
  if (sequence < dsm_event_oldest(space)) return DSM_EVENT_OVERWRITTEN;
  return whole ? DSM_EVENT_READ : DSM_EVENT_DAMAGED;
}

void dsm_event_wait(const dsm_space *space, uint64_t sequence, uint32_t wait_us) {
  const dsm_events_shm *events = dsm_space_events(space);
  uint32_t seen = dsm_load_acquire_u32(&events->bell);
  if (dsm_event_latest(space) == sequence) dsm_os_word_wait(&events->bell, seen, wait_us);
}
