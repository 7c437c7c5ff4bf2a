/* Healing, step by step. */
#include "array_heal.h"

#include <string.h>

#include "../base/crash.h"
#include "array_directory.h"
#include "array_phase.h"
#include "page_diff.h"

#define CHUNK_BYTES (4u << 20)

typedef struct heal {
  dsm_call *call;
  dsm_array old, new;
  uint64_t bytes;  /* of each file */
  uint32_t fresh;  /* bit per copy that gets a new file */
  uint32_t source; /* copy of `old` whose elements are taken */
  bool holds;      /* the old primary's words can be read, so tiles can be held */
  dsm_array_block block;
  dsm_array_healed *done;
} heal;

/* Stamps that do not verify, and of those the ones that are zero. */
static uint64_t stamps_unsound(const dsm_array *array, uint64_t *zero) {
  uint64_t unsound = 0;
  *zero = 0;
  for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++) {
    bool ok;
    uint64_t raw = dsm_load_relaxed_u64(&dsm_array_tile(array, tile)->stamp);
    dsm_unseal(raw, dsm_array_tile_salt(array, tile), &ok);
    unsound += !ok;
    *zero += raw == 0;
  }
  return unsound;
}

bool dsm_array_words_hold(const dsm_array *array) {
  uint64_t zero;
  bool hold = stamps_unsound(array, &zero) == 0;
  for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++)
    hold &= (dsm_load_relaxed_u32(&dsm_array_tile(array, tile)->lock) & ~DSM_ARRAY_AWAITED) <=
            DSM_ARRAY_SESSIONS;
  return hold;
}

/* Of what the checksum does not cover, what cannot be known is set to what is safe. */
static void repair_header(const heal *self) {
  const dsm_array *array = &self->old;
  dsm_array_header_shm *header = dsm_array_header(array, 0);
  if (header->magic != DSM_ARRAY_MAGIC) dsm_array_raw(array);
  dsm_store_relaxed_u32(&header->sessions_high, DSM_ARRAY_SESSIONS);
  memcpy(header + 1, dsm_array_description(array), array->geometry.description_bytes);
  header->layout_version = DSM_LAYOUT_VERSION;
  header->copy = 0;
  header->geometry = array->geometry;
  header->check = dsm_array_header_check(header, 0);
  DSM_CRASH_POINT("heal.header");
  dsm_store_release_u64((dsm_atomic_u64 *)(void *)header, DSM_ARRAY_MAGIC);
  self->done->copies++;
}

/* The primary's own name, magic and size: from here on nobody publishes from it. */
static void doubt(heal *self) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  dsm_os_segment *segment = &self->old.segments[0], part = {.handle = -1};
  dsm_array_segment_name(name, self->call->space, self->old.number, 0);
  if (!segment->base && dsm_os_segment_open(name, &part) == DSM_OK && part.base)
    dsm_store_seq_cst_u64((dsm_atomic_u64 *)(void *)part.base, DSM_ARRAY_DOUBTED);
  dsm_os_segment_close(&part);
  if (segment->base)
    dsm_store_seq_cst_u64((dsm_atomic_u64 *)(void *)segment->base, DSM_ARRAY_DOUBTED);
  self->old.lost |= 1;
  DSM_CRASH_POINT("heal.doubted");
  if (!segment->base && dsm_os_segment_regrow(name, self->bytes) == DSM_OK)
    dsm_os_segment_open(name, segment);
  if (segment->base && segment->bytes != self->bytes) dsm_os_segment_close(segment);
}

/* Whether the primary is to be used, and whether at least its words can be. */
static void judge_primary(heal *self) {
  dsm_array *array = &self->old;
  bool there = array->segments[0].base != NULL;
  uint64_t zero = 0, unsound = there ? stamps_unsound(array, &zero) : 1;
  bool lost = array->lost & 1;
  if (lost && unsound == 0 && dsm_array_header(array, 0)->magic != DSM_ARRAY_DOUBTED) {
    repair_header(self);
    array->lost &= ~1u;
  } else if (lost || zero > 0 || (unsound > 2 && unsound > array->geometry.tile_count / 2)) {
    doubt(self);
  }
  there = array->segments[0].base != NULL;
  self->holds = !(array->lost & 1) || (there && dsm_array_words_hold(array));
}

