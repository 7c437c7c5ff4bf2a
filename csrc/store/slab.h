/* Small extents: arena pages shared by the objects and tables of one stripe at one node.
 *
 * A slab is one arena page: a header of two grains, then 62 grains of 16 bytes with a bit each. An
 * extent is a run of grains; extents of all sizes share a slab, so that a stripe of a few objects
 * touches one page. The slabs with room hang in lists by the power of two of their longest free
 * run, with heads in the sub. An empty slab becomes the sub's spare, or goes back to the arena.
 *
 *   I  bits say which grains are taken, and carry a check of their own: a damaged bitmap is refused
 *      before it can make two objects share memory
 *   I  a slab hangs in no list of longer runs than it has; it may hang in one of shorter ones
 *   I  the first word of an extent is 0 (not live) until its object or table is published, and
 * again from the moment it is freed I  all changes are listed in the stripe's intent; nothing here
 * stores, but for preparing a spare page, which nothing refers to
 *
 * All functions need the stripe's lock. Who takes or gives calls dsm_slab_finish before the commit.
 */
#ifndef DSM_STORE_SLAB_H
#define DSM_STORE_SLAB_H

#include "../mem/arena.h"

#define DSM_SLAB_GRAINS 62u

typedef struct dsm_slab_shm {
  dsm_atomic_u64 shape; /* sealed: stripe << 8 | 1 + index of the list it hangs in, 255: none */
  dsm_atomic_u64 link;  /* link-sealed: next << 28 | previous */
  dsm_atomic_u64 bits;  /* bit n for grain n; verified by the next word */
  dsm_atomic_u64 check; /* of the bits and their place */
} dsm_slab_shm;
_Static_assert(sizeof(dsm_slab_shm) == 2 * DSM_GRAIN_BYTES, "the header takes two grains");
_Static_assert(sizeof(dsm_slab_shm) + DSM_SLAB_GRAINS * DSM_GRAIN_BYTES == DSM_ARENA_PAGE_BYTES,
               "header and grains fill the page");
_Static_assert(DSM_SMALL_BYTES_MAX == DSM_SLAB_GRAINS * DSM_GRAIN_BYTES, "largest small extent");

#define DSM_SLAB_ALL ((1ull << DSM_SLAB_GRAINS) - 1)

static inline unsigned dsm_slab_grains(uint64_t bytes) {
  return (unsigned)((bytes + DSM_GRAIN_BYTES - 1) / DSM_GRAIN_BYTES);
}

/* Bits at which a run of `count` clear bits begins, found by doubling. */
static inline uint64_t dsm_slab_free_runs(uint64_t bits, unsigned count) {
  uint64_t starts = ~bits & DSM_SLAB_ALL;
  unsigned length = 1;
  for (; length * 2 <= count; length *= 2) starts &= starts >> length;
  return length < count ? starts & starts >> (count - length) : starts;
}

/* Offset of the extent at the lowest of these bits. */
static inline uint64_t dsm_slab_first(uint64_t page, uint64_t starts) {
  return page * DSM_ARENA_PAGE_BYTES + sizeof(dsm_slab_shm) +
         (uint64_t)__builtin_ctzll(starts) * DSM_GRAIN_BYTES;
}

/* The bits of an extent within its slab; 0 if the extent crosses the slab's bounds. */
static inline uint64_t dsm_slab_mask(uint64_t offset, uint64_t bytes) {
  uint64_t inside = offset % DSM_ARENA_PAGE_BYTES;
  unsigned count = dsm_slab_grains(bytes);
  if (inside < sizeof(dsm_slab_shm) || inside % DSM_GRAIN_BYTES != 0 || count == 0) return 0;
  unsigned first = (unsigned)((inside - sizeof(dsm_slab_shm)) / DSM_GRAIN_BYTES);
  if (count > DSM_SLAB_GRAINS - first) return 0;
  return (DSM_SLAB_ALL >> (DSM_SLAB_GRAINS - count)) << first;
}

/* True if taking `bytes` (at most DSM_SMALL_BYTES_MAX) needs a page that the sub does not have.
 * *page: the slab to take from, 0 for the spare page. */
bool dsm_slab_needs_page(dsm_log *log, unsigned node, uint32_t stripe, uint64_t bytes,
                         uint64_t *page);
/* Byte offset of a free extent of the slab found by dsm_slab_needs_page, with no change in between;
 * 0 and a failed log on damage. */
uint64_t dsm_slab_take(dsm_log *log, unsigned node, uint32_t stripe, uint64_t bytes, uint64_t page);
/* Frees the extent: lists its first word as not live; its bits are cleared by dsm_slab_finish. */
void dsm_slab_give(dsm_log *log, unsigned node, uint32_t stripe, uint64_t offset, uint64_t bytes);
/* Lists the bits of the slabs that were taken from or given to, and hangs them where they belong.
 */
void dsm_slab_finish(dsm_log *log, unsigned node, uint32_t stripe);
/* Lists the return of the spare page, of a sub that is empty now. */
void dsm_slab_give_spare(dsm_log *log, unsigned node, uint32_t stripe);
/* Lists a page run of the sub for return to the arena. */
void dsm_slab_retire(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page);

/* The slab at a page, verified to be the stripe's, and the list it hangs in (DSM_FIT_COUNT: none);
 * NULL and a failed log otherwise. */
dsm_slab_shm *dsm_slab_at(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page,
                          unsigned *fit);
/* The bits of a slab, verified; a failed log if they are damaged. */
uint64_t dsm_slab_bits(dsm_log *log, unsigned node, const dsm_slab_shm *slab);
/* Lists new bits, and a move from one list (DSM_FIT_COUNT: none) to another. */
void dsm_slab_list_bits(dsm_log *log, unsigned node, uint64_t page, uint64_t bits);
void dsm_slab_rehang(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page, unsigned fit,
                     unsigned wanted);
/* For repairs, not through the log: writes header, bits and link of a slab anew, and hangs it at
 * the head of the list where it belongs. */
void dsm_slab_rebuild(const dsm_log *log, unsigned node, uint32_t stripe, uint64_t page,
                      uint64_t bits, uint64_t heads[DSM_FIT_COUNT]);
/* The list in which a slab with these bits belongs; DSM_FIT_COUNT if it is full or empty. */
unsigned dsm_slab_fit(uint64_t bits);

#endif
