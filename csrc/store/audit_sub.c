/* Examining one stripe at one node. */
#include <stdlib.h>

#include "audit.h"
#include "settle.h"

static dsm_log quiet_log(dsm_audit *audit) {
  return dsm_log_make(audit->call, dsm_space_intent(audit->call->space, audit->stripe),
                      audit->stripe);
}

bool dsm_audit_problem(dsm_audit *audit, const char *what, unsigned node, uint64_t left,
                       uint64_t right) {
  dsm_fail(audit->call, DSM_CORRUPT, what, (int)node, audit->stripe, left, right);
  return dsm_audit_fault(audit);
}

void dsm_audit_repaired(dsm_audit *audit, const char *what, int node, int64_t stripe) {
  dsm_fault told = {.what = what, .node = node, .stripe = stripe, .mended = true};
  audit->report->repaired++;
  if (audit->tell) audit->tell(audit->context, &told);
}

bool dsm_audit_fault(dsm_audit *audit) {
  audit->report->problems++;
  if (audit->tell) audit->tell(audit->context, &audit->call->fault);
  return false;
}

bool dsm_audit_object(dsm_audit *audit, unsigned node, uint64_t slot, dsm_header *header,
                      dsm_key *key) {
  if (!audit->shallow)
    return dsm_slot_verify(audit->call, node, audit->stripe, slot, header, key) == DSM_OK;
  uint64_t hash;
  if (dsm_slot_object(audit->call, node, audit->stripe, slot, header, &hash) != DSM_OK)
    return false;
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(audit->call->space, node, dsm_slot_offset(slot));
  *key = (dsm_key){object + header->key_offset, header->key_bytes, header->key_kind, header->region,
                   hash};
  return true;
}

bool dsm_audit_remember(dsm_audit *audit, uint64_t offset, uint64_t bytes) {
  if (audit->extent_count == audit->extent_room) {
    uint64_t room = audit->extent_room ? audit->extent_room * 2 : 256;
    dsm_audit_extent *larger = realloc(audit->extents, room * sizeof *larger);
    if (!larger) return false;
    audit->extents = larger;
    audit->extent_room = room;
  }
  audit->extents[audit->extent_count++] = (dsm_audit_extent){offset, bytes};
  return true;
}

/* A run that the sub refers to: its page map entry must say the same. */
static bool claim_run(dsm_audit *audit, unsigned node, uint64_t page, dsm_run_kind kind,
                      uint64_t pages) {
  dsm_run run;
  if (dsm_run_read(audit->call, node, page, &run) != DSM_OK) return dsm_audit_fault(audit);
  if (run.kind != kind || run.stripe != audit->stripe)
    return dsm_audit_problem(audit, "page map knows the run differently", node, run.kind,
                             run.stripe);
  dsm_audit_claim(audit, node, page);
  return pages == run.pages ||
         dsm_audit_problem(audit, "run has another length", node, run.pages, pages);
}

static bool audit_slot(dsm_audit *audit, unsigned node, dsm_atomic_u64 *slot_word) {
  uint64_t slot = dsm_load_relaxed_u64(slot_word);
  dsm_header header;
  dsm_key key;
  if (!dsm_audit_object(audit, node, slot, &header, &key)) return dsm_audit_fault(audit);
  dsm_found found;
  if (dsm_table_find(audit->call, node, audit->stripe, &key, &found) != DSM_OK)
    return dsm_audit_fault(audit);
  if (found.slot != slot_word)
    return dsm_audit_problem(audit, "key is not found from its home", node, slot, found.slot_word);
  const dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_log log = quiet_log(audit);
  uint64_t gen = dsm_log_get_sealed(&log, node + 1, &sub->gen);
  if (header.version > gen)
    return dsm_audit_problem(audit, "object is newer than its stripe", node, header.version, gen);
  if (node == audit->route.nodes[0]) {
    audit->report->objects++;
    audit->report->value_bytes += header.value_bytes;
    if (header.region < DSM_REGIONS_MAX) audit->region_objects[header.region]++;
  }
  uint64_t offset = dsm_slot_offset(slot);
  if (header.flags & DSM_OBJECT_ALIGNED)
    return claim_run(audit, node, offset / DSM_ARENA_PAGE_BYTES, DSM_RUN_VALUE,
                     (header.value_offset + header.value_bytes + DSM_ARENA_PAGE_BYTES - 1) /
                         DSM_ARENA_PAGE_BYTES);
  return dsm_audit_remember(audit, offset, header.value_offset + header.value_bytes);
}