static bool judge(heal *self) {
  dsm_array *array = &self->old;
  judge_primary(self);
  self->fresh = array->lost | array->unnamed;
  self->source = 0;
  while (self->source < array->geometry.replicas && !dsm_array_usable(array, self->source))
    self->source++;
  return self->source < array->geometry.replicas;
}

/* With the tiles held: stamps that do not verify go on above all others. */
static void mend_stamps(const heal *self) {
  const dsm_array *array = &self->old;
  uint64_t greatest = 0;
  if (!self->holds || dsm_array_words_hold(array)) return;
  for (unsigned mends = 0; mends < 2; mends++)
    for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++) {
      bool ok;
      dsm_atomic_u64 *word = &dsm_array_tile(array, tile)->stamp;
      uint64_t salt = dsm_array_tile_salt(array, tile);
      uint64_t stamp = dsm_unseal(dsm_load_relaxed_u64(word), salt, &ok);
      if (ok && stamp > greatest) greatest = stamp;
      if (ok || !mends) continue;
      dsm_store_seq_cst_u64(word, dsm_seal((greatest + 1) | 1, salt));
      self->done->copies++;
    }
}

static uint8_t *elements(const heal *self, uint32_t copy) {
  bool fresh = self->fresh >> copy & 1;
  return dsm_array_data(fresh ? &self->new : &self->old, copy);
}

/* Whether the copy is to be made equal to the source. */
static bool filled(const heal *self, uint32_t copy) {
  return copy < self->old.geometry.replicas &&
         ((self->fresh >> copy & 1) || (self->source > 0 && copy != self->source));
}

static dsm_status make_files(heal *self) {
  dsm_array *new = &self->new;
  for (uint32_t copy = 0; copy < self->old.geometry.copies; copy++) {
    char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
    dsm_array_segment_name(name, self->call->space, new->number, copy);
    if (!(self->fresh >> copy & 1)) {
      dsm_status status = dsm_os_segment_link(&self->old.segments[copy], name);
      /* It lost its name since we looked: begin again. */
      if (status == DSM_NO_CLUSTER) return DSM_RETRY;
      DSM_TRY(status);
      DSM_CRASH_POINT("heal.linked");
      continue;
    }
    DSM_TRY(dsm_array_create_copy(self->call, new, copy, dsm_array_description(&self->old)));
  }
  if (self->fresh & 1) dsm_array_fill_words(new);
  return DSM_OK;
}

static void fill(heal *self, uint32_t copies) {
  uint64_t end = self->old.geometry.data_bytes;
  for (uint32_t copy = 0; copy < self->old.geometry.copies; copy++)
    for (uint64_t at = 0, next; (copies >> copy & 1) && filled(self, copy) && at < end; at = next) {
      next = end - at > CHUNK_BYTES ? at + CHUNK_BYTES : end;
      self->done->bytes +=
          DSM_PAGE_BYTES * dsm_page_diff_copy(elements(self, copy) + at,
                                              dsm_array_data(&self->old, self->source) + at,
                                              next - at);
      DSM_CRASH_POINT("heal.filled");
    }
}

/* A copy in which no publication of any of these tiles was cut off; the source if there is none. */
static uint32_t unmarked(const heal *self, uint64_t first, uint64_t last) {
  const dsm_array *old = &self->old;
  for (uint32_t copy = 1; copy < old->geometry.replicas; copy++) {
    bool clean = dsm_array_usable(old, copy);
    for (uint32_t session = 0; clean && session < DSM_ARRAY_SESSIONS; session++) {
      uint64_t from, to;
      clean = !dsm_array_marked(old, copy, session, &from, &to) || to < first || from > last;
    }
    if (clean) return copy;
  }
  return self->source;
}

