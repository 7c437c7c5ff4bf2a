/* What a change keeps for the cut: the stripe's generation, and the object that it replaces. */
#include "../base/crash.h"
#include "cut.h"

#define LINE_MASK ((uint64_t)DSM_LINE_BYTES - 1)

static dsm_locator salt(const dsm_space *space, const dsm_atomic_u64 *word) {
  return dsm_space_locator(space, DSM_CONTROL_SEGMENT, word);
}

static void sealed_write(const dsm_space *space, dsm_atomic_u64 *word, uint64_t value) {
  dsm_store_release_u64(word, dsm_seal(value, salt(space, word)));
}

static void spoil(const dsm_space *space, uint64_t number) {
  sealed_write(space, &dsm_space_cut(space)->spoiled, number);
}

/* Room for a saved object: its offset in the area, 0 if there is none. */
static uint64_t take(dsm_call *call, uint64_t bytes) {
  const dsm_space *space = call->space;
  dsm_cut_shm *cut = dsm_space_cut(space);
  uint64_t room = space->layout.saved_bytes, rounded = (bytes + LINE_MASK) & ~LINE_MASK;
  if (dsm_load_relaxed_u64(&cut->saved_bytes) + rounded + DSM_LINE_BYTES > room) return 0;
  /* The first line stays empty, so that 0 names nothing. */
  uint64_t offset = dsm_fetch_add_relaxed_u64(&cut->saved_bytes, rounded) + DSM_LINE_BYTES;
  uint64_t end = offset + rounded;
  if (end > room || end < offset) return 0;
  for (uint64_t backed = dsm_load_acquire_u64(&cut->backed_bytes); end > backed;) {
    dsm_cut_back(call);
    uint64_t now = dsm_load_acquire_u64(&cut->backed_bytes);
    if (now <= backed) return 0;
    backed = now;
  }
  return offset;
}

/* Keeps the run of a large value from being reused while the checkpoint runs. */
static bool pin(const dsm_space *space, unsigned node, uint64_t offset) {
  dsm_cut_shm *cut = dsm_space_cut(space);
  if (dsm_load_relaxed_u64(&cut->pin_count) >= DSM_CUT_PINS_MAX) return false;
  uint64_t index = dsm_fetch_add_relaxed_u64(&cut->pin_count, 1);
  if (index >= DSM_CUT_PINS_MAX) return false;
  dsm_store_seq_cst_u64(&dsm_space_cut_pins(space)[index],
                        (uint64_t)(node + 1) << 32 | offset / DSM_ARENA_PAGE_BYTES);
  dsm_fence_seq_cst();
  DSM_CRASH_POINT("cut.pinned");
  return true;
}

/* The first copy whose bytes are what was put; -1 if none is. */
static int sound_copy(const dsm_space *space, const dsm_replaced *replaced) {
  for (uint32_t i = 0; i < replaced->count; i++) {
    const dsm_header *header = &replaced->found[i].header;
    if (!replaced->found[i].offset) continue;
    const uint8_t *object =
        (const uint8_t *)dsm_object_at(space, replaced->nodes[i], replaced->found[i].offset);
    bool lazy = header->flags & DSM_OBJECT_LAZY;
    bool hashed = !lazy || header->value_bytes <= DSM_CUT_COPY_BYTES_MAX;
    uint64_t hash = hashed ? dsm_value_hash(object + header->value_offset, header->value_bytes) : 0;
    uint64_t settled =
        lazy ? dsm_load_relaxed_u64(dsm_object_settled((dsm_object_shm *)(uintptr_t)object)) : hash;
    if ((uint32_t)(header->binding >> 32) ==
            dsm_object_checksum(header->version, header->shape, header->binding, replaced->key_hash,
                                lazy ? 0 : hash) &&
        (!hashed || settled == 0 || settled == hash))
      return (int)i;
  }
  return -1;
}

