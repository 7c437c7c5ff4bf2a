/* Queue with acknowledgement: the places of items that were taken. */
#include <string.h>

#include "../base/crash.h"
#include "sync_kind.h"
#include "sync_queue.h"
#include "sync_queue_ring.h"

#define STATE_MASK 3u
#define PARTICIPANT_SHIFT 2
#define INCARNATION_SHIFT 11
#define INCARNATION_BITS 13
#define INCARNATION_MASK ((1u << INCARNATION_BITS) - 1)
#define SERIAL_MASK ((1u << 20) - 1)
#define TIMES_MAX UINT32_MAX

static uint64_t serial_of(uint64_t state) {
  return state >> DSM__PLACE_SERIAL_SHIFT & SERIAL_MASK;
}

/* A free place keeps its serial, and each taking adds one, so that an old receipt is told. */
static uint64_t taken_state(const dsm_space *space, uint64_t before) {
  dsm_sync_party self = dsm_sync_party_self(space);
  return ((serial_of(before) + 1) & SERIAL_MASK) << DSM__PLACE_SERIAL_SHIFT |
         (uint64_t)(self >> 9 & INCARNATION_MASK) << INCARNATION_SHIFT |
         (uint64_t)(self & 511) << PARTICIPANT_SHIFT | DSM__PLACE_TAKEN;
}

static uint64_t with_state(uint64_t before, uint64_t state) {
  return serial_of(before) << DSM__PLACE_SERIAL_SHIFT | state;
}

static dsm_status add(dsm_call *call, const dsm_sync *sync, unsigned word, int64_t difference) {
  uint64_t value;
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[word], &value));
  dsm_sync_set(call->space, &sync->record->words[word], value + (uint64_t)difference);
  return DSM_OK;
}

dsm_status dsm__queue_count_places(dsm_call *call, const dsm_sync *sync) {
  uint64_t head, state, position, taken = 0, again = 0;
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_HEAD], &head));
  for (uint32_t i = 0; i < dsm__queue_maxsize(sync); i++) {
    dsm_sync_place_shm *place = dsm__queue_place(sync, i);
    DSM_TRY(dsm__queue_read(call, sync, &place->state, &state));
    if ((state & STATE_MASK) == DSM__PLACE_FREE) continue;
    DSM_TRY(dsm__queue_read(call, sync, &place->position, &position));
    if (position == head) { /* the head was not stored: it was not taken */
      dsm_sync_set(call->space, &place->state, with_state(state, DSM__PLACE_FREE));
      continue;
    }
    taken++;
    again += (state & STATE_MASK) == DSM__PLACE_BACK;
  }
  dsm_sync_set(call->space, &sync->record->words[DSM__QUEUE_TAKEN], taken);
  dsm_sync_set(call->space, &sync->record->words[DSM__QUEUE_AGAIN], again);
  return DSM_OK;
}

/* The item that came first of those to be delivered again. */
static dsm_status oldest_again(dsm_call *call, const dsm_sync *sync, uint64_t head,
                               uint32_t *found) {
  uint64_t state, position, longest = 0;
  *found = DSM_SYNC_EVERYONE;
  for (uint32_t i = 0; i < dsm__queue_maxsize(sync); i++) {
    const dsm_sync_place_shm *place = dsm__queue_place(sync, i);
    DSM_TRY(dsm__queue_read(call, sync, &place->state, &state));
    if ((state & STATE_MASK) != DSM__PLACE_BACK) continue;
    DSM_TRY(dsm__queue_read(call, sync, &place->position, &position));
    uint64_t ago = (head - position) & DSM_SEAL_VALUE_MASK;
    if (ago <= longest) continue;
    longest = ago;
    *found = i;
  }
  return DSM_OK;
}

