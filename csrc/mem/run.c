/* Page map, bins and lists of runs, all within one intent. */
#include "run.h"

#define BINS_PER_WORD 28u
#define FIRST_FIT_STEPS 16
#define RUN_PAGES_MASK ((1ull << 28) - 1)

static bool page_fits(const dsm_log *log, uint64_t page) {
  const dsm_layout *layout = &log->call->space->layout;
  return page >= layout->data_page && page < layout->page_count;
}

static dsm_page_shm *entry(const dsm_log *log, unsigned node, uint64_t page) {
  return dsm_space_page(log->call->space, node, page);
}

dsm_run dsm_run_get(dsm_log *log, unsigned node, uint64_t page) {
  dsm_run run = {.kind = DSM_RUN_NONE};
  if (!page_fits(log, page)) {
    dsm_log_corrupt(log, "page outside the segment", node + 1, page, 0);
    return run;
  }
  uint64_t value = dsm_log_get_sealed(log, node + 1, &entry(log, node, page)->run);
  run.kind = (dsm_run_kind)(value >> 28);
  run.pages = value & RUN_PAGES_MASK;
  if (log->status != DSM_OK) return (dsm_run){.kind = DSM_RUN_NONE};
  if (run.kind == DSM_RUN_NONE || run.kind > DSM_RUN_TAIL || run.pages == 0 ||
      run.pages > log->call->space->layout.page_count - page) {
    if (run.kind != DSM_RUN_TAIL) {
      dsm_log_corrupt(log, "page map entry is no run", node + 1, page, value);
      return (dsm_run){.kind = DSM_RUN_NONE};
    }
  }
  return run;
}

void dsm_run_set(dsm_log *log, unsigned node, uint64_t page, dsm_run_kind kind, uint64_t pages) {
  if (log->status != DSM_OK) return;
  dsm_log_set_sealed(log, node + 1, &entry(log, node, page)->run, (uint64_t)kind << 28 | pages);
  if (pages > 1)
    dsm_log_set_sealed(log, node + 1, &entry(log, node, page + pages - 1)->run,
                       (uint64_t)DSM_RUN_TAIL << 28 | pages);
}

static uint64_t link_get(dsm_log *log, unsigned node, uint64_t page) {
  bool ok = false;
  if (!page_fits(log, page)) {
    dsm_log_corrupt(log, "link outside the segment", node + 1, page, 0);
    return 0;
  }
  dsm_atomic_u64 *word = &entry(log, node, page)->link;
  uint64_t raw = dsm_log_get(log, node + 1, word);
  uint64_t value = dsm_link_unseal(raw, dsm_space_locator(log->call->space, node + 1, word), &ok);
  if (!ok) dsm_log_corrupt(log, "link does not verify", node + 1, page, raw);
  return value;
}

static void link_set(dsm_log *log, unsigned node, uint64_t page, uint64_t value) {
  if (log->status != DSM_OK) return;
  dsm_atomic_u64 *word = &entry(log, node, page)->link;
  dsm_log_set(log, node + 1, word,
              dsm_link_seal(value, dsm_space_locator(log->call->space, node + 1, word)));
}

void dsm_run_set_stripe(dsm_log *log, unsigned node, uint64_t page, uint32_t stripe) {
  link_set(log, node, page, stripe);
}

uint64_t dsm_run_list_next(dsm_log *log, unsigned node, uint64_t page) {
  return link_get(log, node, page) >> 28;
}

/* Eight bits of check do not make a link true: neighbours must name each other. */
static void expect(dsm_log *log, unsigned node, uint64_t found, uint64_t expected) {
  if (found != expected)
    dsm_log_corrupt(log, "neighbours in a list disagree", node + 1, found, expected);
}

