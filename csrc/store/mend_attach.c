/* Objects that lost their slot: found in the stripe's memory by their checksums.
 *
 * A live object has a version and a checksum that covers its key, whose hash is salted with the
 * cluster's seed; what was freed has no version. So what validates and lies in a run of the stripe
 * was put and not deleted, and at most one such object of a key exists: a change that meets a
 * damaged slot mends the stripe first.
 */
#include <stdlib.h>

#include "../base/crash.h"
#include "change.h"
#include "mend.h"
#include "stripe.h"

typedef struct finds {
  dsm_audit *audit;
  unsigned node;
  struct {
    uint64_t page;
    dsm_run run;
  } * runs;
  uint64_t run_count, run_room;
  dsm_mend_orphan *orphans;
  uint64_t count, room;
} finds;

static void visit(void *context, uint64_t page, const dsm_run *run) {
  finds *self = context;
  if (run->stripe != self->audit->stripe ||
      (run->kind != DSM_RUN_SLAB && run->kind != DSM_RUN_VALUE))
    return;
  if (self->run_count == self->run_room) {
    uint64_t room = self->run_room ? self->run_room * 2 : 64;
    void *larger = realloc(self->runs, room * sizeof *self->runs);
    if (!larger) return;
    self->runs = larger;
    self->run_room = room;
  }
  self->runs[self->run_count].page = page;
  self->runs[self->run_count++].run = *run;
}

bool dsm_mend_object(dsm_audit *audit, unsigned node, uint64_t offset, dsm_header *header,
                     uint64_t *hash) {
  const dsm_space *space = audit->call->space;
  dsm_key key;
  if (!dsm_offset_fits(space, offset)) return false;
  const dsm_object_shm *object = dsm_object_at(space, node, offset);
  dsm_header_read(object, header);
  if (header->version == 0 || header->key_kind == 0 || !dsm_object_fits(space, offset, header))
    return false;
  *hash = dsm_key_hash(space, (const uint8_t *)object + header->key_offset, header->key_bytes,
                       header->key_kind, header->region);
  return dsm_audit_object(audit, node, dsm_slot_make(offset, *hash), header, &key);
}

static bool has_slot(const finds *self, uint64_t offset, const dsm_header *header, uint64_t hash) {
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(self->audit->call->space, self->node, offset);
  dsm_key key = {object + header->key_offset, header->key_bytes, header->key_kind, header->region,
                 hash};
  dsm_found found;
  return dsm_table_find(self->audit->call, self->node, self->audit->stripe, &key, &found) ==
             DSM_OK &&
         found.offset != 0;
}

static void keep(finds *self, uint64_t offset, uint64_t room) {
  dsm_header header;
  uint64_t hash;
  if (!dsm_mend_object(self->audit, self->node, offset, &header, &hash) ||
      header.value_offset + header.value_bytes > room || has_slot(self, offset, &header, hash))
    return;
  if (self->count == self->room) {
    uint64_t more = self->room ? self->room * 2 : 64;
    dsm_mend_orphan *larger = realloc(self->orphans, more * sizeof *larger);
    if (!larger) return;
    self->orphans = larger;
    self->room = more;
  }
  self->orphans[self->count++] =
      (dsm_mend_orphan){offset, header.value_offset + header.value_bytes, hash};
}

uint64_t dsm_mend_orphans(dsm_audit *audit, unsigned node, dsm_mend_orphan **found) {
  finds self = {.audit = audit, .node = node};
  /* A damaged counter or list of the arena must not hide what its runs hold; where the runs
   * themselves are broken, as far as they go. */
  if (dsm_arena_valid(audit->call, node, visit, &self) == DSM_CORRUPT &&
      dsm_arena_rebuild(audit->call, node) == DSM_OK) {
    self.run_count = 0;
    dsm_arena_valid(audit->call, node, visit, &self);
  }
  for (uint64_t i = 0; i < self.run_count; i++) {
    uint64_t start = self.runs[i].page * DSM_ARENA_PAGE_BYTES;
    if (self.runs[i].run.kind == DSM_RUN_VALUE) {
      keep(&self, start, self.runs[i].run.pages * DSM_ARENA_PAGE_BYTES);
      continue;
    }
    for (uint64_t at = sizeof(dsm_slab_shm); at < DSM_ARENA_PAGE_BYTES; at += DSM_GRAIN_BYTES)
      keep(&self, start + at, DSM_ARENA_PAGE_BYTES - at);
  }
  free(self.runs);
  *found = self.orphans;
  return self.count;
}

bool dsm_mend_attach(dsm_audit *audit, unsigned node, const dsm_mend_orphan *orphan) {
  dsm_call *call = audit->call;
  dsm_sub_shm *sub = dsm_space_sub(call->space, node, audit->stripe);
  const uint8_t *object = (const uint8_t *)dsm_object_at(call->space, node, orphan->offset);
  dsm_header header;
  dsm_found found;
  bool moved;
  dsm_header_read((const dsm_object_shm *)(const void *)object, &header);
  dsm_key key = {object + header.key_offset, header.key_bytes, header.key_kind, header.region,
                 orphan->hash};
  if (dsm_table_reserve(call, node, audit->stripe, &moved) != DSM_OK ||
      dsm_table_find(call, node, audit->stripe, &key, &found) != DSM_OK || found.offset ||
      !found.slot)
    return false;
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, audit->stripe), audit->stripe);
  uint64_t gen = dsm_log_read_sealed(&log, node + 1, &sub->gen);
  dsm_log_once(&log, node + 1, found.slot, dsm_slot_make(orphan->offset, orphan->hash));
  dsm_log_once_sealed(&log, node + 1, &sub->used,
                      dsm_log_read_sealed(&log, node + 1, &sub->used) + DSM_LIVE_ONE +
                          (found.slot_word == DSM_SLOT_EMPTY ? DSM_USED_ONE : 0));
  dsm_log_once_sealed(&log, node + 1, &sub->gen, (header.version > gen ? header.version : gen) + 1);
  if (dsm_log_commit(&log) != DSM_OK) return false;
  dsm_fetch_add_relaxed_u64(&dsm_space_recovery(call->space)->objects_attached, 1);
  DSM_CRASH_POINT("mend.attached");
  return true;
}