static dsm_status free_place(dsm_call *call, const dsm_sync *sync, uint32_t *found) {
  uint32_t count = dsm__queue_maxsize(sync);
  uint64_t state, hint = dsm_load_relaxed_u64(&sync->record->words[DSM__QUEUE_HINT]);
  for (uint32_t i = 0; i < count; i++) {
    *found = (uint32_t)((hint + i) % count);
    DSM_TRY(dsm__queue_read(call, sync, &dsm__queue_place(sync, *found)->state, &state));
    if ((state & STATE_MASK) != DSM__PLACE_FREE) continue;
    dsm_store_relaxed_u64(&sync->record->words[DSM__QUEUE_HINT], *found + 1);
    return DSM_OK;
  }
  return DSM_RETRY;
}

/* A damaged item leaves its place, as it would leave the ring. */
static dsm_status deliver_again(dsm_call *call, const dsm_sync *sync, uint64_t head,
                                dsm_sync_item *out) {
  uint64_t state, position, times;
  DSM_TRY(oldest_again(call, sync, head, &out->place));
  if (out->place == DSM_SYNC_EVERYONE)
    return dsm_sync_damaged(call, sync, "number of items to be delivered again");
  dsm_sync_place_shm *place = dsm__queue_place(sync, out->place);
  DSM_TRY(dsm__queue_read(call, sync, &place->state, &state));
  DSM_TRY(dsm__queue_read(call, sync, &place->position, &position));
  DSM_TRY(dsm__queue_read(call, sync, &place->times, &times));
  dsm_status status =
      dsm__queue_slot_read(call, sync, dsm__queue_place_slot(sync, out->place), position, out);
  out->times = (uint32_t)(times < TIMES_MAX ? times + 1 : times);
  dsm_sync_set(call->space, &place->times, out->times);
  DSM_CRASH_POINT("sync.queue.again");
  out->receipt =
      status == DSM_OK ? taken_state(call->space, state) : with_state(state, DSM__PLACE_FREE);
  dsm_sync_set(call->space, &place->state, out->receipt);
  DSM_CRASH_POINT("sync.queue.taken.again");
  if (status != DSM_OK) DSM_TRY(add(call, sync, DSM__QUEUE_TAKEN, -1));
  DSM_TRY(add(call, sync, DSM__QUEUE_AGAIN, -1));
  return status;
}

static dsm_status deliver_first(dsm_call *call, const dsm_sync *sync, uint64_t head,
                                dsm_sync_item *out) {
  dsm_space *space = call->space;
  uint64_t state;
  DSM_TRY(free_place(call, sync, &out->place));
  const dsm_sync_slot_shm *slot = dsm__queue_slot(sync, head);
  dsm_status status = dsm__queue_slot_read(call, sync, slot, head, out);
  if (status != DSM_OK) {
    dsm_sync_set(space, &sync->record->words[DSM__QUEUE_HEAD], head + 1);
    return status;
  }
  dsm_sync_place_shm *place = dsm__queue_place(sync, out->place);
  dsm_sync_slot_shm *copy = dsm__queue_place_slot(sync, out->place);
  DSM_TRY(dsm__queue_read(call, sync, &place->state, &state));
  uint64_t word;
  DSM_TRY(dsm__queue_read(call, sync, &slot->head, &word));
  memcpy(copy->bytes, out->bytes, out->length);
  dsm_store_relaxed_u64(&copy->check, dsm_load_relaxed_u64(&slot->check));
  dsm_sync_set(space, &copy->head, word);
  dsm_sync_set(space, &place->position, head);
  dsm_sync_set(space, &place->times, 1);
  out->receipt = taken_state(space, state);
  out->times = 1;
  DSM_CRASH_POINT("sync.queue.placed");
  dsm_sync_set(space, &place->state, out->receipt);
  DSM_CRASH_POINT("sync.queue.marked");
  dsm_sync_set(space, &sync->record->words[DSM__QUEUE_HEAD], head + 1);
  DSM_CRASH_POINT("sync.queue.taken");
  return add(call, sync, DSM__QUEUE_TAKEN, 1);
}

