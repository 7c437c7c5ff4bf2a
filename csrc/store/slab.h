/* Small extents: pages of equal extents owned by one stripe at one node.
 *
 * A slab is one page: a 64-byte header with a bit per extent, then the extents. The slabs of a
 * class that have room hang in a list whose head is in the sub. An empty slab becomes the sub's
 * spare, or, if there is one already, goes back to the arena.
 *
 *   I  a set bit and a live first word go together; taking an extent whose first word is live is
 *      refused, so that a damaged bitmap cannot make two objects share memory
 *   I  all changes are listed in the stripe's intent; nothing here stores, but for preparing a
 * spare page, which nothing refers to All functions need the stripe's lock.
 */
#ifndef DSM_STORE_SLAB_H
#define DSM_STORE_SLAB_H

#include "../mem/arena.h"

typedef struct dsm_slab_shm {
  dsm_atomic_u64 shape; /* sealed: stripe << 8 | class + 1 */
  dsm_atomic_u64 link;  /* link-sealed: next << 28 | previous */
  dsm_atomic_u64 bits[4];
  uint64_t reserved[2];
} dsm_slab_shm;
_Static_assert(sizeof(dsm_slab_shm) == 64, "the slab's header is one line");

/* Size in bytes of the extents of a class, and the class that holds `bytes`
 * (bytes ≤ DSM_SMALL_BYTES_MAX). */
uint32_t dsm_slab_class_bytes(unsigned size_class);
unsigned dsm_slab_class_of(uint64_t bytes);
uint32_t dsm_slab_class_count(unsigned size_class);

/* True if taking an extent of the class needs a page that the sub does not have. */
bool dsm_slab_needs_page(dsm_log *log, unsigned node, uint32_t stripe, unsigned size_class);
/* Byte offset of a free extent, marked taken in the log; 0 and a failed log on damage. */
uint64_t dsm_slab_take(dsm_log *log, unsigned node, uint32_t stripe, unsigned size_class);
/* Frees the extent: lists its first word as not live, its bit as clear, the slab as the rules say.
 */
void dsm_slab_give(dsm_log *log, unsigned node, uint32_t stripe, uint64_t offset);
/* Lists a page run of the sub for return to the arena. */
void dsm_slab_retire(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page);

/* Class, and the extent's index, of an offset inside a slab; DSM_CORRUPT if it is none. */
dsm_status dsm_slab_locate(dsm_call *call, unsigned node, uint32_t stripe, uint64_t offset,
                           unsigned *size_class, uint32_t *index);

#endif
