/* Slabs: classes, lists, bits. */
#include "slab.h"

#include "../base/copy.h"
#include "../base/crash.h"

#define SLAB_ROOM (DSM_PAGE_BYTES - sizeof(dsm_slab_shm))
#define PAGE_MASK ((1ull << 28) - 1)

/* Multiples of 16 up to 256, then what divides a page with least waste. */
static const uint16_t class_bytes[DSM_CLASS_COUNT] = {32,  48,  64,  80,  96,  112,  128,  144, 160,
                                                      176, 192, 208, 224, 240, 256,  288,  336, 400,
                                                      448, 496, 576, 672, 800, 1008, 1344, 2016};

uint32_t dsm_slab_class_bytes(unsigned size_class) {
  return class_bytes[size_class];
}

uint32_t dsm_slab_class_count(unsigned size_class) {
  return (uint32_t)(SLAB_ROOM / class_bytes[size_class]);
}

unsigned dsm_slab_class_of(uint64_t bytes) {
  if (bytes <= 256) return bytes <= 32 ? 0 : (unsigned)((bytes + 15) / 16 - 2);
  unsigned size_class = 15;
  while (class_bytes[size_class] < bytes) size_class++;
  return size_class;
}

static dsm_slab_shm *slab_at(const dsm_call *call, unsigned node, uint64_t page) {
  return (dsm_slab_shm *)(void *)(call->space->nodes[node].base + page * DSM_PAGE_BYTES);
}

static bool page_fits(const dsm_call *call, uint64_t page) {
  return page >= call->space->layout.data_page && page < call->space->layout.page_count;
}

/* The slab at a page, verified to be this stripe's; NULL and a failed log otherwise. */
static dsm_slab_shm *slab_get(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page,
                              unsigned *size_class) {
  if (log->status != DSM_OK) return NULL;
  if (!page_fits(log->call, page)) {
    dsm_log_corrupt(log, "slab outside the segment", node + 1, page, 0);
    return NULL;
  }
  dsm_slab_shm *slab = slab_at(log->call, node, page);
  uint64_t shape = dsm_log_get_sealed(log, node + 1, &slab->shape);
  *size_class = (unsigned)(shape & 255) - 1;
  if (log->status == DSM_OK && (shape >> 8 != stripe || *size_class >= DSM_CLASS_COUNT))
    dsm_log_corrupt(log, "slab is another stripe's", node + 1, shape, stripe);
  return log->status == DSM_OK ? slab : NULL;
}

static uint64_t link_get(dsm_log *log, unsigned node, uint64_t page) {
  if (log->status != DSM_OK || !page_fits(log->call, page)) {
    dsm_log_corrupt(log, "slab link outside the segment", node + 1, page, 0);
    return 0;
  }
  bool ok;
  const dsm_atomic_u64 *word = &slab_at(log->call, node, page)->link;
  uint64_t raw = dsm_log_get(log, node + 1, word);
  uint64_t value = dsm_link_unseal(raw, dsm_space_locator(log->call->space, node + 1, word), &ok);
  if (!ok) dsm_log_corrupt(log, "slab link does not verify", node + 1, page, raw);
  return value;
}

static void link_set(dsm_log *log, unsigned node, uint64_t page, uint64_t next, uint64_t previous) {
  if (log->status != DSM_OK) return;
  const dsm_atomic_u64 *word = &slab_at(log->call, node, page)->link;
  dsm_log_set(
      log, node + 1, word,
      dsm_link_seal(next << 28 | previous, dsm_space_locator(log->call->space, node + 1, word)));
}

static uint64_t class_mask(unsigned size_class, unsigned word) {
  uint32_t count = dsm_slab_class_count(size_class), start = word * 64;
  if (count <= start) return 0;
  return count - start >= 64 ? ~0ull : (1ull << (count - start)) - 1;
}

/* Eight bits of check do not make a link true: neighbours must name each other. */
static void expect(dsm_log *log, unsigned node, uint64_t found, uint64_t expected) {
  if (found != expected)
    dsm_log_corrupt(log, "neighbours in a slab list disagree", node + 1, found, expected);
}

