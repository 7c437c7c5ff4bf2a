/* Making one sub whole: its words, its slots, its slabs. See mend.c for the order of things. */
#include <stdlib.h>
#include <string.h>

#include "../base/crash.h"
#include "hold.h"
#include "mend.h"
#include "route.h"
#include "stripe.h"

#define GEN_LEAP (1ull << 32) /* above any generation that a damaged word can have had */
#define LEAPS_MAX 1000u       /* of them, and half of what a generation can be is left */

static dsm_log mend_log(dsm_audit *audit) {
  return dsm_log_make(audit->call, dsm_space_intent(audit->call->space, audit->stripe),
                      audit->stripe);
}

static uint64_t unsealed(const dsm_audit *audit, unsigned node, const dsm_atomic_u64 *word,
                         bool *ok) {
  return dsm_unseal(dsm_load_relaxed_u64(word),
                    dsm_space_locator(audit->call->space, node + 1, word), ok);
}

static void store_sealed(const dsm_audit *audit, unsigned node, dsm_atomic_u64 *word,
                         uint64_t value) {
  dsm_store_release_u64(word,
                        dsm_seal(value, dsm_space_locator(audit->call->space, node + 1, word)));
}

/* The version of the newest valid object at a node. */
static uint64_t newest_at(dsm_audit *audit, unsigned node) {
  dsm_table table;
  uint64_t newest = 0;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK) return 0;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    dsm_header header;
    dsm_key key;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    if (slot > DSM_SLOT_TOMBSTONE && dsm_audit_object(audit, node, slot, &header, &key) &&
        header.version > newest)
      newest = header.version;
  }
  return newest;
}

/* A generation that no version of the stripe has reached: from the other replicas, or by a leap. */
static uint64_t next_gen(dsm_audit *audit) {
  uint64_t highest = 0, newest = 0;
  bool any = false;
  for (uint32_t i = 0; i < audit->route.count; i++) {
    bool ok;
    unsigned node = audit->route.nodes[i];
    uint64_t gen =
        unsealed(audit, node, &dsm_space_sub(audit->call->space, node, audit->stripe)->gen, &ok);
    uint64_t version = newest_at(audit, node);
    any |= ok;
    if (ok && gen > highest) highest = gen;
    if (version > newest) newest = version;
  }
  /* Who has leapt before must leap further: the stripe may be lost with all its replicas again. */
  uint64_t leaps =
      1 + dsm_load_relaxed_u32(&dsm_space_lock(audit->call->space, audit->stripe)->repairs);
  if (!any) highest = (leaps < LEAPS_MAX ? leaps : LEAPS_MAX) * GEN_LEAP;
  return (newest > highest || !any ? newest + highest : highest) + 1;
}

/* Words that do not verify become empty ones; *dead: the table's place was among them. */
static bool reset_words(dsm_audit *audit, unsigned node, bool *dead) {
  dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_atomic_u64 *words = (dsm_atomic_u64 *)(void *)sub;
  bool mended = false, ok;
  dsm_table table;
  *dead = !dsm_table_decode(audit->call->space, node, audit->stripe,
                            dsm_load_relaxed_u64(&sub->table), &table);
  if (*dead) {
    store_sealed(audit, node, &sub->used, 0);
    for (size_t i = 0; i < DSM_INLINE_SLOTS; i++) dsm_store_release_u64(&sub->inline_slots[i], 0);
    store_sealed(audit, node, &sub->table, 0);
  } else if (table.slots && dsm_load_relaxed_u64(table.slots - 1) == 0) {
    dsm_store_release_u64(table.slots - 1, dsm_seal((uint64_t)audit->stripe << 8 | table.size,
                                                    dsm_space_locator(audit->call->space, node + 1,
                                                                      table.slots - 1)));
    mended = true;
  }
  unsealed(audit, node, &sub->gen, &ok);
  if (!ok) store_sealed(audit, node, &sub->gen, next_gen(audit));
  mended |= !ok;
  for (size_t i = 0; i < sizeof *sub / sizeof *words; i++) {
    if (&words[i] >= sub->inline_slots && &words[i] <= &sub->gen) continue;
    unsealed(audit, node, &words[i], &ok);
    if (!ok) store_sealed(audit, node, &words[i], 0);
    mended |= !ok;
    DSM_CRASH_POINT("mend.word");
  }
  return mended || *dead;
}

