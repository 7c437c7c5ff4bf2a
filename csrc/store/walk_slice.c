/* Copying objects into a frame, each verified. */
#include "walk_slice.h"

#include <stdlib.h>

#include "../mem/pin.h"
#include "stripe.h"

/* Slots lie side by side, objects anywhere: half of a cold object's time went into waiting for the
 * page walk to its first line. So the first lines of a whole group are asked for at once, which
 * lets their walks run together, and a few slots before its turn all of the object. */
#define AHEAD_GROUP 16u
#define AHEAD_SLOTS 4u
#define AHEAD_BYTES 2048u /* of one object; the processor itself sees where the rest is */

dsm_status dsm_walk_room_for_marks(dsm_call *call, dsm_walk *walk) {
  if (!walk->incremental || walk->mark_room - walk->mark_count >= DSM_WALK_SLOTS) return DSM_OK;
  uint64_t room = walk->mark_room ? walk->mark_room * 2 : 4 * DSM_WALK_SLOTS;
  dsm_mark *larger = realloc(walk->marks, room * sizeof *larger);
  if (!larger) return dsm_fail(call, DSM_OS, "no memory for marks", -1, walk->stripe, room, 0);
  walk->marks = larger;
  walk->mark_room = room;
  return DSM_OK;
}

dsm_status dsm_slice_open(dsm_frames *frames, dsm_slice *out) {
  *out = (dsm_slice){.payload = dsm_frame_payload(frames, DSM_FRAME_BYTES_MAX)};
  return out->payload ? DSM_OK : DSM_USAGE;
}

void dsm_slice_seal(dsm_frames *frames, dsm_walk *walk, const dsm_slice *slice) {
  if (slice->used == 0) return;
  dsm_frame frame = {
      .kind = DSM_FRAME_OBJECTS, .bytes = (uint32_t)slice->used, .subject = walk->stripe};
  dsm_frame_seal(frames, &frame);
  walk->objects += slice->objects;
}

void dsm_walk_put_head(uint8_t *target, const dsm_record *record, const uint8_t *key) {
  uint64_t padded = dsm_padded(record->key_bytes);
  memcpy(target, record, sizeof *record);
  if (padded) memset(target + sizeof *record + padded - 8, 0, 8);
  dsm_copy_out(target + sizeof *record, key, record->key_bytes);
}

/* An object to be written, wherever it lies. */
typedef struct source {
  dsm_header header;
  uint64_t key_hash;
  const uint8_t *key, *value;
  uint64_t settled; /* hash of a LAZY value, 0: not known */
  const dsm_atomic_u64 *settled_word;
} source;

static dsm_record record_of(const dsm_header *header) {
  return (dsm_record){.version = header->version,
                      .value_bytes = header->value_bytes,
                      .key_bytes = header->key_bytes,
                      .region = header->region,
                      .key_kind = header->key_kind,
                      .codec = header->codec};
}

static bool sound(const source *object, const uint8_t *value) {
  const dsm_header *header = &object->header;
  bool lazy = header->flags & DSM_OBJECT_LAZY;
  uint64_t hash = lazy && object->settled == 0 ? 0 : dsm_value_hash(value, header->value_bytes);
  return (uint32_t)(header->binding >> 32) == dsm_object_checksum(header->version, header->shape,
                                                                  header->binding, object->key_hash,
                                                                  lazy ? 0 : hash) &&
         (!lazy || object->settled == 0 || object->settled == hash);
}

/* Bytes of the object's record in a payload. */
static uint64_t record_bytes(const dsm_header *header) {
  return sizeof(dsm_record) + dsm_padded(header->key_bytes) + dsm_padded(header->value_bytes);
}

/* Copies it into the slice, where there is room. False if the copy does not verify. */
static bool append(dsm_walk *walk, dsm_slice *slice, const source *object) {
  const dsm_header *header = &object->header;
  dsm_record record = record_of(header);
  uint8_t *target = slice->payload + slice->used;
  uint8_t *value = target + sizeof record + dsm_padded(record.key_bytes);
  uint64_t padded = dsm_padded(record.value_bytes);
  dsm_walk_put_head(target, &record, object->key);
  if (padded) memset(value + padded - 8, 0, 8);
  dsm_copy_out(value, object->value, record.value_bytes);
  if (!sound(object, value)) return false;
  slice->used += record_bytes(header);
  slice->objects++;
  walk->value_bytes += record.value_bytes;
  return true;
}

