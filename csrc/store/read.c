/* The read path. */
#include "read.h"

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "../mem/pin.h"
#include "route_restore.h"

#define RETRIES_BEFORE_YIELD 256

typedef enum probe {
  PROBE_HIT,
  PROBE_MISS,
  PROBE_CHANGED, /* what was read does not hang together: validate, then repeat or report */
} probe;

/* Looks at one candidate slot: is it our key? Nothing read here is trusted before validation. */
static probe candidate(const dsm_space *space, const dsm_key *key, uint64_t slot, dsm_read *out) {
  uint64_t offset = dsm_slot_offset(slot);
  if (DSM_UNLIKELY(!dsm_offset_fits(space, offset))) return PROBE_CHANGED;
  const dsm_object_shm *object = dsm_object_at(space, out->node, offset);
  __builtin_prefetch((const uint8_t *)object + DSM_LINE_BYTES); /* the value's line, beside this */
  dsm_header_read(object, &out->header);
  if (DSM_UNLIKELY(out->header.version == 0 || !dsm_object_fits(space, offset, &out->header)))
    return PROBE_CHANGED;
  out->offset = offset;
  bool same = out->header.key_bytes == key->length && out->header.key_kind == key->kind &&
              out->header.region == key->region &&
              dsm_copy_compare((const uint8_t *)object + out->header.key_offset, key->bytes,
                               key->length) == 0;
  if (DSM_LIKELY(same)) return PROBE_HIT;
  /* Two keys may share a tag, but a key that does not have the slot's tag is damage. */
  uint64_t hash = dsm_key_hash(space, (const uint8_t *)object + out->header.key_offset,
                               out->header.key_bytes, out->header.key_kind, out->header.region);
  return dsm_slot_tagged(slot, hash) ? PROBE_MISS : PROBE_CHANGED;
}

/* True if the slot names what cannot be an object: it is damaged. */
static bool stray(const dsm_space *space, uint64_t slot) {
  return slot != DSM_SLOT_TOMBSTONE && !dsm_offset_fits(space, dsm_slot_offset(slot));
}

/* Another key's slot on the way: does it name that key's object? */
static bool others_slot_holds(const dsm_space *space, unsigned node, uint64_t slot) {
  dsm_header header;
  uint64_t offset = dsm_slot_offset(slot);
  if (slot == DSM_SLOT_TOMBSTONE) return true;
  const dsm_object_shm *object = dsm_object_at(space, node, offset);
  dsm_header_read(object, &header);
  return header.version != 0 && dsm_object_fits(space, offset, &header) &&
         dsm_slot_tagged(slot, dsm_key_hash(space, (const uint8_t *)object + header.key_offset,
                                            header.key_bytes, header.key_kind, header.region));
}

/* `alone`: no backup bears out a miss, so the slots on the way must. */
static probe probe_table(const dsm_space *space, const dsm_key *key, const dsm_table *table,
                         bool alone, dsm_read *out) {
  uint32_t at = dsm_slot_home(key->hash, table->capacity);
  bool odd = false;
  for (uint32_t step = 0; step < table->capacity; step++) {
    uint64_t slot = dsm_load_acquire_u64(&table->slots[at]);
    if (slot == DSM_SLOT_EMPTY) break;
    if (dsm_slot_tagged(slot, key->hash)) {
      probe result = candidate(space, key, slot, out);
      if (result != PROBE_MISS) return result;
    } else {
      odd |= stray(space, slot) || (alone && !others_slot_holds(space, out->node, slot));
    }
    if (++at == table->capacity) at = 0;
  }
  return odd ? PROBE_CHANGED : PROBE_MISS;
}

/* The caller makes room for as many bytes as the header says, so a long value's header is verified
 * before it is believed; a short one's is with its value. */
static bool length_holds(const dsm_read *read) {
  if (DSM_LIKELY(read->header.value_bytes < DSM_LAZY_BYTES_MIN)) return true;
  return read->header.flags & DSM_OBJECT_LAZY && dsm_read_header_holds(read, 0);
}

/* One look at the sub of a node. */
static inline dsm_status look(dsm_call *call, const dsm_key *key, bool alone, dsm_read *out) {
  const dsm_space *space = call->space;
  DSM_CRASH_POINT("read.routed"); /* where tests let others change what is looked at */
  out->sub = dsm_space_sub(space, out->node, out->stripe);
  out->gen_word = dsm_load_acquire_u64(&out->sub->gen);
  out->offset = 0;
  dsm_table table;
  probe result = PROBE_CHANGED;
  if (DSM_LIKELY(dsm_table_decode(space, out->node, out->stripe,
                                  dsm_load_acquire_u64(&out->sub->table), &table)))
    result = table.slots ? probe_table(space, key, &table, alone, out) : PROBE_MISS;
  if (DSM_UNLIKELY(!dsm_read_valid(space, out))) return DSM_RETRY;
  if (DSM_LIKELY(result == PROBE_HIT && length_holds(out))) return DSM_OK;
  if (result == PROBE_MISS) return DSM_NOT_FOUND;
  return dsm_fail(call, DSM_CORRUPT, "slot or table of the stripe is damaged", (int)out->node,
                  out->stripe, out->gen_word, out->offset);
}

dsm_status dsm_read_look(dsm_call *call, const dsm_key *key, uint32_t replica, dsm_read *out) {
  dsm_route route;
  out->epoch = dsm_space_epoch(call->space);
  out->route_word = dsm_load_acquire_u64(dsm_space_route(call->space, out->stripe));
  if (!dsm_route_unseal(call->space, out->route_word, out->stripe, &route)) {
    DSM_TRY(dsm_route_read(call, out->stripe, &route));
    return DSM_RETRY;
  }
  if (replica >= route.count) return DSM_RETRY;
  out->node = route.nodes[replica];
  return look(call, key, false, out);
}