void dsm_run_list_push(dsm_log *log, unsigned node, dsm_atomic_u64 *head, uint64_t page) {
  uint64_t old = dsm_log_get_sealed(log, node + 1, head);
  link_set(log, node, page, old << 28);
  if (old) {
    uint64_t link = link_get(log, node, old);
    expect(log, node, link & RUN_PAGES_MASK, 0);
    link_set(log, node, old, link >> 28 << 28 | page);
  }
  dsm_log_set_sealed(log, node + 1, head, page);
}

void dsm_run_list_remove(dsm_log *log, unsigned node, dsm_atomic_u64 *head, uint64_t page) {
  uint64_t link = link_get(log, node, page), next = link >> 28, previous = link & RUN_PAGES_MASK;
  if (previous) {
    uint64_t before = link_get(log, node, previous);
    expect(log, node, before >> 28, page);
    link_set(log, node, previous, next << 28 | (before & RUN_PAGES_MASK));
  } else {
    expect(log, node, dsm_log_get_sealed(log, node + 1, head), page);
    dsm_log_set_sealed(log, node + 1, head, next);
  }
  if (next) {
    uint64_t after = link_get(log, node, next);
    expect(log, node, after & RUN_PAGES_MASK, page);
    link_set(log, node, next, after >> 28 << 28 | previous);
  }
}

void dsm_run_count(dsm_log *log, unsigned node, dsm_atomic_u64 *counter, int64_t difference) {
  uint64_t value = dsm_log_get_sealed(log, node + 1, counter);
  if (difference < 0 && value < (uint64_t)-difference) {
    dsm_log_corrupt(log, "counter below zero", node + 1, value, (uint64_t)-difference);
    return;
  }
  dsm_log_set_sealed(log, node + 1, counter, value + (uint64_t)difference);
}

unsigned dsm_run_bin(uint64_t pages) {
  if (pages < 4) return (unsigned)pages - 1;
  unsigned power = 63 - (unsigned)__builtin_clzll(pages);
  return (power - 2) * 4 + (unsigned)((pages >> (power - 2)) & 3) + 3;
}

static void occupy(dsm_log *log, unsigned node, unsigned bin, bool occupied) {
  dsm_atomic_u64 *word = &dsm_arena_of(log, node)->occupied[bin / BINS_PER_WORD];
  uint64_t bits = dsm_log_get_sealed(log, node + 1, word), bit = 1ull << (bin % BINS_PER_WORD);
  dsm_log_set_sealed(log, node + 1, word, occupied ? bits | bit : bits & ~bit);
}

/* First run of a list that is long enough, looking at a bounded number of them. */
static uint64_t fit_in_bin(dsm_log *log, unsigned node, unsigned bin, uint64_t pages) {
  uint64_t page = dsm_log_get_sealed(log, node + 1, &dsm_arena_of(log, node)->bins[bin]);
  for (int step = 0; page && step < FIRST_FIT_STEPS; step++) {
    dsm_run run = dsm_run_get(log, node, page);
    if (log->status != DSM_OK) return 0;
    if (run.kind != DSM_RUN_FREE) {
      dsm_log_corrupt(log, "run in a bin is not free", node + 1, page, (uint64_t)run.kind);
      return 0;
    }
    if (run.pages >= pages) return page;
    page = dsm_run_list_next(log, node, page);
  }
  return 0;
}

uint64_t dsm_run_find(dsm_log *log, unsigned node, uint64_t pages) {
  uint64_t step = pages < 4 ? 1 : 1ull << (61 - __builtin_clzll(pages));
  unsigned own = dsm_run_bin(pages), sure = dsm_run_bin((pages + step - 1) & ~(step - 1));
  for (unsigned word = sure / BINS_PER_WORD; word < DSM_BIN_COUNT / BINS_PER_WORD; word++) {
    uint64_t bits = dsm_log_get_sealed(log, node + 1, &dsm_arena_of(log, node)->occupied[word]);
    if (word == sure / BINS_PER_WORD) bits &= ~0ull << (sure % BINS_PER_WORD);
    if (!bits) continue;
    unsigned bin = word * BINS_PER_WORD + (unsigned)__builtin_ctzll(bits);
    uint64_t page = bin < DSM_BIN_COUNT ? fit_in_bin(log, node, bin, pages) : 0;
    if (page == 0) dsm_log_corrupt(log, "bin is marked but holds no fit", node + 1, bin, pages);
    return page;
  }
  return own == sure ? 0 : fit_in_bin(log, node, own, pages);
}