static bool is_large(const dsm_header *header) {
  return header->flags & DSM_OBJECT_ALIGNED && header->value_bytes > DSM_CUT_COPY_BYTES_MAX;
}

static void begin_large(dsm_walk *walk, const source *object, uint32_t pin) {
  dsm_walk_value *large = &walk->large;
  dsm_copy_out(large->key_copy, object->key, object->header.key_bytes);
  large->active = true;
  large->pin = pin;
  large->record = record_of(&object->header);
  large->done = 0;
  large->key = large->key_copy;
  large->value = object->value;
  large->settled = object->header.flags & DSM_OBJECT_LAZY ? object->settled_word : NULL;
}

static source source_at(const dsm_space *space, unsigned node, uint64_t slot,
                        const dsm_header *header, uint64_t hash) {
  dsm_object_shm *object = dsm_object_at(space, node, dsm_slot_offset(slot));
  bool lazy = header->flags & DSM_OBJECT_LAZY;
  return (source){.header = *header,
                  .key_hash = hash,
                  .key = (const uint8_t *)object + header->key_offset,
                  .value = (const uint8_t *)object + header->value_offset,
                  .settled = lazy ? dsm_load_relaxed_u64(dsm_object_settled(object)) : 0,
                  .settled_word = dsm_object_settled(object)};
}

/* A sound copy of what a slot of the primary should name, from a backup: found by the slot's tag,
 * since the object that it names may be damaged in any way. */
static dsm_status salvage(dsm_call *call, uint32_t stripe, const dsm_route *route, uint64_t slot,
                          uint64_t gen, unsigned *node, uint64_t *found) {
  dsm_fault fault = call->fault;
  for (uint32_t i = 1; i < route->count; i++) {
    dsm_table table;
    if (dsm_table_read(call, route->nodes[i], stripe, &table) != DSM_OK) continue;
    for (uint32_t at = 0; table.slots && at < table.capacity; at++) {
      dsm_header header;
      uint64_t hash;
      *found = dsm_load_relaxed_u64(&table.slots[at]);
      *node = route->nodes[i];
      if (*found <= DSM_SLOT_TOMBSTONE || *found >> 36 != slot >> 36 ||
          dsm_slot_object(call, *node, stripe, *found, &header, &hash) != DSM_OK ||
          header.version > gen)
        continue;
      source object = source_at(call->space, *node, *found, &header, hash);
      if (sound(&object, object.value)) return DSM_OK;
    }
  }
  call->fault = fault;
  return DSM_CORRUPT;
}

static void mark(dsm_walk *walk, uint64_t version, uint64_t key_hash) {
  if (walk->incremental) walk->marks[walk->mark_count++] = (dsm_mark){version, key_hash};
}

/* Writes or pins one object. *full: there is no room, so it was left for the next slice. */
static dsm_status write_object(dsm_call *call, dsm_walk *walk, dsm_slice *slice, unsigned node,
                               uint64_t slot, bool *full) {
  dsm_header header;
  uint64_t hash;
  DSM_TRY(dsm_slot_object(call, node, walk->stripe, slot, &header, &hash));
  if (header.version > walk->gen || walk->hidden[header.region % DSM_REGIONS_MAX]) return DSM_OK;
  source object = source_at(call->space, node, slot, &header, hash);
  const char *what = "object's checksum differs";
  if (header.version <= walk->after) {
    mark(walk, header.version, hash);
    return DSM_OK;
  }
  if (!is_large(&header)) {
    *full = slice->used + record_bytes(&header) > DSM_FRAME_BYTES_MAX;
    if (*full) return DSM_OK;
    if (!append(walk, slice, &object))
      return dsm_fail(call, DSM_CORRUPT, what, (int)node, walk->stripe, slot, header.version);
  } else {
    object.settled = 0; /* the header now, the value once it is pinned and the lock dropped */
    if (!sound(&object, NULL))
      return dsm_fail(call, DSM_CORRUPT, what, (int)node, walk->stripe, slot, header.version);
    uint32_t pin = dsm_pin_claim(call->space, node, dsm_slot_offset(slot) / DSM_ARENA_PAGE_BYTES);
    if (pin == DSM_PIN_NONE)
      return dsm_fail(call, DSM_TOO_MANY, "pins of this process", -1, walk->stripe, DSM_PINS_MAX,
                      0);
    begin_large(walk, &object, pin);
    walk->large.node = node;
    walk->large.slot = slot;
  }
  mark(walk, header.version, hash);
  return DSM_OK;
}