static bool save(dsm_call *call, const dsm_replaced *replaced, uint32_t replica, uint64_t next,
                 uint64_t *offset) {
  const dsm_space *space = call->space;
  const dsm_header *header = &replaced->found[replica].header;
  unsigned node = replaced->nodes[replica];
  uint64_t place = replaced->found[replica].offset;
  const uint8_t *object = (const uint8_t *)dsm_object_at(space, node, place);
  bool pinned = header->flags & DSM_OBJECT_ALIGNED &&
                header->value_bytes > DSM_CUT_COPY_BYTES_MAX && pin(space, node, place);
  uint64_t value_bytes = pinned ? 0 : header->value_bytes;
  *offset = take(call, sizeof(dsm_saved_shm) + header->key_bytes + value_bytes);
  if (*offset == 0) return false;
  dsm_saved_shm *saved =
      (dsm_saved_shm *)(void *)(space->control.base + space->layout.saved + *offset);
  *saved = (dsm_saved_shm){.next = next,
                           .stripe = replaced->stripe,
                           .pinned = pinned ? (uint64_t)(node + 1) << 56 | place : 0,
                           .version = header->version,
                           .shape = header->shape,
                           .binding = header->binding,
                           .bytes = header->key_bytes + value_bytes};
  uint8_t *bytes = (uint8_t *)(saved + 1);
  dsm_copy_out(bytes, object + header->key_offset, header->key_bytes);
  dsm_copy_out(bytes + header->key_bytes, object + header->value_offset, value_bytes);
  saved->check = dsm_hash64((const uint8_t *)saved + 8, sizeof *saved - 8 + saved->bytes, *offset);
  DSM_CRASH_POINT("cut.saved");
  return true;
}

static bool hidden(const dsm_space *space, uint16_t region) {
  return region < DSM_REGIONS_MAX && dsm_space_region(space, region)->name[0] == 0;
}

void dsm_cut_keep(dsm_call *call, uint64_t word, const dsm_replaced *replaced) {
  const dsm_space *space = call->space;
  dsm_cut_stripe_shm *record = dsm_space_cut_stripe(space, replaced->stripe);
  bool ok;
  uint64_t number = dsm_unseal(word, salt(space, &dsm_space_control(space)->cut), &ok);
  if (!ok) return; /* a damaged word is no checkpoint; who takes one notices that it is not his */
  uint64_t raw = dsm_load_relaxed_u64(&record->state);
  uint64_t state = raw ? dsm_unseal(raw, salt(space, &record->state), &ok) : 0;
  if (ok && state == (number << 1 | 1)) return;
  if (ok && state != number << 1) {
    sealed_write(space, &record->saved, 0);
    sealed_write(space, &record->gen, replaced->gen);
    DSM_CRASH_POINT("cut.noting");
    sealed_write(space, &record->state, number << 1);
    DSM_CRASH_POINT("cut.noted");
  }
  dsm_cut_look look;
  dsm_call quiet = *call;
  bool any = false;
  for (uint32_t i = 0; i < replaced->count; i++) any |= replaced->found[i].offset != 0;
  if (dsm_cut_look_at(&quiet, number, replaced->stripe, &look) != DSM_OK) {
    spoil(space, number);
    return;
  }
  const dsm_found *first = &replaced->found[0];
  if (!any || hidden(space, replaced->region) ||
      (first->offset && first->header.version > look.gen))
    return;
  int replica = sound_copy(space, replaced);
  uint64_t offset;
  if (replica < 0 || !save(&quiet, replaced, (uint32_t)replica, look.saved, &offset))
    spoil(space, number);
  else
    sealed_write(space, &record->saved, offset);
  DSM_CRASH_POINT("cut.kept");
}

dsm_status dsm_cut_saved(dsm_call *call, uint64_t offset, uint32_t stripe,
                         const dsm_saved_shm **out) {
  const dsm_space *space = call->space;
  uint64_t room = space->layout.saved_bytes;
  const dsm_saved_shm *saved =
      (const dsm_saved_shm *)(const void *)(space->control.base + space->layout.saved + offset);
  uint64_t backed = dsm_load_acquire_u64(&dsm_space_cut(space)->backed_bytes);
  if (backed < room) room = backed;
  bool good = offset % DSM_LINE_BYTES == 0 && offset < room && room - offset >= sizeof *saved &&
              saved->bytes <= room - offset - sizeof *saved && saved->stripe == stripe &&
              saved->next != offset &&
              saved->check ==
                  dsm_hash64((const uint8_t *)saved + 8, sizeof *saved - 8 + saved->bytes, offset);
  *out = saved;
  return good ? DSM_OK
              : dsm_fail(call, DSM_CORRUPT, "saved object of the checkpoint", -1, stripe, offset,
                         room);
}
