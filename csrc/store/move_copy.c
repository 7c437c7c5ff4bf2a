/* The pieces of a move that touch objects: copying, comparing, erasing. With the lock held. */
#include "../base/crash.h"
#include "hold.h"
#include "move.h"
#include "write.h"

#define VISITS_PER_OBJECT 16u /* slots looked at in the time that a copy takes */
#define LIVE_BITS 22

uint32_t dsm__move_copies(const dsm_space *space, uint16_t region, uint32_t count) {
  uint32_t copies = region < DSM_REGIONS_MAX ? dsm_space_region(space, region)->replicas : 0;
  return copies >= 1 && copies < count ? copies : count;
}

bool dsm__move_lacks(const dsm_move *self, const dsm_route *route, uint32_t place) {
  unsigned node = self->nodes[place];
  return node != self->source && dsm_route_place(route, node) > place;
}

/* A sub that the route does not name is given up: it is empty then, and its runs are found
 * unclaimed by a check. Only for one that is damaged. */
static void give_up(dsm_call *call, uint32_t stripe, unsigned node) {
  dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  bool ok;
  dsm_locator locator = dsm_space_locator(call->space, node + 1, &sub->gen);
  uint64_t gen = dsm_unseal(dsm_load_relaxed_u64(&sub->gen), locator, &ok);
  dsm_stripe_init(call->space, node, stripe);
  dsm_store_release_u64(&sub->gen, dsm_seal(gen + 1, locator));
}

/* The slot of the same object, whole, at another node of the route. */
static dsm_status find_whole(dsm_call *call, const dsm_move *self, const dsm_route *route,
                             const dsm_key *key, uint64_t version, unsigned *node, uint64_t *slot,
                             dsm_header *header) {
  for (uint32_t i = 0; i < route->count; i++) {
    dsm_found found;
    dsm_key same;
    *node = route->nodes[i];
    if (*node == self->source || self->lost >> *node & 1) continue;
    if (dsm_table_find(call, *node, self->stripe, key, &found) != DSM_OK || !found.offset) continue;
    *slot = found.slot_word;
    if (dsm_slot_verify(call, *node, self->stripe, *slot, header, &same) == DSM_OK &&
        header->version == version)
      return DSM_OK;
  }
  return dsm_fail(call, DSM_CORRUPT, "no replica of an object holds", (int)self->source,
                  self->stripe, version, 0);
}

static dsm_status copy_object(dsm_call *call, dsm_move *self, const dsm_route *route,
                              unsigned target, uint64_t slot, const dsm_key *key) {
  unsigned from = self->source;
  dsm_header header;
  dsm_key whole;
  if (dsm_slot_verify(call, from, self->stripe, slot, &header, &whole) != DSM_OK)
    DSM_TRY(find_whole(call, self, route, key, header.version, &from, &slot, &header));
  DSM_TRY(dsm_transfer(call, self->stripe, from, target, key, slot, &header));
  DSM_CRASH_POINT("move.copied");
  self->bytes += header.value_offset + header.value_bytes;
  self->objects++;
  return DSM_OK;
}

/* Makes sure that the object of a slot of the source is at the target. */
static dsm_status ensure(dsm_call *call, dsm_move *self, const dsm_route *route, unsigned target,
                         uint64_t slot, const dsm_key *key, const dsm_header *header) {
  dsm_found found;
  dsm_status status = dsm_table_find(call, target, self->stripe, key, &found);
  if (status == DSM_OK && found.offset && found.header.version == header->version &&
      found.header.shape == header->shape && found.header.binding == header->binding)
    return DSM_OK;
  if (status == DSM_OK) status = copy_object(call, self, route, target, slot, key);
  if (status != DSM_CORRUPT || call->fault.node != (int)target || dsm_route_names(route, target))
    return status;
  give_up(call, self->stripe, target);
  self->passing = false;
  self->clean_gen = 0;
  return copy_object(call, self, route, target, slot, key);
}

static dsm_status visit(dsm_call *call, dsm_move *self, const dsm_route *route, uint64_t slot) {
  dsm_header header;
  uint64_t hash;
  DSM_TRY(dsm_slot_object(call, self->source, self->stripe, slot, &header, &hash));
  uint32_t copies = dsm__move_copies(call->space, header.region, self->count);
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(call->space, self->source, dsm_slot_offset(slot));
  dsm_key key = {object + header.key_offset, header.key_bytes, header.key_kind, header.region,
                 hash};
  for (uint32_t place = 0; place < copies; place++) {
    if (!dsm__move_lacks(self, route, place)) continue;
    self->wanted[place]++;
    if (header.version > self->clean_gen)
      DSM_TRY(ensure(call, self, route, self->nodes[place], slot, &key, &header));
  }
  return DSM_OK;
}

static dsm_status generation(dsm_call *call, unsigned node, uint32_t stripe, uint64_t *gen) {
  dsm_log log = dsm_log_make(call, NULL, 0);
  *gen = dsm_log_read_sealed(&log, node + 1, &dsm_space_sub(call->space, node, stripe)->gen);
  return log.status;
}

/* Begins a pass, or goes on with one whose slots still stand where they stood. What a repair may
 * have put back has an old version, so after one everything is compared again. */