/* The replica whose table is read: the first that holds every region and whose words verify. */
static dsm_status find_table(dsm_call *call, dsm_walk *walk, const dsm_route *route, unsigned *node,
                             dsm_table *table) {
  uint32_t fewest = DSM_REPLICAS_MAX;
  for (uint32_t i = 0; i < DSM_REGIONS_MAX; i++) {
    const dsm_region_shm *region = dsm_space_region(call->space, i);
    if (region->name_bytes && !walk->hidden[i] && region->replicas < fewest)
      fewest = region->replicas;
  }
  dsm_status status = DSM_CORRUPT;
  for (uint32_t i = 0; i < route->count && (i == 0 || i < fewest) && status == DSM_CORRUPT; i++) {
    *node = route->nodes[i];
    status = dsm_table_read(call, *node, walk->stripe, table);
  }
  return status;
}

/* The object of a slot that comes up soon, NULL if there is none. */
static const dsm_object_shm *coming(const dsm_space *space, unsigned node, const dsm_table *table,
                                    uint32_t at) {
  if (at >= table->capacity) return NULL;
  uint64_t slot = dsm_load_relaxed_u64(&table->slots[at]);
  if (slot <= DSM_SLOT_TOMBSTONE || !dsm_offset_fits(space, dsm_slot_offset(slot))) return NULL;
  return dsm_object_at(space, node, dsm_slot_offset(slot));
}

static void ask_for_group(const dsm_space *space, unsigned node, const dsm_table *table,
                          uint32_t at) {
  for (uint32_t end = at + AHEAD_GROUP; at < end; at++) {
    const dsm_object_shm *object = coming(space, node, table, at);
    if (object) __builtin_prefetch(object);
  }
}

/* Its length is believed for nothing else: an address that is not there is no fault. */
static void ask_for_whole(const dsm_space *space, unsigned node, const dsm_table *table,
                          uint32_t at) {
  const dsm_object_shm *object = coming(space, node, table, at);
  if (!object) return;
  dsm_header header;
  dsm_header_read(object, &header);
  uint64_t bytes = header.value_offset + header.value_bytes;
  if (bytes > AHEAD_BYTES) bytes = AHEAD_BYTES;
  for (uint64_t line = DSM_LINE_BYTES; line < bytes; line += DSM_LINE_BYTES)
    __builtin_prefetch((const uint8_t *)object + line);
}

static void ask_ahead(const dsm_space *space, unsigned node, const dsm_table *table, uint32_t at,
                      uint32_t looked) {
  if (looked == 0) {
    ask_for_group(space, node, table, at);
    for (uint32_t i = 0; i < AHEAD_SLOTS; i++) ask_for_whole(space, node, table, at + i);
  }
  if (looked % AHEAD_GROUP == 0) ask_for_group(space, node, table, at + AHEAD_GROUP);
  ask_for_whole(space, node, table, at + AHEAD_SLOTS);
}

dsm_status dsm_slice_fill(dsm_call *call, dsm_walk *walk, const dsm_route *route,
                          dsm_slice *slice) {
  unsigned node;
  dsm_table table;
  DSM_TRY(find_table(call, walk, route, &node, &table));
  uint64_t word = dsm_load_relaxed_u64(&dsm_space_sub(call->space, node, walk->stripe)->table) ^
                  (uint64_t)node << 56;
  if (walk->slot && word != walk->table_word) walk->slot = 0, walk->mark_count = 0;
  walk->table_word = word;
  bool full = false;
  uint32_t end = table.slots ? table.capacity : 0;
  for (uint32_t looked = 0; walk->slot < end && looked < DSM_WALK_SLOTS; looked++, walk->slot++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[walk->slot]), other;
    unsigned place = node;
    ask_ahead(call->space, node, &table, walk->slot, looked);
    if (slot == DSM_SLOT_EMPTY || slot == DSM_SLOT_TOMBSTONE) continue;
    dsm_status status = write_object(call, walk, slice, node, slot, &full);
    if (DSM_UNLIKELY(status == DSM_CORRUPT)) {
      DSM_TRY(salvage(call, walk->stripe, route, slot, walk->gen, &place, &other));
      status = write_object(call, walk, slice, place, other, &full);
    }
    DSM_TRY(status);
    if (full) return DSM_OK;
    if (walk->large.active || slice->used > DSM_WALK_BYTES) {
      walk->slot++;
      break;
    }
  }
  walk->walked = walk->slot >= end;
  return DSM_OK;
}

