/* The arena against a naive twin: an array that says, for each page, who has it.
 *
 * Random takes and gives in mixed sizes; after each step the run handed out is free in the twin and
 * backed (it is touched), and from time to time the page map, walked by dsm_arena_valid, is the
 * twin's. When all is given back one free run and one without memory are left.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "fixture.h"

enum { STRIPES = 64, WORDS = 14, HOLDERS = STRIPES * WORDS, NODE = 0 };

static const fixture_shape shape = {"ctest-arena", 1, 1, STRIPES, 48u << 20};

static fixture self;
static uint16_t *twin;         /* holder + 1 of each page; 0: free */
static uint64_t held[HOLDERS]; /* pages of each holder's run */
static dsm_run_kind kind_of[HOLDERS];

/* Any sealed word of a sub may hold a run; these are the heads of its slab lists and what follows.
 */
static dsm_atomic_u64 *holder_word(unsigned holder) {
  dsm_sub_shm *sub = dsm_space_sub(self.call.space, NODE, holder / WORDS);
  dsm_atomic_u64 *words = (dsm_atomic_u64 *)(void *)sub;
  return words + offsetof(dsm_sub_shm, partial) / sizeof *words + holder % WORDS;
}

static uint64_t holder_page(unsigned holder) {
  bool ok;
  dsm_atomic_u64 *word = holder_word(holder);
  uint64_t page = dsm_unseal(dsm_load_relaxed_u64(word),
                             dsm_space_locator(self.call.space, NODE + 1, word), &ok);
  CHECK(ok);
  return page;
}

static dsm_status take(unsigned holder, uint64_t pages) {
  kind_of[holder] = pages == 1 ? DSM_RUN_SLAB : holder % 2 ? DSM_RUN_VALUE : DSM_RUN_TABLE;
  dsm_status status =
      dsm_arena_take(&self.call, NODE, holder / WORDS, kind_of[holder], pages, holder_word(holder));
  uint64_t page = holder_page(holder), taken = 0;
  if (status != DSM_OK) {
    CHECK_EQUAL(page, 0);
    return status;
  }
  CHECK(page >= self.call.space->layout.data_page);
  CHECK(page + pages <= self.call.space->layout.page_count);
  for (uint64_t i = 0; i < pages; i++) {
    taken += twin[page + i] != 0;
    twin[page + i] = (uint16_t)(holder + 1);
    memset(self.call.space->nodes[NODE].base + (page + i) * DSM_ARENA_PAGE_BYTES, (int)holder + 1,
           8);
  }
  CHECK_EQUAL(taken, 0);
  held[holder] = pages;
  return DSM_OK;
}

static void give(unsigned holder) {
  uint64_t page = holder_page(holder);
  for (uint64_t i = 0; i < held[holder]; i++) {
    CHECK_EQUAL(twin[page + i], holder + 1);
    twin[page + i] = 0;
  }
  CHECK_EQUAL(dsm_arena_give(&self.call, NODE, holder / WORDS, holder_word(holder)), DSM_OK);
  CHECK_EQUAL(holder_page(holder), 0);
  held[holder] = 0;
  /* Whoever kept the number of the page is not told that the run is still in use. */
  dsm_run run;
  CHECK(dsm_arena_look(&self.call, NODE, page, &run) != DSM_OK || run.kind < DSM_RUN_SLAB ||
        run.kind > DSM_RUN_COLD);
}

typedef struct walk {
  uint64_t free_runs, unbacked_runs, wrong, used;
  dsm_run_kind before;
} walk;

static void compare(void *context, uint64_t page, const dsm_run *run) {
  walk *seen = context;
  bool used = run->kind >= DSM_RUN_SLAB && run->kind <= DSM_RUN_COLD;
  uint16_t expected = twin[page];
  for (uint64_t i = 0; i < run->pages; i++) seen->wrong += twin[page + i] != expected;
  if (used) {
    unsigned holder = expected - 1u;
    seen->wrong += expected == 0 || held[holder] != run->pages || run->stripe != holder / WORDS ||
                   run->kind != kind_of[holder] || holder_page(holder) != page;
    seen->used += run->pages;
  } else {
    seen->wrong += expected != 0;
  }
  seen->free_runs += run->kind == DSM_RUN_FREE;
  seen->unbacked_runs += run->kind == DSM_RUN_UNBACKED;
  /* Neighbours of one free kind would have been merged. */
  seen->wrong += !used && run->kind == seen->before;
  seen->before = run->kind;
}