void dsm_run_bin_insert(dsm_log *log, unsigned node, uint64_t page, uint64_t pages) {
  dsm_arena_shm *arena = dsm_arena_of(log, node);
  unsigned bin = dsm_run_bin(pages);
  dsm_run_set(log, node, page, DSM_RUN_FREE, pages);
  dsm_run_list_push(log, node, &arena->bins[bin], page);
  occupy(log, node, bin, true);
  dsm_run_count(log, node, &arena->free_pages, (int64_t)pages);
}

void dsm_run_bin_remove(dsm_log *log, unsigned node, uint64_t page, uint64_t pages) {
  dsm_arena_shm *arena = dsm_arena_of(log, node);
  unsigned bin = dsm_run_bin(pages);
  dsm_run_list_remove(log, node, &arena->bins[bin], page);
  if (dsm_log_get_sealed(log, node + 1, &arena->bins[bin]) == 0) occupy(log, node, bin, false);
  dsm_run_count(log, node, &arena->free_pages, -(int64_t)pages);
}

static void insert(dsm_log *log, unsigned node, uint64_t page, uint64_t pages, dsm_run_kind kind) {
  if (log->status != DSM_OK) return;
  if (kind == DSM_RUN_FREE) {
    dsm_run_bin_insert(log, node, page, pages);
    return;
  }
  dsm_arena_shm *arena = dsm_arena_of(log, node);
  dsm_run_set(log, node, page, DSM_RUN_UNBACKED, pages);
  dsm_run_list_push(log, node, &arena->unbacked, page);
  dsm_run_count(log, node, &arena->unbacked_pages, (int64_t)pages);
}

static void extract(dsm_log *log, unsigned node, uint64_t page, uint64_t pages, dsm_run_kind kind) {
  if (kind == DSM_RUN_FREE) {
    dsm_run_bin_remove(log, node, page, pages);
    return;
  }
  dsm_arena_shm *arena = dsm_arena_of(log, node);
  dsm_run_list_remove(log, node, &arena->unbacked, page);
  dsm_run_count(log, node, &arena->unbacked_pages, -(int64_t)pages);
}

void dsm_run_merge(dsm_log *log, unsigned node, uint64_t page, uint64_t pages, dsm_run_kind kind) {
  const dsm_layout *layout = &log->call->space->layout;
  if (page > layout->data_page) {
    dsm_run left = dsm_run_get(log, node, page - 1);
    uint64_t start = page - 1;
    if (left.kind == DSM_RUN_TAIL) {
      if (left.pages < 2 || left.pages > page - layout->data_page) {
        dsm_log_corrupt(log, "tail reaches outside", node + 1, page, left.pages);
        return;
      }
      start = page - left.pages;
      uint64_t length = left.pages;
      left = dsm_run_get(log, node, start);
      if (left.pages != length)
        dsm_log_corrupt(log, "head and tail differ", node + 1, left.pages, length);
    }
    if (log->status != DSM_OK) return;
    if (left.kind == kind) {
      extract(log, node, start, left.pages, kind);
      /* What ceases to be a head must not look like a run in use to who kept its number. */
      dsm_log_set_sealed(log, node + 1, &entry(log, node, page)->run, DSM_RUN_NONE);
      page = start;
      pages += left.pages;
    }
  }
  if (page + pages < layout->page_count) {
    dsm_run right = dsm_run_get(log, node, page + pages);
    if (right.kind == kind) {
      extract(log, node, page + pages, right.pages, kind);
      pages += right.pages;
    }
  }
  insert(log, node, page, pages, kind);
}