/* The saved object as a source; false if it does not hang together. */
static bool saved_source(const dsm_space *space, const dsm_saved_shm *saved, source *out) {
  dsm_header_decode(&out->header, saved->version, saved->shape, saved->binding);
  const dsm_header *header = &out->header;
  out->key = (const uint8_t *)(saved + 1);
  out->value = out->key + header->key_bytes;
  out->settled = 0;
  uint64_t value_bytes = header->value_bytes;
  if (saved->pinned) {
    unsigned node = (unsigned)(saved->pinned >> 56) - 1;
    uint64_t offset = saved->pinned & ((1ull << 56) - 1);
    value_bytes = 0;
    if (node >= space->node_count || !dsm_space_present(space, node) ||
        !dsm_offset_fits(space, offset) || !dsm_object_fits(space, offset, header))
      return false;
    dsm_object_shm *object = dsm_object_at(space, node, offset);
    out->value = (const uint8_t *)object + header->value_offset;
    out->settled_word = dsm_object_settled(object);
    if (dsm_load_relaxed_u64(&object->shape) != saved->shape ||
        dsm_load_relaxed_u64(&object->binding) != saved->binding)
      return false;
  }
  if (saved->bytes != header->key_bytes + value_bytes) return false;
  out->key_hash =
      dsm_key_hash(space, out->key, header->key_bytes, header->key_kind, header->region);
  return true;
}

dsm_status dsm_slice_saved(dsm_call *call, dsm_walk *walk, dsm_slice *slice) {
  for (uint32_t looked = 0; walk->saved && looked < DSM_WALK_SLOTS; looked++) {
    const dsm_saved_shm *saved;
    source object;
    DSM_TRY(dsm_cut_saved(call, walk->saved, walk->stripe, &saved));
    bool good = saved_source(call->space, saved, &object);
    bool known = good && object.header.version <= walk->after;
    if (good && !known && saved->pinned) {
      begin_large(walk, &object, DSM_PIN_NONE);
    } else if (good && !known) {
      if (slice->used + record_bytes(&object.header) > DSM_FRAME_BYTES_MAX) return DSM_OK;
      good = append(walk, slice, &object);
    }
    if (!good)
      return dsm_fail(call, DSM_CORRUPT, "saved object of the checkpoint", -1, walk->stripe,
                      walk->saved, saved->version);
    mark(walk, object.header.version, object.key_hash);
    walk->saved = saved->next;
    if (walk->large.active) return DSM_OK;
  }
  return DSM_OK;
}

/* Whether the pinned value is what was put, as far as its checksum was settled. */
static bool value_holds(const dsm_walk_value *large) {
  const dsm_atomic_u64 *settled = large->settled;
  uint64_t expected = settled ? dsm_load_acquire_u64(settled) : 0;
  return expected == 0 || expected == dsm_value_hash(large->value, large->record.value_bytes);
}

dsm_status dsm_slice_value_verify(dsm_call *call, dsm_walk *walk) {
  dsm_walk_value *large = &walk->large;
  if (value_holds(large)) return DSM_OK;
  dsm_route route;
  dsm_header header;
  uint64_t hash, other = 0, slot = large->slot;
  unsigned node = large->node;
  bool ours = large->pin != DSM_PIN_NONE;
  dsm_fail(call, DSM_CORRUPT, "value's checksum differs", (int)node, walk->stripe, slot,
           large->record.version);
  if (!ours) return DSM_CORRUPT;
  dsm_fault fault = call->fault;
  DSM_TRY(dsm_stripe_take(call, walk->stripe, &route));
  call->fault = fault;
  dsm_status status = salvage(call, walk->stripe, &route, slot, walk->gen, &node, &other);
  if (status == DSM_OK) status = dsm_slot_object(call, node, walk->stripe, other, &header, &hash);
  uint32_t pin = DSM_PIN_NONE;
  if (status == DSM_OK && header.version == large->record.version)
    pin = dsm_pin_claim(call->space, node, dsm_slot_offset(other) / DSM_ARENA_PAGE_BYTES);
  dsm_stripe_drop(call, walk->stripe, &route);
  if (pin == DSM_PIN_NONE) return DSM_CORRUPT;
  dsm_pin_release(call->space, large->pin);
  source object = source_at(call->space, node, other, &header, hash);
  begin_large(walk, &object, pin);
  return DSM_OK;
}
