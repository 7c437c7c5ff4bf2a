/* Finding keys and growing tables, under the stripe's lock. */
#include "table.h"

#include "../base/crash.h"
#include "stripe.h"

#define USED_BITS 22
#define USED_MASK ((1ull << USED_BITS) - 1)

dsm_status dsm_table_read(dsm_call *call, unsigned node, uint32_t stripe, dsm_table *out) {
  const dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  uint64_t word = dsm_load_acquire_u64(&sub->table);
  if (!dsm_table_decode(call->space, node, stripe, word, out))
    return dsm_fail(call, DSM_CORRUPT, "table word does not verify", (int)node, stripe, word, 0);
  return DSM_OK;
}

dsm_status dsm_slot_object(dsm_call *call, unsigned node, uint32_t stripe, uint64_t slot,
                           dsm_header *header, uint64_t *hash) {
  const dsm_space *space = call->space;
  uint64_t offset = dsm_slot_offset(slot);
  if (!dsm_offset_fits(space, offset))
    return dsm_fail(call, DSM_CORRUPT, "slot points outside", (int)node, stripe, slot, offset);
  const dsm_object_shm *object = dsm_object_at(space, node, offset);
  dsm_header_read(object, header);
  if (header->version == 0 || !dsm_object_fits(space, offset, header))
    return dsm_fail(call, DSM_CORRUPT, "slot names no live object", (int)node, stripe, slot,
                    header->version);
  *hash = dsm_key_hash(space, (const uint8_t *)object + header->key_offset, header->key_bytes,
                       header->key_kind, header->region);
  if (!dsm_slot_tagged(slot, *hash) || dsm_key_stripe(space, *hash) != stripe)
    return dsm_fail(call, DSM_CORRUPT, "object's key is not the slot's", (int)node, stripe, slot,
                    *hash);
  return DSM_OK;
}

dsm_status dsm_slot_verify(dsm_call *call, unsigned node, uint32_t stripe, uint64_t slot,
                           dsm_header *header, dsm_key *key) {
  uint64_t hash;
  DSM_TRY(dsm_slot_object(call, node, stripe, slot, header, &hash));
  dsm_object_shm *object = dsm_object_at(call->space, node, dsm_slot_offset(slot));
  const uint8_t *bytes = (const uint8_t *)object;
  *key = (dsm_key){bytes + header->key_offset, header->key_bytes, header->key_kind, header->region,
                   hash};
  bool lazy = header->flags & DSM_OBJECT_LAZY;
  uint64_t settled = lazy ? dsm_load_relaxed_u64(dsm_object_settled(object)) : 0;
  uint64_t value_hash =
      lazy && settled == 0 ? 0 : dsm_value_hash(bytes + header->value_offset, header->value_bytes);
  uint32_t checksum = dsm_object_checksum(header->version, header->shape, header->binding, hash,
                                          lazy ? 0 : value_hash);
  if (checksum == (uint32_t)(header->binding >> 32) && (settled == 0 || settled == value_hash))
    return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "object's checksum differs", (int)node, stripe,
                  dsm_slot_offset(slot), header->version);
}

static bool same_key(const dsm_object_shm *object, const dsm_header *header, const dsm_key *key) {
  return header->key_bytes == key->length && header->key_kind == key->kind &&
         header->region == key->region &&
         dsm_copy_compare((const uint8_t *)object + header->key_offset, key->bytes, key->length) ==
             0;
}

/* Reads the header of the object in a slot; *same: it has that key, and so the slot's tag is true.
 * Another key must have the slot's tag as well: anything else is damage. */
static dsm_status compare_slot(dsm_call *call, unsigned node, uint32_t stripe, uint64_t slot,
                               const dsm_key *key, dsm_header *header, bool *same) {
  uint64_t offset = dsm_slot_offset(slot), hash;
  if (DSM_LIKELY(dsm_offset_fits(call->space, offset))) {
    const dsm_object_shm *object = dsm_object_at(call->space, node, offset);
    dsm_header_read(object, header);
    *same = header->version != 0 && dsm_object_fits(call->space, offset, header) &&
            same_key(object, header, key);
    if (DSM_LIKELY(*same)) return DSM_OK;
  }
  *same = false;
  return dsm_slot_object(call, node, stripe, slot, header, &hash);
}