static walk compare_all(void) {
  walk seen = {0};
  CHECK_EQUAL(dsm_arena_valid(&self.call, NODE, compare, &seen), DSM_OK);
  CHECK_EQUAL(seen.wrong, 0);
  dsm_arena_usage usage;
  CHECK_EQUAL(dsm_arena_usage_read(&self.call, NODE, &usage), DSM_OK);
  CHECK_EQUAL(usage.total_pages - usage.free_pages - usage.unbacked_pages, seen.used);
  return seen;
}

static uint64_t random_pages(uint64_t *random) {
  switch (random_below(random, 12)) {
  case 0:
    return 1 + random_below(random, 2800);
  case 1:
    return 8000 + random_below(random, 900); /* around the border of cold runs */
  case 2:
  case 3:
    return 1 + random_below(random, 60);
  default:
    return 1 + random_below(random, 6);
  }
}

static void test_random(uint64_t random, unsigned steps, unsigned holders) {
  unsigned full = 0;
  for (unsigned step = 0; step < steps; step++) {
    unsigned holder = (unsigned)random_below(&random, holders);
    if (held[holder]) {
      give(holder);
    } else {
      dsm_status status = take(holder, random_pages(&random));
      CHECK(status == DSM_OK || status == DSM_STORE_FULL);
      full += status == DSM_STORE_FULL;
    }
    if (step % 256 == 0) compare_all();
  }
  compare_all();
  for (unsigned holder = 0; holder < HOLDERS; holder++)
    if (held[holder]) give(holder);
  walk seen = compare_all();
  CHECK_EQUAL(seen.used, 0);
  CHECK(seen.free_runs <= 1 + seen.unbacked_runs && seen.unbacked_runs <= 2);
  if (holders == HOLDERS) CHECK(full > 0);
}

/* Every page can be handed out one by one, and comes back as one run. */
static void test_to_the_last_page(void) {
  uint64_t pages = self.call.space->layout.page_count - self.call.space->layout.data_page;
  uint64_t each = pages / HOLDERS, rest = pages - each * HOLDERS;
  for (unsigned holder = 0; holder < HOLDERS; holder++)
    CHECK_EQUAL(take(holder, each + (holder < rest)), DSM_OK);
  dsm_arena_usage usage;
  CHECK_EQUAL(dsm_arena_usage_read(&self.call, NODE, &usage), DSM_OK);
  CHECK_EQUAL(usage.free_pages + usage.unbacked_pages, 0);
  for (unsigned holder = 0; holder < HOLDERS; holder += 2) give(holder);
  CHECK_EQUAL(compare_all().free_runs, HOLDERS / 2);
  for (unsigned holder = 1; holder < HOLDERS; holder += 2) give(holder);
  CHECK_EQUAL(compare_all().free_runs, 1);
}

/* A run goes back only to whom it belongs. */
static void test_strangers_are_refused(void) {
  CHECK_EQUAL(take(0, 3), DSM_OK);
  uint64_t page = holder_page(0);
  dsm_atomic_u64 *other = holder_word(WORDS); /* of the next stripe */
  uint64_t before = dsm_load_relaxed_u64(other);
  dsm_store_relaxed_u64(other, dsm_seal(page, dsm_space_locator(self.call.space, NODE + 1, other)));
  CHECK_EQUAL(dsm_arena_give(&self.call, NODE, 1, other), DSM_CORRUPT);
  dsm_store_relaxed_u64(other, before);
  /* In the middle of a run, and on free pages, there is nothing to give. */
  dsm_store_relaxed_u64(other,
                        dsm_seal(page + 2, dsm_space_locator(self.call.space, NODE + 1, other)));
  CHECK_EQUAL(dsm_arena_give(&self.call, NODE, 1, other), DSM_CORRUPT);
  dsm_store_relaxed_u64(other, before ^ 1ull << 50);
  CHECK_EQUAL(dsm_arena_give(&self.call, NODE, 1, other), DSM_CORRUPT);
  dsm_store_relaxed_u64(other, before);
  give(0);
  compare_all();
}

int main(int argc, char **argv) {
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
  printf("seed %" PRIu64 "\n", seed);
  dsm_sim_start(seed);
  self = fixture_create(&shape);
  twin = calloc(self.call.space->layout.page_count, sizeof *twin);
  test_random(seed * 2654435761u + 1, 6000, 60);
  test_random(seed * 2654435761u + 2, 6000, HOLDERS);
  test_to_the_last_page();
  test_strangers_are_refused();
  free(twin);
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_arena");
}
