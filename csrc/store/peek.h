/* The short way of a read: a small value that is where it mostly is.
 *
 * dsm_peek_find finds an object without flags whose key sits in the table, and validates nothing:
 * the caller copies the value, of at most DSM_PEEK_BYTES_MAX bytes, and believes the copy only if
 * dsm_peek_holds says so, which validates once and compares the checksum. Whatever is unusual
 * (absent, large, damaged, overtaken by a writer) is left to dsm_read_begin, which tells what it
 * is.
 *
 * A batch takes each step for all its keys before the next, so that their misses overlap. The
 * generation is read in the second step and holds for all that is read after it.
 *
 * Inline, because a call costs a tenth of a look-up. Takes no lock and leaves nothing (read.h).
 */
#ifndef DSM_STORE_PEEK_H
#define DSM_STORE_PEEK_H

#include "read.h"

#define DSM_PEEK_BYTES_MAX DSM_SMALL_BYTES_MAX /* larger objects have a run of their own */
_Static_assert(DSM_PEEK_BYTES_MAX < DSM_LAZY_BYTES_MIN, "small values carry their checksum");

typedef struct dsm_peek {
  const uint8_t *value;
  uint32_t value_bytes;
  uint32_t stripe;
  uint64_t version, shape, binding;
  uint64_t epoch, route_word, gen_word;
  const dsm_sub_shm *sub;
  dsm_table table;
  uint64_t offset; /* of the object */
  int node;        /* -1: take the long way */
} dsm_peek;

static inline uint8_t dsm_peek_codec(const dsm_peek *peek) {
  return (uint8_t)(peek->shape >> 40);
}

/* The steps, each of which asks for the line that the next one needs. */
static inline void dsm_peek_head(const dsm_space *space, const dsm_key *key, dsm_peek *out) {
  out->stripe = dsm_key_stripe(space, key->hash);
  out->epoch = dsm_space_epoch(space);
  out->route_word = dsm_load_acquire_u64(dsm_space_route(space, out->stripe));
  out->node = dsm_route_primary(space, out->route_word, out->stripe);
  if (DSM_UNLIKELY(out->node < 0)) return;
  out->sub = dsm_space_sub(space, (unsigned)out->node, out->stripe);
  __builtin_prefetch(out->sub);
}

static inline void dsm_peek_table(const dsm_space *space, const dsm_key *key, dsm_peek *out) {
  if (DSM_UNLIKELY(out->node < 0)) return;
  out->gen_word = dsm_load_acquire_u64(&out->sub->gen);
  if (DSM_UNLIKELY(!dsm_table_decode(space, (unsigned)out->node, out->stripe,
                                     dsm_load_acquire_u64(&out->sub->table), &out->table) ||
                   !out->table.slots))
    out->node = -1;
  else
    __builtin_prefetch(&out->table.slots[dsm_slot_home(key->hash, out->table.capacity)]);
}

static inline void dsm_peek_slot(const dsm_space *space, const dsm_key *key, dsm_peek *out) {
  if (DSM_UNLIKELY(out->node < 0)) return;
  uint32_t capacity = out->table.capacity, at = dsm_slot_home(key->hash, capacity);
  for (uint32_t step = 0; step < capacity; step++) {
    uint64_t slot = dsm_load_acquire_u64(&out->table.slots[at]);
    if (dsm_slot_tagged(slot, key->hash)) {
      out->offset = dsm_slot_offset(slot);
      if (DSM_UNLIKELY(!dsm_offset_fits(space, out->offset))) break;
      /* The lines in which a small object may lie. */
      const uint8_t *object =
          (const uint8_t *)dsm_object_at(space, (unsigned)out->node, out->offset);
      __builtin_prefetch(object);
      __builtin_prefetch(object + DSM_LINE_BYTES - DSM_GRAIN_BYTES);
      __builtin_prefetch(object + 2 * DSM_LINE_BYTES - DSM_GRAIN_BYTES);
      return;
    }
    if (DSM_UNLIKELY(slot == DSM_SLOT_EMPTY)) break;
    if (++at == capacity) at = 0;
  }
  out->node = -1;
}

/* True if the object is a small one with that key, as far as its bytes tell. */
static inline bool dsm_peek_object(const dsm_space *space, const dsm_key *key, dsm_peek *out) {
  if (DSM_UNLIKELY(out->node < 0)) return false;
  const dsm_object_shm *object = dsm_object_at(space, (unsigned)out->node, out->offset);
  const uint8_t *bytes = (const uint8_t *)object;
  out->version = dsm_load_relaxed_u64(&object->version);
  out->shape = dsm_load_relaxed_u64(&object->shape);
  out->binding = dsm_load_relaxed_u64(&object->binding);
  uint64_t value_bytes = out->shape & ((1ull << 40) - 1);
  if (DSM_UNLIKELY(out->version == 0 || out->shape >> 48 != (uint64_t)key->kind << 8 ||
                   key->length > DSM_KEY_BYTES_MAX ||
                   (uint32_t)out->binding != ((uint32_t)key->region << 16 | key->length) ||
                   value_bytes > DSM_PEEK_BYTES_MAX))
    return false;
  uint64_t value_offset = sizeof *object + key->length;
  if (DSM_UNLIKELY(value_offset + value_bytes > space->layout.node_bytes - out->offset))
    return false;
  out->value = bytes + value_offset;
  out->value_bytes = (uint32_t)value_bytes;
  return dsm_copy_compare(bytes + sizeof *object, key->bytes, key->length) == 0;
}

/* All steps at once. False: take the long way. */
static inline bool dsm_peek_find(const dsm_space *space, const dsm_key *key, dsm_peek *out) {
  dsm_peek_head(space, key, out);
  dsm_peek_table(space, key, out);
  dsm_peek_slot(space, key, out);
  return dsm_peek_object(space, key, out);
}

/* True if nothing changed while the value was copied, and the copy is what was put. */
static inline bool dsm_peek_holds(const dsm_space *space, const dsm_key *key, const dsm_peek *peek,
                                  const void *copy) {
  dsm_fence_acquire();
  return dsm_load_relaxed_u64(&peek->sub->gen) == peek->gen_word &&
         dsm_load_relaxed_u64(dsm_space_route(space, peek->stripe)) == peek->route_word &&
         dsm_space_current(space, peek->epoch) &&
         (uint32_t)(peek->binding >> 32) ==
             dsm_object_checksum(peek->version, peek->shape, peek->binding, key->hash,
                                 dsm_value_hash(copy, peek->value_bytes));
}

#endif
