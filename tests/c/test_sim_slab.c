/* Slabs against a list of what is out: random takes and gives in all lengths; no two extents
 * overlap, what is out keeps its bytes, and a page comes back when its last extent does. The choice
 * of list and the masks are held against loops over single grains.
 */
#include <stdlib.h>

#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/stripe.h"
#include "check_main.h"
#include "fixture.h"

enum { OUT_MAX = 1500, NODE = 0, STRIPE = 1 };

static const fixture_shape shape = {"ctest-slab", 1, 1, 2, 8u << 20};

static fixture self;
static uint64_t out[OUT_MAX], bytes_of[OUT_MAX];
static unsigned out_count;

static unsigned longest_free_run(uint64_t bits) {
  unsigned longest = 0, run = 0;
  for (unsigned grain = 0; grain < DSM_SLAB_GRAINS; grain++) {
    run = bits >> grain & 1 ? 0 : run + 1;
    if (run > longest) longest = run;
  }
  return longest;
}

static void test_lists(uint64_t random) {
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = random_next(&random) & random_next(&random) & ((1ull << DSM_SLAB_GRAINS) - 1);
    if (i % 3 == 0) bits &= ~0ull << random_below(&random, 62);
    if (i % 5 == 0) bits |= ~0ull >> random_below(&random, 62);
    bits &= (1ull << DSM_SLAB_GRAINS) - 1;
    unsigned longest = longest_free_run(bits), wanted = 0;
    while (wanted + 1 < DSM_FIT_COUNT && 2u << wanted <= longest) wanted++;
    if (longest == 0 || bits == 0) wanted = DSM_FIT_COUNT;
    CHECK_EQUAL(dsm_slab_fit(bits), wanted);
  }
  for (uint64_t offset = 0; offset < DSM_ARENA_PAGE_BYTES; offset += 8)
    for (uint64_t bytes = 1; bytes <= DSM_SMALL_BYTES_MAX; bytes += 13) {
      uint64_t first = sizeof(dsm_slab_shm), count = (bytes + 15) / 16, wanted = 0;
      bool inside =
          offset >= first && offset % 16 == 0 && offset + count * 16 <= DSM_ARENA_PAGE_BYTES;
      for (uint64_t grain = 0; inside && grain < count; grain++)
        wanted |= 1ull << ((offset - first) / 16 + grain);
      CHECK_EQUAL(dsm_slab_mask(7 * DSM_ARENA_PAGE_BYTES + offset, bytes), wanted);
    }
}

static dsm_log make_log(void) {
  return dsm_log_make(&self.call, dsm_space_intent(self.call.space, STRIPE), STRIPE);
}

static uint8_t *extent_at(uint64_t offset) {
  return self.call.space->nodes[NODE].base + offset;
}

static void take(uint64_t bytes) {
  uint64_t page = 0;
  CHECK_EQUAL(dsm_stripe_reserve_extent(&self.call, NODE, STRIPE, bytes, &page), DSM_OK);
  dsm_log log = make_log();
  uint64_t offset = dsm_slab_take(&log, NODE, STRIPE, bytes, page);
  dsm_slab_finish(&log, NODE, STRIPE);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  CHECK(offset != 0 && offset % DSM_GRAIN_BYTES == 0);
  for (unsigned i = 0; i < out_count; i++)
    CHECK(offset + bytes <= out[i] || out[i] + bytes_of[i] <= offset);
  pattern_fill(extent_at(offset), bytes, offset);
  out[out_count] = offset;
  bytes_of[out_count++] = bytes;
}

static void give(unsigned i) {
  uint64_t seed, offset = out[i];
  CHECK(pattern_holds(extent_at(offset), bytes_of[i], &seed));
  if (bytes_of[i] >= 8) CHECK_EQUAL(seed, offset);
  dsm_log log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset, bytes_of[i]);
  dsm_slab_finish(&log, NODE, STRIPE);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  CHECK_EQUAL(dsm_load_relaxed_u64((dsm_atomic_u64 *)(void *)extent_at(offset)), 0);
  out[i] = out[--out_count];
  bytes_of[i] = bytes_of[out_count];
  CHECK_EQUAL(dsm_stripe_settle(&self.call, STRIPE, NODE), DSM_OK);
}

static void test_random(uint64_t random, unsigned steps, uint64_t bytes_max, unsigned target) {
  for (unsigned step = 0; step < steps; step++) {
    bool more = random_below(&random, 100) < (out_count < target ? 60u : 40u);
    if (more && out_count < OUT_MAX)
      take(1 + random_below(&random, bytes_max));
    else if (out_count)
      give((unsigned)random_below(&random, out_count));
  }
  while (out_count) give((unsigned)random_below(&random, out_count));
  CHECK_EQUAL(fixture_used_pages(&self), 0);
  CHECK_EQUAL(dsm_arena_valid(&self.call, NODE, NULL, NULL), DSM_OK);
}

static void test_damage_is_refused(void) {
  take(100);
  uint64_t offset = out[0], page = offset / DSM_ARENA_PAGE_BYTES;
  dsm_slab_shm *slab = (dsm_slab_shm *)(void *)extent_at(page * DSM_ARENA_PAGE_BYTES);
  dsm_log log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset + 16, 100); /* reaches into what is free */
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  log = make_log();
  dsm_slab_give(&log, NODE, 0, offset, 100); /* another stripe's */
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  for (unsigned bit = 0; bit < 64; bit++) {
    uint64_t bits = dsm_load_relaxed_u64(&slab->bits);
    dsm_store_relaxed_u64(&slab->bits, bits ^ 1ull << bit);
    log = make_log();
    CHECK_EQUAL(dsm_slab_take(&log, NODE, STRIPE, 100, page), 0);
    CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
    log = make_log();
    dsm_slab_give(&log, NODE, STRIPE, offset, 100);
    CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
    dsm_store_relaxed_u64(&slab->bits, bits);
  }
  give(0);
}

int main(int argc, char **argv) {
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 77;
  dsm_route route;
  printf("seed %" PRIu64 "\n", seed);
  test_lists(seed);
  dsm_sim_start(seed);
  self = fixture_create(&shape);
  CHECK_EQUAL(dsm_stripe_take(&self.call, STRIPE, &route), DSM_OK);
  test_random(seed + 1, 6000, DSM_SMALL_BYTES_MAX, 300);
  test_random(seed + 2, 5000, 40, 700);
  test_random(seed + 3, 3000, 300, 20);
  test_damage_is_refused();
  dsm_stripe_drop(&self.call, STRIPE, &route);
  fixture_check_clean(&self);
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_slab");
}