dsm_status dsm__queue_take(dsm_call *call, const dsm_sync *sync, uint64_t head, uint64_t tail,
                           dsm_sync_item *out) {
  uint64_t again;
  DSM_TRY(dsm__queue_read(call, sync, &sync->record->words[DSM__QUEUE_AGAIN], &again));
  dsm_status status = DSM_RETRY;
  if (again)
    status = deliver_again(call, sync, head, out);
  else if (head != tail)
    status = deliver_first(call, sync, head, out);
  out->more = again > 1 || ((head + !again) & DSM_SEAL_VALUE_MASK) != tail;
  return status;
}

static dsm_status settle_locked(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                uint64_t receipt, bool done) {
  uint64_t state;
  if (place >= dsm__queue_maxsize(sync))
    return dsm_fail(call, DSM_USAGE, "place in the queue", -1, -1, place, 0);
  dsm_sync_place_shm *at = dsm__queue_place(sync, place);
  DSM_TRY(dsm__queue_read(call, sync, &at->state, &state));
  if (state != receipt)
    return dsm_fail(call, DSM_NOT_OWNER, "item was delivered again", -1, -1, state, receipt);
  dsm_sync_set(call->space, &at->state,
               with_state(state, done ? DSM__PLACE_FREE : DSM__PLACE_BACK));
  DSM_CRASH_POINT("sync.queue.settled");
  return done ? add(call, sync, DSM__QUEUE_TAKEN, -1) : add(call, sync, DSM__QUEUE_AGAIN, 1);
}

static dsm_status settle(dsm_call *call, const dsm_sync *sync, uint32_t place, uint64_t receipt,
                         bool done) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = settle_locked(call, sync, place, receipt, done);
  dsm_lock_drop(&sync->record->lock);
  if (status != DSM_OK) return status;
  /* Whoever waits for a place waits as a taker; whoever waits for the end, as a putter. */
  dsm_sync_wake(sync, 0, 1);
  if (done) dsm_sync_wake(sync, 1, DSM_SYNC_EVERYONE);
  return DSM_OK;
}

dsm_status dsm_sync_queue_acknowledge(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                      uint64_t receipt) {
  return settle(call, sync, place, receipt, true);
}

dsm_status dsm_sync_queue_give_back(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                    uint64_t receipt) {
  return settle(call, sync, place, receipt, false);
}

static bool is_dead(uint64_t state, uint32_t participant, uint32_t incarnation) {
  return (state & STATE_MASK) == DSM__PLACE_TAKEN &&
         (state >> PARTICIPANT_SHIFT & 511) == participant + 1 &&
         dsm_sync_up_to((uint32_t)(state >> INCARNATION_SHIFT), incarnation, INCARNATION_BITS);
}

static dsm_status bury_locked(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                              uint32_t incarnation, bool *changed) {
  uint64_t state;
  for (uint32_t i = 0; i < dsm__queue_maxsize(sync); i++) {
    dsm_sync_place_shm *place = dsm__queue_place(sync, i);
    DSM_TRY(dsm__queue_read(call, sync, &place->state, &state));
    if (!is_dead(state, participant, incarnation)) continue;
    dsm_sync_set(call->space, &place->state, with_state(state, DSM__PLACE_BACK));
    DSM_CRASH_POINT("sync.queue.buried");
    *changed = true;
  }
  return *changed ? dsm__queue_count_places(call, sync) : DSM_OK;
}

dsm_status dsm__sync_queue_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                                uint32_t incarnation, bool killed, bool *changed) {
  (void)killed;
  uint64_t state;
  bool any = dsm_load_relaxed_u32(&sync->record->lock.owner) == participant + 1;
  uint32_t places = dsm__queue_acknowledges(sync) ? dsm__queue_maxsize(sync) : 0;
  for (uint32_t i = 0; i < places && !any; i++) {
    DSM_TRY(dsm__queue_read(call, sync, &dsm__queue_place(sync, i)->state, &state));
    any = is_dead(state, participant, incarnation);
  }
  if (!any) return DSM_OK;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = places ? bury_locked(call, sync, participant, incarnation, changed) : DSM_OK;
  dsm_lock_drop(&sync->record->lock);
  return status;
}