/* Without the primary, a block whose publication was cut off is half in the backup that it was
 * being copied to. Copies are written one after the other, so any other has it whole, as it was or
 * as it became; without another its tiles are torn. */
static void mend_blocks(const heal *self) {
  const dsm_array *old = &self->old;
  uint64_t first, last;
  for (uint32_t session = 0; self->source > 0 && session < DSM_ARRAY_SESSIONS; session++) {
    if (!dsm_array_marked(old, self->source, session, &first, &last)) continue;
    uint32_t from = unmarked(self, first, last);
    uint32_t pid = dsm_load_relaxed_u32(&dsm_array_mark(old, self->source, session)->pid);
    uint64_t low = first * old->geometry.tile_bytes, end = (last + 1) * old->geometry.tile_bytes;
    if (end > old->geometry.data_bytes) end = old->geometry.data_bytes;
    for (uint64_t tile = first; from == self->source && tile <= last; tile++)
      dsm_store_relaxed_u32(&dsm_array_tile(&self->new, tile)->torn, pid ? pid : UINT32_MAX);
    if (from == self->source) continue; /* the mark stays until the torn tiles are published */
    dsm_page_diff_copy(dsm_array_data(old, self->source) + low, dsm_array_data(old, from) + low,
                       end - low);
    dsm_store_release_u64(&dsm_array_mark(old, self->source, session)->state, 0);
    DSM_CRASH_POINT("heal.block");
  }
}

/* Once it is published: what the marks said is in the new primary. */
static void clear_marks(const heal *self) {
  const dsm_array *old = &self->old;
  for (uint32_t copy = 1; self->source > 0 && copy < old->geometry.replicas; copy++)
    for (uint32_t i = 0; dsm_array_usable(old, copy) && i < DSM_ARRAY_SESSIONS; i++)
      if (dsm_load_relaxed_u64(&dsm_array_mark(old, copy, i)->state) != 0)
        dsm_store_release_u64(&dsm_array_mark(old, copy, i)->state, 0);
}

/* What the old primary's words say goes into the new one's. A stamp that was never lower than it
 * is, so that no version comes again. */
static void carry_words(const heal *self) {
  const dsm_array *old = &self->old, *new = &self->new;
  bool image_stays = !(self->fresh & 2);
  for (uint64_t tile = 0; tile < old->geometry.tile_count; tile++) {
    bool ok;
    const dsm_array_tile_shm *from = dsm_array_tile(old, tile);
    dsm_array_tile_shm *to = dsm_array_tile(self->fresh & 1 ? new : old, tile);
    if (old->geometry.replicas == 1)
      dsm_store_relaxed_u32(&to->imaged, image_stays ? dsm_load_relaxed_u32(&from->imaged) : 0);
    if (!(self->fresh & 1)) continue;
    uint64_t salt = dsm_array_tile_salt(old, tile);
    uint64_t stamp = dsm_unseal(dsm_load_relaxed_u64(&from->stamp), salt, &ok);
    dsm_store_relaxed_u64(&to->stamp, dsm_seal((stamp | 1) + 1, salt));
    dsm_store_relaxed_u32(&to->torn, dsm_load_relaxed_u32(&from->torn));
  }
  if ((self->fresh & 1) && !(old->lost & 1) && dsm_array_is_raw(old)) dsm_array_raw(new);
}

static dsm_status compare(const heal *self) {
  const dsm_array *old = &self->old;
  /* Somebody may be writing in place. */
  if (self->source == 0 && dsm_array_is_raw(old)) return DSM_OK;
  for (uint32_t copy = 0; copy < old->geometry.copies; copy++)
    if (filled(self, copy) &&
        dsm_page_diff_count(elements(self, copy), dsm_array_data(old, self->source),
                            old->geometry.data_bytes) != 0)
      return dsm_fail(self->call, DSM_CORRUPT, "new copy of an array", -1, -1, copy, self->source);
  return DSM_OK;
}

