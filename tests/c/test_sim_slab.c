/* Slabs: the classes, and random takes and gives of one class and of all against a list of what is
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
static unsigned class_of_out[OUT_MAX], out_count;

static void test_classes(void) {
  for (unsigned c = 0; c < DSM_CLASS_COUNT; c++) {
    uint32_t bytes = dsm_slab_class_bytes(c);
    CHECK(c == 0 || bytes > dsm_slab_class_bytes(c - 1));
    CHECK_EQUAL(bytes % DSM_GRAIN_BYTES, 0);
    CHECK(dsm_slab_class_count(c) >= 2 && dsm_slab_class_count(c) <= 256);
    CHECK(dsm_slab_class_count(c) * bytes <= DSM_PAGE_BYTES - sizeof(dsm_slab_shm));
    CHECK((dsm_slab_class_count(c) + 1) * bytes > DSM_PAGE_BYTES - sizeof(dsm_slab_shm));
  }
  CHECK_EQUAL(dsm_slab_class_bytes(DSM_CLASS_COUNT - 1), DSM_SMALL_BYTES_MAX);
  for (uint32_t bytes = 1; bytes <= DSM_SMALL_BYTES_MAX; bytes++) {
    unsigned c = 0;
    while (dsm_slab_class_bytes(c) < bytes) c++;
    CHECK_EQUAL(dsm_slab_class_of(bytes), c);
  }
}

static dsm_log make_log(void) {
  return dsm_log_make(&self.call, dsm_space_intent(self.call.space, STRIPE), STRIPE);
}

static uint8_t *extent_at(uint64_t offset) {
  return self.call.space->nodes[NODE].base + offset;
}

static void take(unsigned size_class) {
  CHECK_EQUAL(dsm_stripe_reserve_extent(&self.call, NODE, STRIPE, size_class), DSM_OK);
  dsm_log log = make_log();
  CHECK(!dsm_slab_needs_page(&log, NODE, STRIPE, size_class));
  uint64_t offset = dsm_slab_take(&log, NODE, STRIPE, size_class);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  CHECK(offset != 0 && offset % DSM_GRAIN_BYTES == 0);
  for (unsigned i = 0; i < out_count; i++)
    CHECK(offset + dsm_slab_class_bytes(size_class) <= out[i] ||
          out[i] + dsm_slab_class_bytes(class_of_out[i]) <= offset);
  unsigned found;
  uint32_t index;
  CHECK_EQUAL(dsm_slab_locate(&self.call, NODE, STRIPE, offset, &found, &index), DSM_OK);
  CHECK_EQUAL(found, size_class);
  /* Live, to the last byte. */
  pattern_fill(extent_at(offset), dsm_slab_class_bytes(size_class), offset);
  out[out_count] = offset;
  class_of_out[out_count++] = size_class;
}

static void give(unsigned i) {
  uint64_t seed, offset = out[i];
  CHECK(pattern_holds(extent_at(offset), dsm_slab_class_bytes(class_of_out[i]), &seed));
  CHECK_EQUAL(seed, offset);
  dsm_log log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_OK);
  out[i] = out[--out_count];
  class_of_out[i] = class_of_out[out_count];
  CHECK_EQUAL(dsm_stripe_settle(&self.call, STRIPE, NODE), DSM_OK);
}

static void test_random(uint64_t random, unsigned steps, unsigned classes, unsigned target) {
  for (unsigned step = 0; step < steps; step++) {
    bool more = random_below(&random, 100) < (out_count < target ? 60u : 40u);
    if (more && out_count < OUT_MAX)
      take((unsigned)random_below(&random, classes));
    else if (out_count)
      give((unsigned)random_below(&random, out_count));
  }
  while (out_count) give((unsigned)random_below(&random, out_count));
  CHECK_EQUAL(fixture_used_pages(&self), 0);
  CHECK_EQUAL(dsm_arena_valid(&self.call, NODE, NULL, NULL), DSM_OK);
}

static void test_damage_is_refused(void) {
  take(3);
  uint64_t offset = out[0];
  unsigned found;
  uint32_t index;
  CHECK_EQUAL(dsm_slab_locate(&self.call, NODE, STRIPE, offset + 8, &found, &index), DSM_CORRUPT);
  CHECK_EQUAL(dsm_slab_locate(&self.call, NODE, 0, offset, &found, &index), DSM_CORRUPT);
  CHECK_EQUAL(dsm_slab_locate(&self.call, NODE, STRIPE, 0, &found, &index), DSM_CORRUPT);
  /* A bit that says free over a live extent must not give it out twice. */
  dsm_slab_shm *slab = (dsm_slab_shm *)(void *)extent_at(offset / DSM_PAGE_BYTES * DSM_PAGE_BYTES);
  uint64_t bits = dsm_load_relaxed_u64(&slab->bits[0]);
  dsm_store_relaxed_u64(&slab->bits[0], 0);
  dsm_log log = make_log();
  CHECK_EQUAL(dsm_slab_take(&log, NODE, STRIPE, 3), 0);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  /* And what is free already is not freed again. */
  log = make_log();
  dsm_slab_give(&log, NODE, STRIPE, offset);
  CHECK_EQUAL(dsm_log_commit(&log), DSM_CORRUPT);
  dsm_store_relaxed_u64(&slab->bits[0], bits);
  give(0);
}

int main(int argc, char **argv) {
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 77;
  dsm_route route;
  printf("seed %" PRIu64 "\n", seed);
  test_classes();
  dsm_sim_start(seed);
  self = fixture_create(&shape);
  CHECK_EQUAL(dsm_stripe_take(&self.call, STRIPE, &route), DSM_OK);
  test_random(seed + 1, 6000, DSM_CLASS_COUNT, 500);
  test_random(seed + 2, 4000, 1, 700);
  test_random(seed + 3, 3000, 4, 20);
  test_damage_is_refused();
  dsm_stripe_drop(&self.call, STRIPE, &route);
  fixture_check_clean(&self);
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_slab");
}
