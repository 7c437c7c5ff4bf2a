/* Slabs: grains, lists, bits. */
#include "slab.h"

#include "../base/copy.h"
#include "../base/crash.h"

#define PAGE_MASK ((1ull << 28) - 1)
#define SHAPE_UNHUNG 255u
#define FIT_STEPS 4 /* slabs looked at in the one list where not all fit */

unsigned dsm_slab_fit(uint64_t bits) {
  uint64_t runs = ~bits & DSM_SLAB_ALL;
  if (runs == 0 || runs == DSM_SLAB_ALL) return DSM_FIT_COUNT;
  unsigned fit = 0;
  for (unsigned length = 1; fit + 1 < DSM_FIT_COUNT; length *= 2, fit++) {
    runs &= runs >> length;
    if (runs == 0) break;
  }
  return fit;
}

static dsm_slab_shm *slab_of(const dsm_call *call, unsigned node, uint64_t page) {
  return (dsm_slab_shm *)(void *)(call->space->nodes[node].base + page * DSM_ARENA_PAGE_BYTES);
}

static bool page_fits(const dsm_call *call, uint64_t page) {
  return page >= call->space->layout.data_page && page < call->space->layout.page_count;
}

dsm_slab_shm *dsm_slab_at(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page,
                          unsigned *fit) {
  if (log->status != DSM_OK) return NULL;
  if (!page_fits(log->call, page)) {
    dsm_log_corrupt(log, "slab outside the segment", node + 1, page, 0);
    return NULL;
  }
  dsm_slab_shm *slab = slab_of(log->call, node, page);
  uint64_t shape = dsm_log_read_sealed(log, node + 1, &slab->shape);
  unsigned list = (unsigned)(shape & 255);
  *fit = list == SHAPE_UNHUNG ? DSM_FIT_COUNT : list - 1;
  if (log->status == DSM_OK && (shape >> 8 != stripe || *fit > DSM_FIT_COUNT))
    dsm_log_corrupt(log, "slab is another stripe's", node + 1, shape, stripe);
  return log->status == DSM_OK ? slab : NULL;
}

static uint64_t shape_word(const dsm_log *log, unsigned node, uint32_t stripe,
                           const dsm_slab_shm *slab, unsigned fit) {
  uint64_t list = fit == DSM_FIT_COUNT ? SHAPE_UNHUNG : fit + 1;
  return dsm_seal((uint64_t)stripe << 8 | list,
                  dsm_space_locator(log->call->space, node + 1, &slab->shape));
}

static uint64_t link_get(dsm_log *log, unsigned node, uint64_t page) {
  if (log->status != DSM_OK || !page_fits(log->call, page)) {
    dsm_log_corrupt(log, "slab link outside the segment", node + 1, page, 0);
    return 0;
  }
  bool ok;
  const dsm_atomic_u64 *word = &slab_of(log->call, node, page)->link;
  uint64_t raw = dsm_log_get(log, node + 1, word);
  uint64_t value = dsm_link_unseal(raw, dsm_space_locator(log->call->space, node + 1, word), &ok);
  if (!ok) dsm_log_corrupt(log, "slab link does not verify", node + 1, page, raw);
  return value;
}

static void link_set(dsm_log *log, unsigned node, uint64_t page, uint64_t next, uint64_t previous) {
  if (log->status != DSM_OK) return;
  const dsm_atomic_u64 *word = &slab_of(log->call, node, page)->link;
  dsm_log_set(
      log, node + 1, word,
      dsm_link_seal(next << 28 | previous, dsm_space_locator(log->call->space, node + 1, word)));
}

/* Eight bits of check do not make a link true: neighbours must name each other. */
static void expect(dsm_log *log, unsigned node, uint64_t found, uint64_t expected) {
  if (found != expected)
    dsm_log_corrupt(log, "neighbours in a slab list disagree", node + 1, found, expected);
}

static void list_remove(dsm_log *log, unsigned node, dsm_sub_shm *sub, unsigned fit,
                        uint64_t page) {
  uint64_t link = link_get(log, node, page), next = link >> 28, previous = link & PAGE_MASK;
  if (log->status != DSM_OK) return;
  if (previous) {
    uint64_t before = link_get(log, node, previous);
    expect(log, node, before >> 28, page);
    link_set(log, node, previous, next, before & PAGE_MASK);
  } else {
    expect(log, node, dsm_log_get_sealed(log, node + 1, &sub->partial[fit]), page);
    dsm_log_set_sealed(log, node + 1, &sub->partial[fit], next);
  }
  if (next) {
    uint64_t after = link_get(log, node, next);
    expect(log, node, after & PAGE_MASK, page);
    link_set(log, node, next, after >> 28, previous);
  }
}

static void list_push(dsm_log *log, unsigned node, dsm_sub_shm *sub, unsigned fit, uint64_t page) {
  uint64_t old = dsm_log_get_sealed(log, node + 1, &sub->partial[fit]);
  link_set(log, node, page, old, 0);
  if (old) {
    uint64_t link = link_get(log, node, old);
    expect(log, node, link & PAGE_MASK, 0);
    link_set(log, node, old, link >> 28, page);
  }
  dsm_log_set_sealed(log, node + 1, &sub->partial[fit], page);
}