/* The run of pages that goes with a slot: a value's run of this stripe that holds no valid object
 * and that no other slot names; 0 for none. */
static uint64_t run_of(dsm_audit *audit, unsigned node, const dsm_table *table, uint32_t index) {
  uint64_t slot = dsm_load_relaxed_u64(&table->slots[index]), hash;
  uint64_t offset = dsm_slot_offset(slot), page = offset / DSM_ARENA_PAGE_BYTES;
  dsm_header header;
  dsm_run run;
  if (slot <= DSM_SLOT_TOMBSTONE || offset % DSM_ARENA_PAGE_BYTES != 0 ||
      !dsm_offset_fits(audit->call->space, offset) ||
      dsm_run_read(audit->call, node, page, &run) != DSM_OK || run.kind != DSM_RUN_VALUE ||
      run.stripe != audit->stripe || dsm_mend_object(audit, node, offset, &header, &hash))
    return 0;
  for (uint32_t i = 0; i < table->capacity; i++)
    if (i != index && dsm_slot_offset(dsm_load_relaxed_u64(&table->slots[i])) == offset) return 0;
  return page;
}

/* Empties a slot that names no valid object. */
static bool drop_slot(dsm_audit *audit, unsigned node, const dsm_table *table, uint32_t index) {
  dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_log log = mend_log(audit);
  uint64_t page = run_of(audit, node, table, index);
  dsm_log_set(&log, node + 1, &table->slots[index], DSM_SLOT_TOMBSTONE);
  dsm_log_set_sealed(&log, node + 1, &sub->gen, dsm_log_get_sealed(&log, node + 1, &sub->gen) + 1);
  if (page) dsm_slab_retire(&log, node, audit->stripe, page);
  if (dsm_log_commit(&log) != DSM_OK) return false;
  if (page) dsm_stripe_settle(audit->call, audit->stripe, node);
  return true;
}

static void remember_key(dsm_mend *mend, unsigned node, uint64_t slot) {
  dsm_header header;
  uint64_t hash;
  if (slot <= DSM_SLOT_TOMBSTONE || dsm_slot_object(mend->audit->call, node, mend->audit->stripe,
                                                    slot, &header, &hash) != DSM_OK) {
    mend->unknown++;
    return;
  }
  if (mend->key_count == mend->key_room) {
    uint32_t room = mend->key_room ? mend->key_room * 2 : 16;
    dsm_mend_key *larger = realloc(mend->keys, room * sizeof *larger);
    if (!larger) return;
    mend->keys = larger;
    mend->key_room = room;
  }
  uint8_t *bytes = malloc(header.key_bytes + 1u);
  if (!bytes) return;
  const dsm_object_shm *object =
      dsm_object_at(mend->audit->call->space, node, dsm_slot_offset(slot));
  memcpy(bytes, (const uint8_t *)object + header.key_offset, header.key_bytes);
  mend->keys[mend->key_count++] =
      (dsm_mend_key){bytes, header.key_bytes, header.region, header.key_kind};
}

/* True if the memory of the object is known to be the stripe's. */
static bool placed(dsm_audit *audit, unsigned node, uint64_t slot, const dsm_header *header) {
  uint64_t offset = dsm_slot_offset(slot), page = offset / DSM_ARENA_PAGE_BYTES;
  uint64_t bytes = header->value_offset + header->value_bytes;
  bool aligned = header->flags & DSM_OBJECT_ALIGNED;
  dsm_run run;
  return dsm_run_read(audit->call, node, page, &run) == DSM_OK && run.stripe == audit->stripe &&
         (aligned ? run.kind == DSM_RUN_VALUE && offset % DSM_ARENA_PAGE_BYTES == 0
                  : run.kind == DSM_RUN_SLAB && dsm_slab_mask(offset, bytes) != 0);
}