dsm_status dsm_table_probe(dsm_call *call, unsigned node, uint32_t stripe, const dsm_table *table,
                           const dsm_key *key, dsm_found *out) {
  out->slot = NULL;
  out->slot_word = DSM_SLOT_EMPTY;
  out->offset = 0;
  if (!table->slots) return DSM_OK;
  uint32_t at = dsm_slot_home(key->hash, table->capacity);
  for (uint32_t step = 0; step < table->capacity; step++) {
    uint64_t slot = dsm_load_relaxed_u64(&table->slots[at]);
    if (slot <= DSM_SLOT_TOMBSTONE) {
      if (!out->slot) {
        out->slot = &table->slots[at];
        out->slot_word = slot;
      }
      if (slot == DSM_SLOT_EMPTY) return DSM_OK;
    } else if (dsm_slot_tagged(slot, key->hash)) {
      bool same;
      DSM_TRY(compare_slot(call, node, stripe, slot, key, &out->header, &same));
      if (same) {
        out->slot = &table->slots[at];
        out->slot_word = slot;
        out->offset = dsm_slot_offset(slot);
        return DSM_OK;
      }
    }
    if (++at == table->capacity) at = 0;
  }
  if (!out->slot)
    return dsm_fail(call, DSM_CORRUPT, "table has no empty slot", (int)node, stripe,
                    table->capacity, 0);
  return DSM_OK;
}

bool dsm_table_way_holds(dsm_call *call, unsigned node, uint32_t stripe, const dsm_table *table,
                         uint64_t hash) {
  if (!table->slots) return true;
  uint32_t at = dsm_slot_home(hash, table->capacity);
  for (uint32_t step = 0; step < table->capacity; step++) {
    uint64_t slot = dsm_load_relaxed_u64(&table->slots[at]), others;
    dsm_header header;
    if (slot == DSM_SLOT_EMPTY) return true;
    if (slot != DSM_SLOT_TOMBSTONE &&
        dsm_slot_object(call, node, stripe, slot, &header, &others) != DSM_OK)
      return false;
    if (++at == table->capacity) at = 0;
  }
  return true;
}

dsm_status dsm_table_find(dsm_call *call, unsigned node, uint32_t stripe, const dsm_key *key,
                          dsm_found *out) {
  dsm_table table;
  DSM_TRY(dsm_table_read(call, node, stripe, &table));
  return dsm_table_probe(call, node, stripe, &table, key, out);
}

static unsigned size_for(uint64_t live) {
  unsigned size = live < DSM_INLINE_SLOTS - 1 ? DSM_TABLE_INLINE : 1;
  while (size > 0 && size + 1 < DSM_TABLE_SIZES &&
         live * 8 > (uint64_t)dsm_table_capacity(size) * 5)
    size++;
  return size;
}

/* The place of a table of that size: in the sub, from a slab, or the run that was reserved. */
static uint64_t extent_for(dsm_log *log, unsigned node, uint32_t stripe, unsigned size,
                           uint64_t slab) {
  uint64_t bytes = dsm_table_bytes(size);
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  if (size == DSM_TABLE_INLINE)
    return dsm_locator_offset(dsm_space_locator(log->call->space, node + 1, &sub->table));
  if (bytes <= DSM_SMALL_BYTES_MAX) return dsm_slab_take(log, node, stripe, bytes, slab);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->reserved);
  dsm_log_set_sealed(log, node + 1, &sub->reserved, 0);
  return page * DSM_ARENA_PAGE_BYTES;
}

static void extent_give(dsm_log *log, unsigned node, uint32_t stripe, const dsm_table *table) {
  if (table->size != DSM_TABLE_INLINE && dsm_table_bytes(table->size) <= DSM_SMALL_BYTES_MAX) {
    dsm_slab_give(log, node, stripe, table->offset, dsm_table_bytes(table->size));
    return;
  }
  if (table->size == DSM_TABLE_INLINE) return;
  dsm_log_set(log, node + 1, table->slots - 1, 0);
  dsm_slab_retire(log, node, stripe, table->offset / DSM_ARENA_PAGE_BYTES);
}

