/* Slabs: their bits, and random takes and gives of one size and of all against a list of what is
 * out; no two extents overlap, and a page comes back when its last extent does.
 */
#include <stdlib.h>

#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/stripe.h"
#include "check_main.h"
#include "fixture.h"

enum { OUT_MAX = 3000, NODE = 0, STRIPE = 1 };

static const fixture_shape shape = {"ctest-slab", 1, 1, 2, 8u << 20};

static fixture self;
static uint64_t out[OUT_MAX];
static uint64_t bytes_of_out[OUT_MAX];
static unsigned out_count;

/* The list of a slab and the mask of an extent against counting grain by grain. */
static void test_bits(uint64_t random, unsigned rounds) {
  for (unsigned round = 0; round < rounds; round++) {
    uint64_t bits = random_below(&random, 1ull << 62);
    if (round % 2) bits &= random_below(&random, 1ull << 62);
    unsigned longest = 0, run = 0, fit = 0;
    for (unsigned grain = 0; grain < DSM_SLAB_GRAINS; grain++) {
      run = bits >> grain & 1 ? 0 : run + 1;
      if (run > longest) longest = run;
    }
    while (fit + 1 < DSM_FIT_COUNT && 2u << fit <= longest) fit++;
    bool listed = longest > 0 && longest < DSM_SLAB_GRAINS;
    CHECK_EQUAL(dsm_slab_fit(bits), listed ? fit : DSM_FIT_COUNT);
  }
  for (uint64_t bytes = 1; bytes <= DSM_SMALL_BYTES_MAX; bytes++) {
    uint64_t count = (bytes + DSM_GRAIN_BYTES - 1) / DSM_GRAIN_BYTES;
    uint64_t first = DSM_SLAB_GRAINS - count;
    CHECK_EQUAL(dsm_slab_mask(sizeof(dsm_slab_shm) + first * DSM_GRAIN_BYTES, bytes),
                ((1ull << count) - 1) << first);
    CHECK_EQUAL(dsm_slab_mask(sizeof(dsm_slab_shm) + (first + 1) * DSM_GRAIN_BYTES, bytes), 0);
  }
  CHECK_EQUAL(dsm_slab_mask(sizeof(dsm_slab_shm) + 8, 16), 0);
  CHECK_EQUAL(dsm_slab_mask(0, 16), 0);
}

static dsm_log make_log(void) {
  return dsm_log_make(&self.call, dsm_space_intent(self.call.space, STRIPE), STRIPE);
}

static uint8_t *extent_at(uint64_t offset) {
  return self.call.space->nodes[NODE].base + offset;
}

static void take(uint64_t bytes) {
  uint64_t slab, again;
  CHECK_EQUAL(dsm_stripe_reserve_extent(&self.call, NODE, STRIPE, bytes, &slab), DSM_OK);
  dsm_log log = make_log();
  CHECK(!dsm_slab_needs_page(&log, NODE, STRIPE, bytes, &again));
  CHECK_EQUAL(slab, again);
  uint64_t offset = dsm_slab_take(&log, NODE, STRIPE, bytes, slab);
  dsm_slab_finish(&log, NODE, STRIPE);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  CHECK(offset != 0 && offset % DSM_GRAIN_BYTES == 0);
  for (unsigned i = 0; i < out_count; i++)
    CHECK(offset + bytes <= out[i] || out[i] + bytes_of_out[i] <= offset);
  /* Live, to the last byte. */
  pattern_fill(extent_at(offset), bytes, offset);
  out[out_count] = offset;
  bytes_of_out[out_count++] = bytes;
}

static void give(unsigned i) {
  uint64_t seed, offset = out[i];
  if (bytes_of_out[i] >= 16) {
    CHECK(pattern_holds(extent_at(offset), bytes_of_out[i], &seed));
    CHECK_EQUAL(seed, offset);
  }
  dsm_log log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset, bytes_of_out[i]);
  dsm_slab_finish(&log, NODE, STRIPE);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  out[i] = out[--out_count];
  bytes_of_out[i] = bytes_of_out[out_count];
  CHECK_EQUAL(dsm_stripe_settle(&self.call, STRIPE, NODE), DSM_OK);
}

static void test_random(uint64_t random, unsigned steps, uint64_t bytes_max, unsigned target) {
  for (unsigned step = 0; step < steps; step++) {
    bool more = random_below(&random, 100) < (out_count < target ? 60u : 40u);
    if (more && out_count < OUT_MAX)
      take(16 + random_below(&random, bytes_max - 15));
    else if (out_count)
      give((unsigned)random_below(&random, out_count));
  }
  while (out_count) give((unsigned)random_below(&random, out_count));
  CHECK_EQUAL(fixture_used_pages(&self), 0);
  CHECK_EQUAL(dsm_arena_valid(&self.call, NODE, NULL, NULL), DSM_OK);
}

static void test_damage_is_refused(void) {
  take(64);
  uint64_t offset = out[0], slab_page = offset / DSM_ARENA_PAGE_BYTES;
  dsm_slab_shm *slab = (dsm_slab_shm *)(void *)extent_at(slab_page * DSM_ARENA_PAGE_BYTES);
  /* Bits that say free over a live extent must not give it out twice. */
  uint64_t bits = dsm_load_relaxed_u64(&slab->bits);
  dsm_store_relaxed_u64(&slab->bits, 0);
  dsm_log log = make_log();
  CHECK_EQUAL(dsm_slab_take(&log, NODE, STRIPE, 64, slab_page), 0);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  dsm_store_relaxed_u64(&slab->bits, bits);
  /* What is free already is not freed again, nor what is no extent, nor another stripe's. */
  log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset + 512, 64);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset + 8, 64);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  log = make_log();
  dsm_slab_give(&log, NODE, 0, offset, 64);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  give(0);
}

int main(int argc, char **argv) {
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 77;
  dsm_route route;
  printf("seed %" PRIu64 "\n", seed);
  test_bits(seed, 20000);
  dsm_sim_start(seed);
  self = fixture_create(&shape);
  CHECK_EQUAL(dsm_stripe_take(&self.call, STRIPE, &route), DSM_OK);
  test_random(seed + 1, 6000, DSM_SMALL_BYTES_MAX, 500);
  test_random(seed + 2, 4000, 32, 700);
  test_random(seed + 3, 3000, 200, 20);
  test_damage_is_refused();
  dsm_stripe_drop(&self.call, STRIPE, &route);
  fixture_check_clean(&self);
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_slab");
}