static void list_remove(dsm_log *log, unsigned node, dsm_sub_shm *sub, unsigned size_class,
                        uint64_t page) {
  uint64_t link = link_get(log, node, page), next = link >> 28, previous = link & PAGE_MASK;
  if (log->status != DSM_OK) return;
  if (previous) {
    uint64_t before = link_get(log, node, previous);
    expect(log, node, before >> 28, page);
    link_set(log, node, previous, next, before & PAGE_MASK);
  } else {
    expect(log, node, dsm_log_get_sealed(log, node + 1, &sub->partial[size_class]), page);
    dsm_log_set_sealed(log, node + 1, &sub->partial[size_class], next);
  }
  if (next) {
    uint64_t after = link_get(log, node, next);
    expect(log, node, after & PAGE_MASK, page);
    link_set(log, node, next, after >> 28, previous);
  }
}

static void list_push(dsm_log *log, unsigned node, dsm_sub_shm *sub, unsigned size_class,
                      uint64_t page) {
  uint64_t old = dsm_log_get_sealed(log, node + 1, &sub->partial[size_class]);
  link_set(log, node, page, old, 0);
  if (old) {
    uint64_t link = link_get(log, node, old);
    expect(log, node, link & PAGE_MASK, 0);
    link_set(log, node, old, link >> 28, page);
  }
  dsm_log_set_sealed(log, node + 1, &sub->partial[size_class], page);
}

bool dsm_slab_needs_page(dsm_log *log, unsigned node, uint32_t stripe, unsigned size_class) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  return dsm_log_get_sealed(log, node + 1, &sub->partial[size_class]) == 0 &&
         dsm_log_get_sealed(log, node + 1, &sub->spare) == 0;
}

/* Turns the spare page into an empty slab at the head of the class's list. */
static uint64_t prepare_spare(dsm_log *log, unsigned node, uint32_t stripe, unsigned size_class) {
  static const uint8_t zeros[DSM_PAGE_BYTES];
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->spare);
  if (log->status != DSM_OK) return 0;
  dsm_run run;
  log->status = dsm_run_read(log->call, node, page, &run);
  if (log->status == DSM_OK && (run.kind != DSM_RUN_SLAB || run.stripe != stripe))
    dsm_log_corrupt(log, "spare page is not this stripe's", node + 1, page, run.stripe);
  if (log->status != DSM_OK) return 0;
  dsm_slab_shm *slab = slab_at(log->call, node, page);
  dsm_copy_in(slab, zeros, DSM_PAGE_BYTES);
  DSM_CRASH_POINT("slab.prepared");
  uint64_t salt = dsm_space_locator(log->call->space, node + 1, &slab->shape);
  dsm_store_relaxed_u64(&slab->shape, dsm_seal((uint64_t)stripe << 8 | (size_class + 1), salt));
  link_set(log, node, page, 0, 0);
  dsm_log_set_sealed(log, node + 1, &sub->spare, 0);
  dsm_log_set_sealed(log, node + 1, &sub->partial[size_class], page);
  return page;
}

static bool slab_is_full(const dsm_log *log, unsigned node, const dsm_slab_shm *slab,
                         unsigned size_class) {
  for (unsigned word = 0; word < 4; word++) {
    uint64_t mask = class_mask(size_class, word);
    if (mask && (dsm_log_get(log, node + 1, &slab->bits[word]) & mask) != mask) return false;
  }
  return true;
}

static bool slab_is_empty(const dsm_log *log, unsigned node, const dsm_slab_shm *slab,
                          unsigned size_class) {
  for (unsigned word = 0; word < 4; word++)
    if (class_mask(size_class, word) && dsm_log_get(log, node + 1, &slab->bits[word])) return false;
  return true;
}

