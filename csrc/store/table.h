/* Sub-tables: the slots of one stripe at one node. Open addressing, linear probing.
 *
 * A slot is one word: 36 bits of grain offset under 28 bits of the key's hash; two small constants
 * say empty and tombstone. The table's place and capacity are one sealed word of the sub, so that a
 * reader takes both in one load. The first word of a table's extent marks it live; the slots
 * follow. The smallest table lies in the sub itself, behind the table word, which is its mark.
 *
 *   I  slots do not move within a table; a table grows by copy and publish (one word)
 *   I  a live slot names a live object whose hash has the slot's tag: anything else is damage
 * Readers (read.c) probe without the lock and validate afterwards; all functions here need it.
 */
#ifndef DSM_STORE_TABLE_H
#define DSM_STORE_TABLE_H

#include "object.h"
#include "slab.h"

/* No object lies below the first page that is handed out, so a word up to TOMBSTONE names none. Not
 * 0, and ten bits apart from each other: a zeroed slot is one that lost its key, and does not end
 * the probing, or a later put and delete of a key behind it would bring its old value back. */
#define DSM_SLOT_EMPTY 0x155ull
#define DSM_SLOT_TOMBSTONE 0x2AAull
#define DSM_TABLE_SIZES 20u /* 6 slots to 2^22 - 1 */
#define DSM_TABLE_INLINE 0u

typedef struct dsm_table {
  dsm_atomic_u64 *slots; /* NULL: no table yet */
  uint64_t offset;       /* of the extent */
  uint32_t capacity;
  unsigned size; /* index of the capacity */
} dsm_table;

typedef struct dsm_found {
  dsm_atomic_u64 *slot; /* of the key, or where it would go; NULL without a table */
  uint64_t slot_word;   /* as read; EMPTY or TOMBSTONE if the key is absent */
  uint64_t offset;      /* of the object; 0 if absent */
  dsm_header header;    /* of the object, if present */
} dsm_found;

static inline uint32_t dsm_table_capacity(unsigned size) {
  return size == DSM_TABLE_INLINE ? DSM_INLINE_SLOTS : (8u << size) - 1;
}

/* Bytes of the table: in the sub for size 0, an extent of a slab up to size 3, a run above. */
static inline uint64_t dsm_table_bytes(unsigned size) {
  return 8ull * (dsm_table_capacity(size) + 1);
}

static inline uint64_t dsm_slot_make(uint64_t offset, uint64_t hash) {
  return offset / DSM_GRAIN_BYTES | hash << 36;
}

static inline uint64_t dsm_slot_offset(uint64_t slot) {
  return (slot & ((1ull << 36) - 1)) * DSM_GRAIN_BYTES;
}

static inline bool dsm_slot_tagged(uint64_t slot, uint64_t hash) {
  return slot >> 36 == (hash << 36) >> 36 && slot > DSM_SLOT_TOMBSTONE;
}

static inline uint32_t dsm_slot_home(uint64_t hash, uint32_t capacity) {
  return (uint32_t)(((hash >> 20 & UINT32_MAX) * capacity) >> 32);
}

/* Unseals a table word; false if damaged. A word of 0 is no table (slots NULL). */
static inline bool dsm_table_decode(const dsm_space *space, unsigned node, uint32_t stripe,
                                    uint64_t word, dsm_table *out) {
  bool ok;
  dsm_locator locator = dsm_locator_make(
      node + 1, space->layout.subs + stripe * sizeof(dsm_sub_shm) + offsetof(dsm_sub_shm, table));
  uint64_t value = dsm_unseal(word, locator, &ok);
  out->size = (unsigned)(value & 63);
  out->offset = (value >> 6) * DSM_GRAIN_BYTES;
  if (DSM_UNLIKELY(!ok || out->size >= DSM_TABLE_SIZES)) return false;
  out->capacity = dsm_table_capacity(out->size);
  if (DSM_UNLIKELY(value == 0)) {
    out->slots = NULL;
    return true;
  }
  if (DSM_UNLIKELY(out->offset + dsm_table_bytes(out->size) > space->layout.node_bytes))
    return false;
  out->slots = (dsm_atomic_u64 *)(void *)(space->nodes[node].base + out->offset) + 1;
  return true;
}

static inline dsm_object_shm *dsm_object_at(const dsm_space *space, unsigned node,
                                            uint64_t offset) {
  return (dsm_object_shm *)(void *)(space->nodes[node].base + offset);
}

/* True if header, key and value lie inside the segment. */
static inline bool dsm_object_fits(const dsm_space *space, uint64_t offset,
                                   const dsm_header *header) {
  return (header->flags & ~DSM_OBJECT_FLAGS) == 0 &&
         header->value_offset + header->value_bytes <= space->layout.node_bytes - offset;
}

/* True if the smallest extent of an object, two grains, lies inside the segment. */
static inline bool dsm_offset_fits(const dsm_space *space, uint64_t offset) {
  return offset >= space->layout.data && offset + 2 * DSM_GRAIN_BYTES <= space->layout.node_bytes;
}

dsm_status dsm_table_read(dsm_call *call, unsigned node, uint32_t stripe, dsm_table *out);

/* Finds the key, or the slot where it would be put. DSM_OK in both cases (see `offset`). */
dsm_status dsm_table_probe(dsm_call *call, unsigned node, uint32_t stripe, const dsm_table *table,
                           const dsm_key *key, dsm_found *out);
/* The same, reading the table's place first. */
dsm_status dsm_table_find(dsm_call *call, unsigned node, uint32_t stripe, const dsm_key *key,
                          dsm_found *out);

/* True if every slot that a look-up of that hash passes names an object with the slot's tag. */
bool dsm_table_way_holds(dsm_call *call, unsigned node, uint32_t stripe, const dsm_table *table,
                         uint64_t hash);

/* Reads and verifies the header and key of the object in a live slot; its key hash in *hash. */
dsm_status dsm_slot_object(dsm_call *call, unsigned node, uint32_t stripe, uint64_t slot,
                           dsm_header *header, uint64_t *hash);

/* The same, and compares the checksums of the object; *key borrows the bytes of its key. */
dsm_status dsm_slot_verify(dsm_call *call, unsigned node, uint32_t stripe, uint64_t slot,
                           dsm_header *header, dsm_key *key);

/* Makes sure that so many more keys fit; may replace the table (its own intent), so find again. */
dsm_status dsm_table_reserve_for(dsm_call *call, unsigned node, uint32_t stripe, uint64_t more,
                                 bool *moved);
static inline dsm_status dsm_table_reserve(dsm_call *call, unsigned node, uint32_t stripe,
                                           bool *moved) {
  return dsm_table_reserve_for(call, node, stripe, 1, moved);
}

/* Lists the end of an empty table: the sub goes back to having none. Before dsm_slab_finish. */
void dsm_table_drop(dsm_log *log, unsigned node, uint32_t stripe);

#endif
