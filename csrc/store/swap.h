/* Overwriting an object within its slab: the usual put of a small value.
 *
 * The new extent is taken beside the old one, and the old one freed, by one new bitmap. That needs
 * no look through the lists, no reservation, and no change of a list while the slab's longest free
 * run stays within a factor of four of the list that it hangs in: a slab may hang lower than it
 * could, never higher. The old extent is still taken while the new one is chosen (I-1).
 */
#ifndef DSM_STORE_SWAP_H
#define DSM_STORE_SWAP_H

#include "slab.h"

typedef struct dsm_swap {
  uint64_t page;   /* 0: there is no room beside the old extent */
  uint64_t offset; /* of the new extent */
  uint64_t bits;   /* of the slab afterwards */
  unsigned fit;    /* the list it hangs in */
} dsm_swap;

/* Finds the place; lists nothing. The old extent's length must have been verified before the log is
 * committed. */
dsm_swap dsm_swap_find(dsm_log *log, unsigned node, uint32_t stripe, uint64_t old_offset,
                       uint64_t old_bytes, uint64_t bytes);
/* Lists the old extent's end and the slab's new bits. Instead of dsm_slab_take, dsm_slab_give and
 * dsm_slab_finish, where the last of these would stand. */
void dsm_swap_list(dsm_log *log, unsigned node, uint32_t stripe, const dsm_swap *swap,
                   uint64_t old_offset);

#endif