/* The first free extent of a slab, marked taken; the slab leaves the list when it is full. */
static uint64_t take_from(dsm_log *log, unsigned node, dsm_sub_shm *sub, dsm_slab_shm *slab,
                          uint64_t page, unsigned size_class) {
  for (unsigned word = 0; word < 4; word++) {
    uint64_t bits = dsm_log_get(log, node + 1, &slab->bits[word]);
    uint64_t room = ~bits & class_mask(size_class, word);
    if (!room) continue;
    unsigned bit = (unsigned)__builtin_ctzll(room);
    uint64_t offset = page * DSM_PAGE_BYTES + sizeof(dsm_slab_shm) +
                      (uint64_t)(word * 64 + bit) * class_bytes[size_class];
    const uint8_t *extent = log->call->space->nodes[node].base + offset;
    uint64_t live = dsm_load_relaxed_u64((const dsm_atomic_u64 *)(const void *)extent);
    if (live) {
      dsm_log_corrupt(log, "free extent is live", node + 1, offset, live);
      return 0;
    }
    dsm_log_set(log, node + 1, &slab->bits[word], bits | 1ull << bit);
    if (slab_is_full(log, node, slab, size_class)) list_remove(log, node, sub, size_class, page);
    return offset;
  }
  dsm_log_corrupt(log, "slab in the list has no room", node + 1, page, size_class);
  return 0;
}

uint64_t dsm_slab_take(dsm_log *log, unsigned node, uint32_t stripe, unsigned size_class) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->partial[size_class]);
  if (page == 0) page = prepare_spare(log, node, stripe, size_class);
  unsigned found = 0;
  dsm_slab_shm *slab = slab_get(log, node, stripe, page, &found);
  if (!slab) return 0;
  if (found != size_class) {
    dsm_log_corrupt(log, "slab has another class", node + 1, found, size_class);
    return 0;
  }
  return take_from(log, node, sub, slab, page, size_class);
}

void dsm_slab_retire(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  for (unsigned i = 0; i < DSM_RETIRE_MAX; i++) {
    if (dsm_log_get_sealed(log, node + 1, &sub->retire[i]) != 0) continue;
    dsm_log_set_sealed(log, node + 1, &sub->retire[i], page);
    dsm_store_relaxed_u32(&dsm_space_lock(log->call->space, stripe)->pending, DSM_PENDING_SETTLE);
    return;
  }
  dsm_log_corrupt(log, "no room to retire a run", node + 1, page, stripe);
}

dsm_status dsm_slab_locate(dsm_call *call, unsigned node, uint32_t stripe, uint64_t offset,
                           unsigned *size_class, uint32_t *index) {
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  const dsm_slab_shm *slab = slab_get(&log, node, stripe, offset / DSM_PAGE_BYTES, size_class);
  if (!slab) return log.status;
  uint64_t inside = offset % DSM_PAGE_BYTES - sizeof(dsm_slab_shm);
  *index = (uint32_t)(inside / class_bytes[*size_class]);
  if (offset % DSM_PAGE_BYTES < sizeof(dsm_slab_shm) || inside % class_bytes[*size_class] != 0 ||
      *index >= dsm_slab_class_count(*size_class))
    return dsm_fail(call, DSM_CORRUPT, "offset is no extent of its slab", (int)node, stripe, offset,
                    *size_class);
  return DSM_OK;
}

void dsm_slab_give(dsm_log *log, unsigned node, uint32_t stripe, uint64_t offset) {
  if (log->status != DSM_OK) return;
  unsigned size_class;
  uint32_t index;
  log->status = dsm_slab_locate(log->call, node, stripe, offset, &size_class, &index);
  if (log->status != DSM_OK) return;
  uint64_t page = offset / DSM_PAGE_BYTES;
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  dsm_slab_shm *slab = slab_at(log->call, node, page);
  dsm_atomic_u64 *word = &slab->bits[index / 64];
  uint64_t bits = dsm_log_get(log, node + 1, word), bit = 1ull << (index % 64);
  if (!(bits & bit)) {
    dsm_log_corrupt(log, "extent to free is free already", node + 1, offset, bits);
    return;
  }
  bool was_full = slab_is_full(log, node, slab, size_class);
  const uint8_t *extent = log->call->space->nodes[node].base + offset;
  dsm_log_set(log, node + 1, (const dsm_atomic_u64 *)(const void *)extent, 0);
  dsm_log_set(log, node + 1, word, bits & ~bit);
  if (was_full) list_push(log, node, sub, size_class, page);
  if (!slab_is_empty(log, node, slab, size_class)) return;
  list_remove(log, node, sub, size_class, page);
  dsm_log_set(log, node + 1, &slab->shape, 0);
  if (dsm_log_get_sealed(log, node + 1, &sub->spare) == 0)
    dsm_log_set_sealed(log, node + 1, &sub->spare, page);
  else
    dsm_slab_retire(log, node, stripe, page);
}
