/* The short way of a read: a small value that is where it mostly is.
 *
 * dsm_peek_find finds an object without flags whose key sits in the table, and validates nothing:
 * the caller copies the value, of at most DSM_PEEK_BYTES_MAX bytes, and believes the copy only if
 * dsm_peek_holds says so, which validates once and compares the checksum. Whatever is unusual
 * (absent, large, damaged, overtaken by a writer) is left to dsm_read_begin, which tells what it
 * is.
 *
 * Inline, because a call costs a tenth of a look-up. Takes no lock and leaves nothing (read.h).
 */
#ifndef DSM_STORE_PEEK_H
#define DSM_STORE_PEEK_H

#include "read.h"

#define DSM_PEEK_BYTES_MAX 4096u
_Static_assert(DSM_PEEK_BYTES_MAX < DSM_LAZY_BYTES_MIN, "small values carry their checksum");

typedef struct dsm_peek {
  const uint8_t *value;
  uint32_t value_bytes;
  uint32_t stripe;
  uint64_t version, shape, binding;
  uint64_t route_word, gen_word;
  const dsm_sub_shm *sub;
} dsm_peek;

static inline uint8_t dsm_peek_codec(const dsm_peek *peek) {
  return (uint8_t)(peek->shape >> 40);
}

/* True if the object in the slot is a small one with that key, as far as its bytes tell. */
static inline bool dsm__peek_object(const dsm_space *space, const dsm_key *key, unsigned node,
                                    uint64_t offset, dsm_peek *out) {
  if (DSM_UNLIKELY(!dsm_offset_fits(space, offset))) return false;
  const dsm_object_shm *object = dsm_object_at(space, node, offset);
  const uint8_t *bytes = (const uint8_t *)object;
  /* The two lines in which the rest of a small object may lie. */
  __builtin_prefetch(bytes + DSM_LINE_BYTES - DSM_GRAIN_BYTES);
  __builtin_prefetch(bytes + 2 * DSM_LINE_BYTES - DSM_GRAIN_BYTES);
  out->version = dsm_load_relaxed_u64(&object->version);
  out->shape = dsm_load_relaxed_u64(&object->shape);
  out->binding = dsm_load_relaxed_u64(&object->binding);
  uint64_t value_bytes = out->shape & ((1ull << 40) - 1);
  if (DSM_UNLIKELY(out->version == 0 || out->shape >> 48 != (uint64_t)key->kind << 8 ||
                   (uint32_t)out->binding != ((uint32_t)key->region << 16 | key->length) ||
                   value_bytes > DSM_PEEK_BYTES_MAX))
    return false;
  uint64_t value_offset = sizeof *object + key->length;
  if (DSM_UNLIKELY(value_offset + value_bytes > space->layout.node_bytes - offset)) return false;
  out->value = bytes + value_offset;
  out->value_bytes = (uint32_t)value_bytes;
  return dsm_copy_compare(bytes + sizeof *object, key->bytes, key->length) == 0;
}

/* False: take the long way. */
static inline bool dsm_peek_find(const dsm_space *space, const dsm_key *key, dsm_peek *out) {
  out->stripe = dsm_key_stripe(space, key->hash);
  out->route_word = dsm_load_acquire_u64(dsm_space_route(space, out->stripe));
  int primary = dsm_route_primary(space, out->route_word, out->stripe);
  if (DSM_UNLIKELY(primary < 0 || key->length > 0xFFFF)) return false;
  unsigned node = (unsigned)primary;
  out->sub = dsm_space_sub(space, node, out->stripe);
  out->gen_word = dsm_load_acquire_u64(&out->sub->gen);
  dsm_table table;
  if (DSM_UNLIKELY(!dsm_table_decode(space, node, out->stripe,
                                     dsm_load_acquire_u64(&out->sub->table), &table) ||
                   !table.slots))
    return false;
  uint32_t at = dsm_slot_home(key->hash, table.capacity);
  for (uint32_t step = 0; step < table.capacity; step++) {
    uint64_t slot = dsm_load_acquire_u64(&table.slots[at]);
    if (dsm_slot_tagged(slot, key->hash))
      return dsm__peek_object(space, key, node, dsm_slot_offset(slot), out);
    if (DSM_UNLIKELY(slot == DSM_SLOT_EMPTY)) return false;
    if (++at == table.capacity) at = 0;
  }
  return false;
}

/* True if nothing changed while the value was copied, and the copy is what was put. */
static inline bool dsm_peek_holds(const dsm_space *space, const dsm_key *key, const dsm_peek *peek,
                                  const void *copy) {
  dsm_fence_acquire();
  return dsm_load_relaxed_u64(&peek->sub->gen) == peek->gen_word &&
         dsm_load_relaxed_u64(dsm_space_route(space, peek->stripe)) == peek->route_word &&
         (uint32_t)(peek->binding >> 32) ==
             dsm_object_checksum(peek->version, peek->shape, peek->binding, key->hash,
                                 dsm_value_hash(copy, peek->value_bytes));
}

#endif