static dsm_status start_pass(dsm_call *call, dsm_move *self) {
  const dsm_sub_shm *sub = dsm_space_sub(call->space, self->source, self->stripe);
  uint32_t repairs = dsm_load_relaxed_u32(&dsm_space_lock(call->space, self->stripe)->repairs);
  uint64_t word = dsm_load_acquire_u64(&sub->table);
  bool repaired = repairs != self->repairs;
  if (self->passing && !repaired && word == self->table_word) return DSM_OK;
  if (repaired) self->clean_gen = 0;
  if (repaired || !self->passing)
    DSM_TRY(generation(call, self->source, self->stripe, &self->began_gen));
  self->passing = true;
  self->repairs = repairs;
  self->table_word = word;
  self->cursor = 0;
  self->seen = 0;
  for (uint32_t i = 0; i < DSM_REPLICAS_MAX; i++) self->wanted[i] = 0;
  return DSM_OK;
}

dsm_status dsm__move_pass(dsm_call *call, dsm_move *self, const dsm_route *route, bool *whole) {
  dsm_table table;
  DSM_TRY(start_pass(call, self));
  DSM_TRY(dsm_table_read(call, self->source, self->stripe, &table));
  uint64_t bytes = self->bytes, objects = self->objects;
  *whole = false;
  for (uint32_t visits = 0; table.slots && self->cursor < table.capacity; self->cursor++) {
    if (self->bytes - bytes >= self->step_bytes || self->objects - objects >= self->step_objects ||
        visits >= self->step_objects * VISITS_PER_OBJECT)
      return DSM_OK;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[self->cursor]);
    /* A zeroed slot is neither: it lost its key, which must not be taken for deleted. */
    if (slot == DSM_SLOT_EMPTY || slot == DSM_SLOT_TOMBSTONE) continue;
    visits++;
    self->seen++;
    dsm_status status = visit(call, self, route, slot);
    /* A slot that was counted and then failed would be counted again: from the beginning. */
    if (status != DSM_OK) self->passing = false;
    DSM_TRY(status);
    if (!self->passing) return DSM_OK; /* a target was given up: from the beginning */
  }
  self->passing = false;
  self->clean_gen = self->began_gen;
  *whole = true;
  return DSM_OK;
}

static dsm_status live_at(dsm_call *call, unsigned node, uint32_t stripe, uint64_t *live) {
  dsm_log log = dsm_log_make(call, NULL, 0);
  const dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  *live = dsm_log_read_sealed(&log, node + 1, &sub->used) >> LIVE_BITS;
  return log.status;
}

dsm_status dsm__move_confirm(dsm_call *call, const dsm_move *self) {
  uint64_t live;
  DSM_TRY(live_at(call, self->source, self->stripe, &live));
  if (live == self->seen) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "source of a move holds another number of keys",
                  (int)self->source, self->stripe, live, self->seen);
}

dsm_status dsm__move_prune(dsm_call *call, dsm_move *self, uint32_t place, bool *whole) {
  unsigned node = self->nodes[place];
  uint64_t live;
  uint32_t erased = 0;
  dsm_table table;
  *whole = false;
  DSM_TRY(live_at(call, node, self->stripe, &live));
  DSM_TRY(dsm_table_read(call, node, self->stripe, &table));
  for (uint32_t i = 0; live != self->wanted[place] && table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]), hash;
    if (slot <= DSM_SLOT_TOMBSTONE) continue;
    dsm_header header;
    dsm_found found;
    DSM_TRY(dsm_slot_object(call, node, self->stripe, slot, &header, &hash));
    const uint8_t *object =
        (const uint8_t *)dsm_object_at(call->space, node, dsm_slot_offset(slot));
    dsm_key key = {object + header.key_offset, header.key_bytes, header.key_kind, header.region,
                   hash};
    DSM_TRY(dsm_table_find(call, self->source, self->stripe, &key, &found));
    if (found.offset && place < dsm__move_copies(call->space, header.region, self->count)) continue;
    if (erased++ == self->step_objects) return DSM_OK;
    DSM_TRY(dsm_erase(call, self->stripe, node, &key));
    DSM_CRASH_POINT("move.pruned");
    live--;
  }
  *whole = true;
  if (live == self->wanted[place]) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "copy of the stripe holds another number of keys", (int)node,
                  self->stripe, live, self->wanted[place]);
}

static dsm_status erase_slots(dsm_call *call, dsm_move *self, unsigned node, uint32_t place,
                              bool *whole) {
  dsm_table table;
  uint32_t erased = 0;
  DSM_TRY(dsm_table_read(call, node, self->stripe, &table));
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]), hash;
    if (slot <= DSM_SLOT_TOMBSTONE) continue;
    dsm_header header;
    DSM_TRY(dsm_slot_object(call, node, self->stripe, slot, &header, &hash));
    if (place < dsm__move_copies(call->space, header.region, self->count)) continue;
    if (erased++ == self->step_objects) return DSM_OK;
    const uint8_t *object =
        (const uint8_t *)dsm_object_at(call->space, node, dsm_slot_offset(slot));
    dsm_key key = {object + header.key_offset, header.key_bytes, header.key_kind, header.region,
                   hash};
    DSM_TRY(dsm_erase(call, self->stripe, node, &key));
    DSM_CRASH_POINT("move.erased");
    /* The table ends with its last object. */
    DSM_TRY(dsm_table_read(call, node, self->stripe, &table));
  }
  *whole = true;
  return dsm_hold_tidy(call, self->stripe, node);
}

dsm_status dsm__move_erase(dsm_call *call, dsm_move *self, unsigned node, uint32_t place,
                           bool *whole) {
  *whole = false;
  dsm_status status = erase_slots(call, self, node, place, whole);
  if (status != DSM_CORRUPT || place < self->count) return status;
  give_up(call, self->stripe, node);
  *whole = true;
  return DSM_OK;
}