dsm_status dsm_read_look_alone(dsm_call *call, const dsm_key *key, dsm_read *out) {
  return look(call, key, true, out);
}

dsm_status dsm_read_begin(dsm_call *call, const dsm_key *key, dsm_read *out) {
  const dsm_space *space = call->space;
  out->stripe = dsm_key_stripe(space, key->hash);
  out->key_hash = key->hash;
  out->pin = DSM_PIN_NONE;
  out->tried = 0;
  for (unsigned retries = 1;; retries++) {
    out->epoch = dsm_space_epoch(space);
    out->route_word = dsm_load_acquire_u64(dsm_space_route(space, out->stripe));
    int primary = dsm_route_primary(space, out->route_word, out->stripe);
    if (DSM_UNLIKELY(primary < 0)) {
      dsm_route route;
      DSM_TRY(dsm_route_read(call, out->stripe, &route));
      continue;
    }
    out->node = (unsigned)primary;
    dsm_status status = look(call, key, space->replicas == 1, out);
    if (DSM_LIKELY(status == DSM_OK && out->header.codec != DSM_CODEC_LOST)) return DSM_OK;
    if (status != DSM_RETRY) {
      status = dsm_read_doubted(call, key, status, out);
      if (status != DSM_RETRY) return status;
    }
    dsm_nodes_catch_up(call);
    if (retries % RETRIES_BEFORE_YIELD == 0) dsm_os_yield();
  }
}

static dsm_status damaged(dsm_call *call, const dsm_read *read, const char *what) {
  return dsm_fail(call, DSM_CORRUPT, what, (int)read->node, read->stripe, read->offset,
                  read->header.version);
}

static uint64_t settled_of(const dsm_space *space, const dsm_read *read) {
  const uint8_t *object = dsm_read_object(space, read);
  return dsm_load_relaxed_u64((const dsm_atomic_u64 *)(const void *)object + 3);
}

/* A value whose checksum is not settled, in memory that was zeroed while it was copied: then the
 * words before it, which do not change while the object is pinned or its generation stands, have
 * gone too. */
static bool still_there(const dsm_space *space, const dsm_read *read) {
  const dsm_object_shm *object = (const dsm_object_shm *)(const void *)dsm_read_object(space, read);
  dsm_fence_acquire();
  return dsm_load_relaxed_u64(&object->shape) == read->header.shape &&
         dsm_load_relaxed_u64(&object->binding) == read->header.binding;
}

dsm_status dsm_read_copy(dsm_call *call, const dsm_read *read, void *target) {
  const dsm_space *space = call->space;
  const dsm_header *header = &read->header;
  dsm_copy_out(target, dsm_read_value(space, read), header->value_bytes);
  uint64_t settled = 0;
  if (header->flags & DSM_OBJECT_LAZY) settled = settled_of(space, read);
  if (read->pin == DSM_PIN_NONE && DSM_UNLIKELY(!dsm_read_valid(space, read))) return DSM_RETRY;
  if (header->flags & DSM_OBJECT_LAZY) {
    if (DSM_UNLIKELY(!dsm_read_header_holds(read, 0)))
      return damaged(call, read, "header's checksum differs");
    if (settled ? DSM_UNLIKELY(settled != dsm_value_hash(target, header->value_bytes))
                : DSM_UNLIKELY(!still_there(space, read)))
      return damaged(call, read, "value's checksum differs");
    return DSM_OK;
  }
  if (DSM_UNLIKELY(!dsm_read_header_holds(read, dsm_value_hash(target, header->value_bytes))))
    return damaged(call, read, "object's checksum differs");
  return DSM_OK;
}

dsm_status dsm_read_pin(dsm_call *call, dsm_read *read) {
  dsm_space *space = call->space;
  if (!(read->header.flags & DSM_OBJECT_ALIGNED)) return DSM_USAGE;
  uint32_t pin = dsm_pin_claim(space, read->node, read->offset / DSM_ARENA_PAGE_BYTES);
  if (pin == DSM_PIN_NONE)
    return dsm_fail(call, DSM_TOO_MANY, "pins of this process", -1, read->stripe, DSM_PINS_MAX, 0);
  if (!dsm_read_valid(space, read)) {
    dsm_pin_release(space, pin);
    return DSM_RETRY;
  }
  if (read->header.flags & DSM_OBJECT_LAZY && !dsm_read_header_holds(read, 0)) {
    dsm_pin_release(space, pin);
    return damaged(call, read, "header's checksum differs");
  }
  read->pin = pin;
  return DSM_OK;
}

void dsm_read_unpin(dsm_space *space, dsm_read *read) {
  if (read->pin == DSM_PIN_NONE) return;
  dsm_pin_release(space, read->pin);
  read->pin = DSM_PIN_NONE;
}

dsm_status dsm_read_verify(dsm_call *call, const dsm_read *read) {
  const dsm_space *space = call->space;
  uint64_t expected = 0,
           hash = dsm_value_hash(dsm_read_value(space, read), read->header.value_bytes);
  if (!(read->header.flags & DSM_OBJECT_LAZY))
    return dsm_read_header_holds(read, hash) ? DSM_OK
                                             : damaged(call, read, "object's checksum differs");
  expected = settled_of(space, read);
  bool good = expected ? expected == hash : still_there(space, read);
  return good ? DSM_OK : damaged(call, read, "value's checksum differs");
}
