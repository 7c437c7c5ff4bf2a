/* Overwriting within a slab. */
#include "swap.h"

dsm_swap dsm_swap_find(dsm_log *log, unsigned node, uint32_t stripe, uint64_t old_offset,
                       uint64_t old_bytes, uint64_t bytes) {
  dsm_swap swap = {.page = 0};
  uint64_t page = old_offset / DSM_ARENA_PAGE_BYTES;
  const dsm_slab_shm *slab = dsm_slab_at(log, node, stripe, page, &swap.fit);
  if (DSM_UNLIKELY(!slab)) return swap;
  uint64_t bits = dsm_slab_bits(log, node, slab);
  uint64_t old = dsm_slab_mask(old_offset, old_bytes);
  if (DSM_UNLIKELY(old == 0 || (bits & old) != old)) {
    dsm_log_corrupt(log, "extent to free is not taken", node + 1, old_offset, bits);
    return swap;
  }
  uint64_t starts = dsm_slab_free_runs(bits, dsm_slab_grains(bytes));
  if (starts == 0 || log->status != DSM_OK) return swap;
  swap.page = page;
  swap.offset = dsm_slab_first(page, starts);
  /* Its lines are stored to as a whole soon, and then the lock's store waits for them. */
  const uint8_t *extent = log->call->space->nodes[node].base + swap.offset;
  for (uint64_t line = 0; line < bytes; line += DSM_LINE_BYTES)
    __builtin_prefetch(extent + line, 1);
  __builtin_prefetch(extent + bytes - 1, 1);
  swap.bits = (bits | dsm_slab_mask(swap.offset, bytes)) & ~old;
  return swap;
}

/* Not higher than it may, nor much lower than it could. */
static bool hangs_well(uint64_t bits, unsigned fit) {
  if (fit >= DSM_FIT_COUNT || dsm_slab_free_runs(bits, 1u << fit) == 0) return false;
  return fit + 2 >= DSM_FIT_COUNT || dsm_slab_free_runs(bits, 4u << fit) == 0;
}

void dsm_swap_list(dsm_log *log, unsigned node, uint32_t stripe, const dsm_swap *swap,
                   uint64_t old_offset) {
  const uint8_t *extent = log->call->space->nodes[node].base + old_offset;
  dsm_log_once(log, node + 1, (const dsm_atomic_u64 *)(const void *)extent, 0);
  dsm_slab_list_bits(log, node, swap->page, swap->bits);
  if (DSM_UNLIKELY(!hangs_well(swap->bits, swap->fit)))
    dsm_slab_rehang(log, node, stripe, swap->page, swap->fit, dsm_slab_fit(swap->bits));
}
