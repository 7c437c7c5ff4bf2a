/* Stripe by stripe: slices, saved objects, marks. */
#include "walk.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "../mem/pin.h"
#include "stripe.h"
#include "walk_slice.h"

void dsm_walk_init(const dsm_space *space, dsm_walk *walk, uint64_t number,
                   const uint64_t *gens_before, uint64_t *gens) {
  *walk = (dsm_walk){.number = number,
                     .incremental = gens_before != NULL,
                     .gens_before = gens_before,
                     .gens = gens,
                     .large = {.pin = DSM_PIN_NONE}};
  for (uint32_t i = 0; i < DSM_REGIONS_MAX; i++) {
    const dsm_region_shm *region = dsm_space_region(space, i);
    walk->hidden[i] = region->name_bytes > 0 && region->name[0] == 0;
  }
}

void dsm_walk_drop(dsm_space *space, dsm_walk *walk) {
  if (walk->large.active && walk->large.pin != DSM_PIN_NONE)
    dsm_pin_release(space, walk->large.pin);
  walk->large.active = false;
  free(walk->marks);
  walk->marks = NULL;
}

/* Parts of the large value, while there is room. */
static void write_value(dsm_space *space, dsm_walk *walk, dsm_frames *frames) {
  dsm_walk_value *large = &walk->large;
  uint64_t head = sizeof(dsm_record) + dsm_padded(large->record.key_bytes);
  for (;;) {
    uint64_t left = large->record.value_bytes - large->done, part = DSM_FRAME_BYTES_MAX - head;
    if (part > left) part = left;
    uint8_t *payload = dsm_frame_payload(frames, head + part);
    if (!payload) return;
    dsm_walk_put_head(payload, &large->record, large->key);
    dsm_copy_out(payload + head, large->value + large->done, part);
    dsm_frame frame = {.kind = DSM_FRAME_VALUE,
                       .bytes = (uint32_t)(head + part),
                       .subject = walk->stripe,
                       .detail = {large->done}};
    dsm_frame_seal(frames, &frame);
    large->done += part;
    if (large->done == large->record.value_bytes) break;
  }
  walk->objects++;
  walk->value_bytes += large->record.value_bytes;
  if (large->pin != DSM_PIN_NONE) dsm_pin_release(space, large->pin);
  large->active = false;
  DSM_CRASH_POINT("walk.value");
}

/* Reads what the cut knows of the stripe, whose lock is held, and where it lies. */
static dsm_status enter(dsm_call *call, dsm_walk *walk, const dsm_route *route) {
  dsm_cut_look look;
  DSM_TRY(dsm_cut_look_at(call, walk->number, walk->stripe, &look));
  for (uint32_t i = 0; i < route->count && !look.noted; i++) {
    dsm_log log = dsm_log_make(call, NULL, 0);
    unsigned node = route->nodes[i];
    uint64_t gen =
        dsm_log_read_sealed(&log, node + 1, &dsm_space_sub(call->space, node, walk->stripe)->gen);
    if (log.status != DSM_OK) return log.status;
    if (gen > look.gen) look.gen = gen;
  }
  walk->gen = walk->gens[walk->stripe] = look.gen;
  walk->after = walk->incremental ? walk->gens_before[walk->stripe] : 0;
  walk->saved = look.saved;
  return DSM_OK;
}

static void begin_stripe(dsm_walk *walk) {
  walk->within = true;
  walk->walked = false;
  walk->slot = 0;
  walk->table_word = 0;
  walk->mark_count = walk->marks_done = 0;
}