static bool audit_table(dsm_audit *audit, unsigned node) {
  const dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_table table;
  bool sound = true;
  uint64_t live = 0, filled = 0;
  if (dsm_table_read(audit->call, node, audit->stripe, &table) != DSM_OK)
    return dsm_audit_fault(audit);
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]);
    filled += slot != DSM_SLOT_EMPTY;
    live += slot > DSM_SLOT_TOMBSTONE;
    if (slot > DSM_SLOT_TOMBSTONE)
      sound &= audit_slot(audit, node, &table.slots[i]);
    else if (slot != DSM_SLOT_EMPTY && slot != DSM_SLOT_TOMBSTONE)
      sound = dsm_audit_problem(audit, "slot names nothing", node, slot, i);
  }
  dsm_log log = quiet_log(audit);
  uint64_t used = dsm_log_get_sealed(&log, node + 1, &sub->used);
  if (log.status != DSM_OK)
    sound = dsm_audit_fault(audit);
  else if (used != (live << 22 | filled))
    sound = dsm_audit_problem(audit, "counts of slots differ", node, used, live << 22 | filled);
  if (!table.slots) return sound;
  if (dsm_load_relaxed_u64(table.slots - 1) == 0)
    sound = dsm_audit_problem(audit, "table is not marked live", node, table.offset, 0);
  if (table.size == DSM_TABLE_INLINE) return sound;
  if (dsm_table_bytes(table.size) <= DSM_SMALL_BYTES_MAX)
    return dsm_audit_remember(audit, table.offset, dsm_table_bytes(table.size)) && sound;
  return claim_run(audit, node, table.offset / DSM_ARENA_PAGE_BYTES, DSM_RUN_TABLE,
                   dsm_table_bytes(table.size) / DSM_ARENA_PAGE_BYTES) &&
         sound;
}

static int by_offset(const void *left, const void *right) {
  uint64_t a = ((const dsm_audit_extent *)left)->offset;
  uint64_t b = ((const dsm_audit_extent *)right)->offset;
  return (a > b) - (a < b);
}

void dsm_audit_sort(dsm_audit *audit) {
  if (audit->extent_count)
    qsort(audit->extents, audit->extent_count, sizeof *audit->extents, by_offset);
}

uint64_t dsm_audit_slab_bits(const dsm_audit *audit, uint64_t *first, bool *apart) {
  uint64_t page = audit->extents[*first].offset / DSM_ARENA_PAGE_BYTES, bits = 0;
  *apart = true;
  for (; *first < audit->extent_count; ++*first) {
    const dsm_audit_extent *extent = &audit->extents[*first];
    if (extent->offset / DSM_ARENA_PAGE_BYTES != page) break;
    uint64_t mask = dsm_slab_mask(extent->offset, extent->bytes);
    *apart &= mask != 0 && (bits & mask) == 0;
    bits |= mask;
  }
  return bits;
}