/* True if another replica has the object of that key, valid and not older. */
static bool elsewhere(dsm_audit *audit, unsigned node, const dsm_key *key, uint64_t version) {
  for (uint32_t i = 0; i < audit->route.count; i++) {
    dsm_found found;
    dsm_header header;
    dsm_key name;
    unsigned other = audit->route.nodes[i];
    if (other != node && dsm_table_find(audit->call, other, audit->stripe, key, &found) == DSM_OK &&
        found.offset && found.header.version >= version &&
        dsm_audit_object(audit, other, found.slot_word, &header, &name))
      return true;
  }
  return false;
}

static bool slot_holds(dsm_audit *audit, unsigned node, const dsm_atomic_u64 *slot_word) {
  dsm_header header;
  dsm_key key;
  dsm_found found;
  uint64_t slot = dsm_load_relaxed_u64(slot_word);
  if (slot == DSM_SLOT_EMPTY || slot == DSM_SLOT_TOMBSTONE) return true;
  if (slot <= DSM_SLOT_TOMBSTONE || !dsm_audit_object(audit, node, slot, &header, &key) ||
      dsm_table_find(audit->call, node, audit->stripe, &key, &found) != DSM_OK ||
      found.slot != slot_word)
    return false;
  /* What lies where the page map knows of nothing is readable; it stays if it is the only one. */
  return placed(audit, node, slot, &header) || !elsewhere(audit, node, &key, header.version);
}

static void remember_slab(dsm_mend *mend, unsigned node, uint64_t slot) {
  uint64_t page = dsm_slot_offset(slot) / DSM_ARENA_PAGE_BYTES;
  dsm_run run;
  for (uint32_t i = 0; i < mend->page_count; i++)
    if (mend->pages[i] == page) return;
  if (slot > DSM_SLOT_TOMBSTONE && mend->page_count < DSM_MEND_PAGES &&
      dsm_run_read(mend->audit->call, node, page, &run) == DSM_OK && run.kind == DSM_RUN_SLAB &&
      run.stripe == mend->audit->stripe)
    mend->pages[mend->page_count++] = page;
}

/* Slabs in which nothing is left go back: the rebuilt lists do not have them. */
static void give_empty_slabs(dsm_mend *mend, unsigned node) {
  dsm_audit *audit = mend->audit;
  bool ok;
  uint64_t spare =
      unsealed(audit, node, &dsm_space_sub(audit->call->space, node, audit->stripe)->spare, &ok);
  for (uint32_t i = 0; i < mend->page_count; i++) {
    bool used = mend->pages[i] == spare;
    for (uint64_t at = 0; at < audit->extent_count; at++)
      used |= audit->extents[at].offset / DSM_ARENA_PAGE_BYTES == mend->pages[i];
    if (!used) dsm_mend_leak(audit, node, mend->pages[i]);
  }
}

static bool drop_bad_slots(dsm_mend *mend, unsigned node) {
  dsm_audit *audit = mend->audit;
  dsm_table table;
  bool mended = false;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    if (slot_holds(audit, node, &table.slots[i])) continue;
    remember_key(mend, node, dsm_load_relaxed_u64(&table.slots[i]));
    remember_slab(mend, node, dsm_load_relaxed_u64(&table.slots[i]));
    mended |= drop_slot(audit, node, &table, i);
    DSM_CRASH_POINT("mend.dropped");
  }
  return mended;
}

/* Recounts the slots, and raises the generation above every version. */
static bool recount(dsm_audit *audit, unsigned node) {
  dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_table table;
  uint64_t live = 0, filled = 0;
  bool mended = false, ok;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK) return false;
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    filled += slot != DSM_SLOT_EMPTY;
    live += slot > DSM_SLOT_TOMBSTONE;
  }
  uint64_t used = unsealed(audit, node, &sub->used, &ok);
  if (!ok || used != (live << 22 | filled)) {
    store_sealed(audit, node, &sub->used, live << 22 | filled);
    mended = true;
  }
  uint64_t newest = newest_at(audit, node), gen = unsealed(audit, node, &sub->gen, &ok);
  if (!ok || newest > gen) {
    store_sealed(audit, node, &sub->gen, next_gen(audit));
    mended = true;
  }
  return mended;
}