static uint64_t bits_check(const dsm_log *log, unsigned node, const dsm_slab_shm *slab,
                           uint64_t bits) {
  uint64_t mixed =
      (bits ^ dsm_space_locator(log->call->space, node + 1, &slab->bits)) * DSM_SEAL_FACTOR;
  return (mixed ^ mixed >> 32) * DSM_SEAL_FACTOR | 1;
}

uint64_t dsm_slab_bits(dsm_log *log, unsigned node, const dsm_slab_shm *slab) {
  uint64_t bits = dsm_load_relaxed_u64(&slab->bits), check = dsm_load_relaxed_u64(&slab->check);
  if (DSM_UNLIKELY(bits_check(log, node, slab, bits) != check || bits > DSM_SLAB_ALL))
    dsm_log_corrupt(log, "bits of the slab do not verify", node + 1, bits, check);
  return bits;
}

/* The entry of a slab in the log, loaded and verified at first use; -1 and a failed log on damage.
 */
static int touch(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page) {
  for (unsigned i = 0; i < log->touched_count; i++)
    if (log->touched[i].page == page) return (int)i;
  unsigned fit;
  const dsm_slab_shm *slab = dsm_slab_at(log, node, stripe, page, &fit);
  if (!slab) return -1;
  uint64_t bits = dsm_slab_bits(log, node, slab);
  if (log->status != DSM_OK) return -1;
  DSM_ASSERT(log->touched_count < sizeof log->touched / sizeof *log->touched);
  unsigned at = log->touched_count++;
  log->touched[at].page = page;
  log->touched[at].bits = bits;
  log->touched[at].fit = fit;
  return (int)at;
}

/* A slab with a free run of so many grains, or 0. Lists nothing. */
static uint64_t find(dsm_log *log, unsigned node, uint32_t stripe, unsigned grains) {
  const dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  unsigned own = 31 - (unsigned)__builtin_clz(grains), sure = own + ((grains & (grains - 1)) != 0);
  for (unsigned fit = own; fit < DSM_FIT_COUNT; fit++) {
    uint64_t page = dsm_log_read_sealed(log, node + 1, &sub->partial[fit]);
    if (fit >= sure && page) return page;
    for (int step = 0; page && step < FIT_STEPS; step++) {
      unsigned list;
      const dsm_slab_shm *slab = dsm_slab_at(log, node, stripe, page, &list);
      if (!slab) return 0;
      uint64_t bits = dsm_slab_bits(log, node, slab);
      if (log->status != DSM_OK) return 0;
      if (dsm_slab_free_runs(bits, grains)) return page;
      page = link_get(log, node, page) >> 28;
    }
  }
  return 0;
}

bool dsm_slab_needs_page(dsm_log *log, unsigned node, uint32_t stripe, uint64_t bytes,
                         uint64_t *page) {
  const dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  *page = find(log, node, stripe, dsm_slab_grains(bytes));
  return *page == 0 && log->status == DSM_OK &&
         dsm_log_read_sealed(log, node + 1, &sub->spare) == 0;
}

/* Turns the spare page into an empty slab that hangs in no list yet. */
static uint64_t prepare_spare(dsm_log *log, unsigned node, uint32_t stripe) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->spare);
  if (log->status != DSM_OK) return 0;
  dsm_run run;
  log->status = dsm_run_read(log->call, node, page, &run);
  if (log->status == DSM_OK && (run.kind != DSM_RUN_SLAB || run.stripe != stripe))
    dsm_log_corrupt(log, "spare page is not this stripe's", node + 1, page, run.stripe);
  if (log->status != DSM_OK) return 0;
  static const uint8_t zeros[DSM_ARENA_PAGE_BYTES];
  dsm_slab_shm *slab = slab_of(log->call, node, page);
  dsm_fence_release(); /* as in a put: the page may have held what readers still look at */
  dsm_copy_in(slab, zeros, DSM_ARENA_PAGE_BYTES);
  DSM_CRASH_POINT("slab.prepared");
  dsm_store_relaxed_u64(&slab->shape, shape_word(log, node, stripe, slab, DSM_FIT_COUNT));
  dsm_store_relaxed_u64(&slab->check, bits_check(log, node, slab, 0));
  link_set(log, node, page, 0, 0);
  dsm_log_set_sealed(log, node + 1, &sub->spare, 0);
  return page;
}

uint64_t dsm_slab_take(dsm_log *log, unsigned node, uint32_t stripe, uint64_t bytes,
                       uint64_t page) {
  if (page == 0) page = prepare_spare(log, node, stripe);
  int at = touch(log, node, stripe, page);
  if (at < 0) return 0;
  uint64_t bits = log->touched[at].bits, starts = dsm_slab_free_runs(bits, dsm_slab_grains(bytes));
  if (starts == 0) {
    dsm_log_corrupt(log, "slab has no room", node + 1, page, bits);
    return 0;
  }
  uint64_t offset = dsm_slab_first(page, starts);
  log->touched[at].bits = bits | dsm_slab_mask(offset, bytes);
  return offset;
}