/* One slab: its bits are those of the extents referred to, and it hangs where it belongs. */
static bool audit_slab(dsm_audit *audit, unsigned node, uint64_t *first, bool *hangs) {
  uint64_t page = audit->extents[*first].offset / DSM_ARENA_PAGE_BYTES;
  bool apart;
  uint64_t wanted = dsm_audit_slab_bits(audit, first, &apart);
  if (!claim_run(audit, node, page, DSM_RUN_SLAB, 1)) return false;
  if (!apart) return dsm_audit_problem(audit, "extents overlap", node, page, wanted);
  dsm_log log = quiet_log(audit);
  unsigned fit;
  const dsm_slab_shm *slab = dsm_slab_at(&log, node, audit->stripe, page, &fit);
  uint64_t bits = slab ? dsm_slab_bits(&log, node, slab) : 0;
  if (log.status != DSM_OK) return dsm_audit_fault(audit);
  if (bits != wanted)
    return dsm_audit_problem(audit, "bits of the slab differ from its extents", node, bits, wanted);
  *hangs = fit < DSM_FIT_COUNT;
  unsigned best = dsm_slab_fit(bits);
  return fit == best || (fit < best && best < DSM_FIT_COUNT) ||
         dsm_audit_problem(audit, "slab hangs in the wrong list", node, fit, best);
}

/* The lists of slabs with room: as many entries as slabs that say they hang in one. */
static bool audit_lists(dsm_audit *audit, unsigned node, uint64_t hanging) {
  const dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_log log = quiet_log(audit);
  uint64_t listed = 0;
  for (unsigned list = 0; list < DSM_FIT_COUNT; list++) {
    uint64_t page = dsm_log_get_sealed(&log, node + 1, &sub->partial[list]);
    for (; page && log.status == DSM_OK; listed++) {
      if (listed > hanging)
        return dsm_audit_problem(audit, "lists of slabs are too long", node, listed, hanging);
      unsigned fit;
      const dsm_slab_shm *slab = dsm_slab_at(&log, node, audit->stripe, page, &fit);
      if (!slab) break;
      if (fit != list)
        return dsm_audit_problem(audit, "slab hangs in another list", node, fit, list);
      bool ok;
      page = dsm_link_unseal(dsm_load_relaxed_u64(&slab->link),
                             dsm_space_locator(audit->call->space, node + 1, &slab->link), &ok) >>
             28;
      if (!ok) return dsm_audit_problem(audit, "slab link does not verify", node, page, 0);
    }
  }
  if (log.status != DSM_OK) return dsm_audit_fault(audit);
  return listed == hanging ||
         dsm_audit_problem(audit, "slabs are missing in the lists", node, listed, hanging);
}

static bool audit_slabs(dsm_audit *audit, unsigned node) {
  bool sound = true;
  uint64_t hanging = 0;
  dsm_audit_sort(audit);
  for (uint64_t first = 0; first < audit->extent_count;) {
    bool hangs = false;
    sound &= audit_slab(audit, node, &first, &hangs);
    hanging += hangs;
  }
  return sound && audit_lists(audit, node, hanging);
}

/* The words that steer the sub: sealed, and nothing reserved or retired between operations. */
static bool audit_words(dsm_audit *audit, unsigned node) {
  const dsm_sub_shm *sub = dsm_space_sub(audit->call->space, node, audit->stripe);
  dsm_log log = quiet_log(audit);
  const dsm_atomic_u64 *words = (const dsm_atomic_u64 *)(const void *)sub;
  for (size_t i = 0; i < sizeof *sub / sizeof *words; i++)
    if (&words[i] < sub->inline_slots || &words[i] >= &sub->gen)
      dsm_log_get_sealed(&log, node + 1, &words[i]);
  if (log.status != DSM_OK) return dsm_audit_fault(audit);
  uint64_t spare = dsm_log_get_sealed(&log, node + 1, &sub->spare);
  return spare == 0 || claim_run(audit, node, spare, DSM_RUN_SLAB, 1);
}

bool dsm_audit_sub(dsm_audit *audit, unsigned node) {
  audit->extent_count = 0;
  bool words = audit_words(audit, node);
  if (!audit->shallow && dsm_settle_locked(audit->call, node, audit->stripe) != DSM_OK)
    return dsm_audit_fault(audit);
  bool sound = audit_table(audit, node);
  return words && sound && audit_slabs(audit, node);
}