static void remember_orphan(dsm_audit *audit, const dsm_mend_orphan *orphan) {
  if (orphan->bytes <= DSM_SMALL_BYTES_MAX)
    dsm_audit_remember(audit, orphan->offset, orphan->bytes);
}

/* Rebuilds bits and lists of the sub's slabs from the extents that are referred to, or will be.
 * Slabs without any become unclaimed runs, which the walk over the arena gives back. */
static bool rebuild_slabs(dsm_audit *audit, unsigned node, const dsm_mend_orphan *orphans,
                          uint64_t orphan_count) {
  dsm_space *space = audit->call->space;
  dsm_sub_shm *sub = dsm_space_sub(space, node, audit->stripe);
  dsm_check_tell *tell = audit->tell;
  dsm_check_report report = *audit->report;
  audit->tell = NULL;
  bool sound = dsm_audit_sub(audit, node);
  audit->tell = tell;
  *audit->report = report;
  if (sound && orphan_count == 0) return false;
  for (uint64_t i = 0; i < orphan_count; i++) remember_orphan(audit, &orphans[i]);
  dsm_audit_sort(audit);
  uint64_t heads[DSM_FIT_COUNT] = {0};
  dsm_log log = mend_log(audit);
  for (uint64_t first = 0; first < audit->extent_count;) {
    uint64_t page = audit->extents[first].offset / DSM_ARENA_PAGE_BYTES;
    bool apart;
    uint64_t bits = dsm_audit_slab_bits(audit, &first, &apart);
    dsm_run run;
    if (!apart || dsm_run_read(audit->call, node, page, &run) != DSM_OK ||
        run.kind != DSM_RUN_SLAB || run.stripe != audit->stripe)
      continue;
    dsm_slab_rebuild(&log, node, audit->stripe, page, bits, heads);
    DSM_CRASH_POINT("mend.slab");
  }
  for (unsigned list = 0; list < DSM_FIT_COUNT; list++)
    store_sealed(audit, node, &sub->partial[list], heads[list]);
  return true;
}

bool dsm_mend_sub(dsm_mend *mend, uint32_t replica) {
  dsm_audit *audit = mend->audit;
  unsigned node = audit->route.nodes[replica];
  bool dead;
  uint64_t unknown = mend->unknown, count = 0;
  dsm_mend_orphan *orphans = NULL;
  mend->page_count = 0;
  dsm_holds_forget(audit->call, audit->stripe, node);
  bool mended = reset_words(audit, node, &dead);
  mended |= drop_bad_slots(mend, node);
  mended |= recount(audit, node);
  /* The one who mended before may have been killed between dropping a slot and this. */
  if (dead || mend->resumed || mend->unknown > unknown)
    count = dsm_mend_orphans(audit, node, &orphans);
  if (rebuild_slabs(audit, node, orphans, count)) {
    mended = true;
    give_empty_slabs(mend, node);
  }
  for (uint64_t i = 0; i < count; i++) {
    if (!dsm_mend_attach(audit, node, &orphans[i])) continue;
    mended = true;
    if (mend->unknown > unknown) mend->unknown--;
  }
  free(orphans);
  mended |= recount(audit, node);
  /* Who has looked at the sub while it was mended must look again. */
  dsm_atomic_u64 *gen = &dsm_space_sub(audit->call->space, node, audit->stripe)->gen;
  store_sealed(audit, node, gen, unsealed(audit, node, gen, &dead) + 1);
  return mended;
}

/* A sub that the route does not name: it becomes empty, and its runs are found unclaimed by the
 * walk over the arena. */
static void give_up(dsm_audit *audit, unsigned node) {
  dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  uint64_t gen = next_gen(audit);
  dsm_holds_forget(audit->call, audit->stripe, node);
  dsm_stripe_init(audit->call->space, node, audit->stripe);
  store_sealed(audit, node, &sub->gen, gen);
}

void dsm_mend_stray(dsm_audit *audit, unsigned node) {
  if (dsm_strays_read(audit->call->space, audit->stripe) >> node & 1)
    give_up(audit, node);
  else
    dsm_strays_add(audit->call->space, audit->stripe, 1ull << node); /* the next move tidies it */
  dsm_audit_repaired(audit, "part that no route names was set apart", (int)node, audit->stripe);
}