/* Locks that name no session are nobody's. */
static void mend_locks(const heal *self) {
  for (uint64_t tile = 0; tile < self->old.geometry.tile_count; tile++) {
    dsm_atomic_u32 *lock = &dsm_array_tile(&self->old, tile)->lock;
    uint32_t word = dsm_load_acquire_u32(lock);
    if ((word & ~DSM_ARRAY_AWAITED) <= DSM_ARRAY_SESSIONS) continue;
    if (dsm_cas_acq_rel_u32(lock, &word, 0)) self->done->copies++;
    dsm_os_word_wake(lock, UINT32_MAX);
  }
}

static dsm_status hold(heal *self) {
  self->block = dsm_array_block_make(&self->old, 0, self->old.geometry.data_bytes);
  self->block.holds = true;
  if (!self->holds) return DSM_OK;
  mend_locks(self);
  return dsm_array_write_begin(self->call, &self->old, &self->block);
}

/* The array under its new number, filled and compared; the tiles are held until it is meant. */
static dsm_status replace(heal *self) {
  if (self->fresh) {
    DSM_TRY(make_files(self));
    fill(self, self->fresh); /* the others may still tell what this one does not */
  }
  if (!self->fresh && dsm_array_words_hold(&self->old)) return DSM_OK;
  DSM_TRY(hold(self));
  DSM_CRASH_POINT("heal.held");
  mend_stamps(self);
  if (!self->fresh) return DSM_OK;
  if (self->holds) carry_words(self);
  mend_blocks(self);
  fill(self, UINT32_MAX);
  DSM_TRY(compare(self));
  DSM_CRASH_POINT("heal.compared");
  DSM_TRY(dsm_array_publish(self->call, self->old.entry, self->new.number));
  DSM_CRASH_POINT("heal.published");
  clear_marks(self);
  self->done->copies += (uint32_t)__builtin_popcount(self->fresh);
  return DSM_OK;
}

static bool running(const dsm_space *space) {
  return dsm_load_acquire_u32(&dsm_space_control(space)->state) == DSM_STATE_RUNNING;
}

dsm_status dsm_array_heal(dsm_call *call, uint32_t entry, uint64_t number, dsm_array_healed *done) {
  heal self = {.call = call, .done = done};
  *done = (dsm_array_healed){0};
  self.block.session = DSM_ARRAY_NO_SESSION;
  uint64_t next;
  DSM_TRY(dsm_array_reserve(call, entry, number, &next));
  DSM_CRASH_POINT("heal.reserved");
  dsm_status status = dsm_array_look(call, entry, number, &self.old);
  if (status == DSM_OK) {
    self.new = (dsm_array){.geometry = self.old.geometry, .number = next, .entry = entry};
    for (uint32_t i = 0; i < DSM_ARRAY_COPIES_MAX; i++) self.new.segments[i].handle = -1;
    dsm_array_lay_out(&self.new, &self.bytes);
    status = judge(&self) ? replace(&self)
                          : dsm_fail(call, DSM_NO_REPLICAS, "no copy of the array is left", -1, -1,
                                     number, self.old.geometry.replicas);
  }
  if (status == DSM_NO_REPLICAS) dsm_array_note_lost(call->space, entry, number);
  if (status == DSM_OK) dsm_array_note_mended(call->space, done->copies);
  dsm_fault fault = call->fault;
  /* Patient: what is not settled keeps others off the array until this process ends. */
  while (dsm_array_settle(call, entry) == DSM_LOCK_TIMEOUT && running(call->space)) continue;
  call->fault = fault;
  dsm_array_cancel(call, &self.old, &self.block);
  dsm_array_close(&self.old);
  dsm_array_close(&self.new);
  return status;
}

bool dsm_array_named(const dsm_space *space, uint64_t number, uint32_t copies, uint64_t bytes) {
  bool named = true;
  for (uint32_t copy = 0; copy < copies && named; copy++) {
    char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
    dsm_array_segment_name(name, space, number, copy);
    named = dsm_os_segment_size(name) == bytes;
  }
  return named;
}