/* One slice under the lock. *same: nothing of the stripe is to be written. */
static dsm_status hold(dsm_call *call, dsm_walk *walk, dsm_slice *part, bool *same) {
  dsm_route route;
  DSM_TRY(dsm_walk_room_for_marks(call, walk));
  DSM_TRY(dsm_stripe_take(call, walk->stripe, &route));
  dsm_status status = enter(call, walk, &route);
  *same = walk->incremental && walk->gen == walk->after;
  if (status == DSM_OK && !*same) status = dsm_slice_fill(call, walk, &route, part);
  if (status == DSM_OK && (*same || walk->walked)) {
    walk->walked = true;
    dsm_cut_walked(call, walk->number, walk->stripe);
  }
  dsm_stripe_drop(call, walk->stripe, &route);
  return status;
}

/* Slices, each under the lock anew, as many as one frame takes; it is sealed after the lock was
 * dropped, also if a later slice did not get it: the walk has passed what is in there. */
static dsm_status slices(dsm_call *call, dsm_walk *walk, dsm_frames *frames) {
  dsm_slice part;
  bool same = false;
  if (!walk->within) begin_stripe(walk);
  DSM_TRY(dsm_slice_open(frames, &part));
  dsm_status status = DSM_OK;
  while (status == DSM_OK && !walk->walked && !walk->large.active && part.used <= DSM_WALK_BYTES)
    status = hold(call, walk, &part, &same);
  if (same) walk->saved = 0;
  dsm_slice_seal(frames, walk, &part);
  DSM_CRASH_POINT("walk.slice");
  return status;
}

/* Objects that changes saved: nothing of theirs moves any more, so no lock. */
static dsm_status write_saved(dsm_call *call, dsm_walk *walk, dsm_frames *frames) {
  dsm_slice part;
  DSM_TRY(dsm_walk_room_for_marks(call, walk));
  DSM_TRY(dsm_slice_open(frames, &part));
  dsm_status status = dsm_slice_saved(call, walk, &part);
  if (status == DSM_OK) dsm_slice_seal(frames, walk, &part);
  DSM_CRASH_POINT("walk.saved");
  return status;
}

/* The marks of the stripe's objects; true when all are written. */
static bool write_marks(dsm_walk *walk, dsm_frames *frames) {
  for (;;) {
    uint64_t count = walk->mark_count - walk->marks_done;
    if (count > DSM_FRAME_BYTES_MAX / sizeof(dsm_mark))
      count = DSM_FRAME_BYTES_MAX / sizeof(dsm_mark);
    uint8_t *payload = dsm_frame_payload(frames, count * sizeof(dsm_mark));
    if (!payload) return false;
    memcpy(payload, walk->marks + walk->marks_done, count * sizeof(dsm_mark));
    walk->marks_done += count;
    dsm_frame frame = {.kind = DSM_FRAME_LIVE,
                       .bytes = (uint32_t)(count * sizeof(dsm_mark)),
                       .subject = walk->stripe,
                       .detail = {walk->marks_done == walk->mark_count}};
    dsm_frame_seal(frames, &frame);
    if (walk->marks_done == walk->mark_count) return true;
  }
}

/* The next step of the stripe: a large value, a slice, saved objects, marks. */
static dsm_status step(dsm_call *call, dsm_walk *walk, dsm_frames *frames) {
  if (walk->large.active) {
    if (walk->large.done == 0) DSM_TRY(dsm_slice_value_verify(call, walk));
    write_value(call->space, walk, frames);
    return DSM_OK;
  }
  if (!walk->within || !walk->walked) return slices(call, walk, frames);
  if (walk->saved) return write_saved(call, walk, frames);
  bool same = walk->gen == walk->after;
  if (walk->incremental && !same && !write_marks(walk, frames)) return DSM_OK;
  walk->stripes += !walk->incremental || !same;
  walk->within = false;
  walk->stripe++;
  return DSM_OK;
}

dsm_status dsm_walk_fill(dsm_call *call, dsm_walk *walk, dsm_frames *frames, bool *done) {
  *done = false;
  while (walk->stripe < call->space->stripe_count) {
    if (frames->capacity - frames->used < DSM_WALK_ROOM) return DSM_OK;
    DSM_TRY(step(call, walk, frames));
  }
  *done = true;
  return DSM_OK;
}