/* Fills a fresh extent with the live slots of the old table. Nothing refers to it yet. */
static dsm_status fill(dsm_call *call, unsigned node, uint32_t stripe, const dsm_table *old,
                       dsm_atomic_u64 *slots, uint32_t capacity, uint64_t *live) {
  *live = 0;
  dsm_fence_release(); /* as in a put: the extent may have held what readers still look at */
  for (uint32_t i = 0; i < capacity; i++) dsm_store_relaxed_u64(&slots[i], DSM_SLOT_EMPTY);
  for (uint32_t i = 0; old->slots && i < old->capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&old->slots[i]);
    if (slot <= DSM_SLOT_TOMBSTONE) continue;
    dsm_header header;
    uint64_t hash;
    DSM_TRY(dsm_slot_object(call, node, stripe, slot, &header, &hash));
    if (++*live >= capacity)
      return dsm_fail(call, DSM_CORRUPT, "more live slots than counted", (int)node, stripe, *live,
                      capacity);
    uint32_t at = dsm_slot_home(hash, capacity);
    while (dsm_load_relaxed_u64(&slots[at]) != DSM_SLOT_EMPTY)
      if (++at == capacity) at = 0;
    dsm_store_relaxed_u64(&slots[at], slot);
    DSM_CRASH_POINT("table.copied");
  }
  return DSM_OK;
}

static dsm_status replace(dsm_call *call, unsigned node, uint32_t stripe, const dsm_table *old,
                          unsigned size) {
  dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  uint64_t bytes = dsm_table_bytes(size), slab = 0;
  if (bytes <= DSM_SMALL_BYTES_MAX && size != DSM_TABLE_INLINE)
    DSM_TRY(dsm_stripe_reserve_extent(call, node, stripe, bytes, &slab));
  else if (bytes > DSM_SMALL_BYTES_MAX)
    DSM_TRY(
        dsm_stripe_reserve_run(call, node, stripe, DSM_RUN_TABLE, bytes / DSM_ARENA_PAGE_BYTES));
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  uint64_t offset = extent_for(&log, node, stripe, size, slab), live;
  if (log.status != DSM_OK) return log.status;
  dsm_atomic_u64 *mark = (dsm_atomic_u64 *)(void *)(call->space->nodes[node].base + offset);
  if (size != DSM_TABLE_INLINE) dsm_store_relaxed_u64(mark, 0);
  DSM_TRY(fill(call, node, stripe, old, mark + 1, dsm_table_capacity(size), &live));
  if (size != DSM_TABLE_INLINE)
    dsm_log_set(
        &log, node + 1, mark,
        dsm_seal((uint64_t)stripe << 8 | size, dsm_space_locator(call->space, node + 1, mark)));
  dsm_log_set_sealed(&log, node + 1, &sub->table, offset / DSM_GRAIN_BYTES << 6 | size);
  dsm_log_set_sealed(&log, node + 1, &sub->used, live << USED_BITS | live);
  dsm_log_set_sealed(&log, node + 1, &sub->gen, dsm_log_get_sealed(&log, node + 1, &sub->gen) + 1);
  if (old->slots) extent_give(&log, node, stripe, old);
  dsm_slab_finish(&log, node, stripe);
  DSM_TRY(dsm_log_commit(&log));
  return dsm_stripe_settle(call, stripe, node);
}

dsm_status dsm_table_reserve_for(dsm_call *call, unsigned node, uint32_t stripe, uint64_t more,
                                 bool *moved) {
  dsm_table table;
  *moved = false;
  DSM_TRY(dsm_table_read(call, node, stripe, &table));
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  uint64_t used =
      dsm_log_read_sealed(&log, node + 1, &dsm_space_sub(call->space, node, stripe)->used);
  if (log.status != DSM_OK) return log.status;
  uint64_t filled = used & USED_MASK, live = used >> USED_BITS;
  /* One slot stays empty, to end the probing; more of them where probing would be long. */
  uint64_t room = table.size == DSM_TABLE_INLINE ? DSM_INLINE_SLOTS - 1 : table.capacity * 13 / 16;
  if (table.slots && filled + more <= room) return DSM_OK;
  unsigned size = size_for(live + more);
  /* The inline table cannot be copied onto itself. */
  if (table.slots && table.size == DSM_TABLE_INLINE && size == DSM_TABLE_INLINE) size++;
  if (live + more >= dsm_table_capacity(size))
    return dsm_fail(call, DSM_STORE_FULL, "stripe holds as many keys as a table can", (int)node,
                    stripe, live, dsm_table_capacity(size));
  *moved = true;
  return replace(call, node, stripe, &table, size);
}

void dsm_table_drop(dsm_log *log, unsigned node, uint32_t stripe) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  dsm_table table;
  if (log->status == DSM_OK) log->status = dsm_table_read(log->call, node, stripe, &table);
  if (log->status != DSM_OK || !table.slots) return;
  dsm_log_set_sealed(log, node + 1, &sub->table, 0);
  dsm_log_set_sealed(log, node + 1, &sub->used, 0);
  extent_give(log, node, stripe, &table);
}