void dsm_slab_give(dsm_log *log, unsigned node, uint32_t stripe, uint64_t offset, uint64_t bytes) {
  uint64_t mask = dsm_slab_mask(offset, bytes);
  int at = touch(log, node, stripe, offset / DSM_ARENA_PAGE_BYTES);
  if (at < 0) return;
  if (mask == 0 || (log->touched[at].bits & mask) != mask) {
    dsm_log_corrupt(log, "extent to free is not taken", node + 1, offset, log->touched[at].bits);
    return;
  }
  const uint8_t *extent = log->call->space->nodes[node].base + offset;
  dsm_log_once(log, node + 1, (const dsm_atomic_u64 *)(const void *)extent, 0);
  log->touched[at].bits &= ~mask;
}

/* An empty slab: the sub keeps one as a spare, a second one goes back. */
static void set_aside(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page, unsigned fit) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  if (fit < DSM_FIT_COUNT) list_remove(log, node, sub, fit, page);
  dsm_log_set(log, node + 1, &slab_of(log->call, node, page)->shape, 0);
  if (dsm_log_get_sealed(log, node + 1, &sub->spare) == 0)
    dsm_log_set_sealed(log, node + 1, &sub->spare, page);
  else
    dsm_slab_retire(log, node, stripe, page);
}

void dsm_slab_list_bits(dsm_log *log, unsigned node, uint64_t page, uint64_t bits) {
  const dsm_slab_shm *slab = slab_of(log->call, node, page);
  dsm_log_once(log, node + 1, &slab->bits, bits);
  dsm_log_once(log, node + 1, &slab->check, bits_check(log, node, slab, bits));
}

void dsm_slab_rehang(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page, unsigned fit,
                     unsigned wanted) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  const dsm_slab_shm *slab = slab_of(log->call, node, page);
  if (fit < DSM_FIT_COUNT) list_remove(log, node, sub, fit, page);
  if (wanted < DSM_FIT_COUNT) list_push(log, node, sub, wanted, page);
  dsm_log_set(log, node + 1, &slab->shape, shape_word(log, node, stripe, slab, wanted));
}

void dsm_slab_finish(dsm_log *log, unsigned node, uint32_t stripe) {
  for (unsigned i = 0; i < log->touched_count && log->status == DSM_OK; i++) {
    uint64_t page = log->touched[i].page, bits = log->touched[i].bits;
    unsigned fit = log->touched[i].fit, wanted = dsm_slab_fit(bits);
    dsm_slab_list_bits(log, node, page, bits);
    if (bits == 0)
      set_aside(log, node, stripe, page, fit);
    else if (wanted != fit)
      dsm_slab_rehang(log, node, stripe, page, fit, wanted);
  }
  log->touched_count = 0;
}

void dsm_slab_retire(dsm_log *log, unsigned node, uint32_t stripe, uint64_t page) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  for (unsigned i = 0; i < DSM_RETIRE_MAX; i++) {
    if (dsm_log_get_sealed(log, node + 1, &sub->retire[i]) != 0) continue;
    dsm_log_set_sealed(log, node + 1, &sub->retire[i], page);
    dsm_fetch_or_acq_rel_u32(&dsm_space_lock(log->call->space, stripe)->pending,
                             DSM_PENDING_SETTLE);
    return;
  }
  dsm_log_corrupt(log, "no room to retire a run", node + 1, page, stripe);
}

void dsm_slab_give_spare(dsm_log *log, unsigned node, uint32_t stripe) {
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->spare);
  if (log->status != DSM_OK || page == 0) return;
  dsm_log_set_sealed(log, node + 1, &sub->spare, 0);
  dsm_slab_retire(log, node, stripe, page);
}

void dsm_slab_rebuild(const dsm_log *log, unsigned node, uint32_t stripe, uint64_t page,
                      uint64_t bits, uint64_t heads[DSM_FIT_COUNT]) {
  const dsm_space *space = log->call->space;
  dsm_slab_shm *slab = slab_of(log->call, node, page);
  unsigned fit = dsm_slab_fit(bits);
  uint64_t next = fit < DSM_FIT_COUNT ? heads[fit] : 0;
  dsm_store_relaxed_u64(&slab->bits, bits);
  dsm_store_relaxed_u64(&slab->check, bits_check(log, node, slab, bits));
  dsm_store_relaxed_u64(&slab->shape, shape_word(log, node, stripe, slab, fit));
  dsm_store_relaxed_u64(&slab->link,
                        dsm_link_seal(next << 28, dsm_space_locator(space, node + 1, &slab->link)));
  if (next) {
    dsm_slab_shm *after = slab_of(log->call, node, next);
    bool ok;
    uint64_t link = dsm_link_unseal(dsm_load_relaxed_u64(&after->link),
                                    dsm_space_locator(space, node + 1, &after->link), &ok);
    dsm_store_relaxed_u64(
        &after->link,
        dsm_link_seal((link >> 28) << 28 | page, dsm_space_locator(space, node + 1, &after->link)));
  }
  if (fit < DSM_FIT_COUNT) heads[fit] = page;
}
