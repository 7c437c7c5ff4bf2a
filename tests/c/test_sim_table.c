/* Sub-tables: growth from none to page runs, tombstones, shrinking back to none; at every size each
 * key is found and each absent one is not.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/stripe.h"
#include "check_main.h"
#include "fixture.h"

enum { KEYS = 6000 };

static const fixture_shape shape = {"ctest-table", 2, 2, 1, 32u << 20};

static fixture self;

static uint32_t capacity(void) {
  dsm_route route;
  dsm_table table;
  CHECK_EQUAL(dsm_stripe_take(&self.call, 0, &route), DSM_OK);
  CHECK_EQUAL(dsm_table_read(&self.call, route.nodes[0], 0, &table), DSM_OK);
  dsm_stripe_drop(&self.call, 0, &route);
  return table.slots ? table.capacity : 0;
}

static void test_sizes(void) {
  for (unsigned size = 0; size < DSM_TABLE_SIZES; size++) {
    CHECK(size == 0 || dsm_table_capacity(size) > dsm_table_capacity(size - 1));
    /* A table is a slab's extent, or whole pages to the last slot. */
    if (dsm_table_bytes(size) > DSM_SMALL_BYTES_MAX)
      CHECK_EQUAL(dsm_table_bytes(size) % DSM_ARENA_PAGE_BYTES, 0);
  }
}

static void test_it_grows_and_goes(void) {
  uint32_t sizes = 0, before = 0;
  CHECK_EQUAL(capacity(), 0);
  for (uint64_t key = 0; key < KEYS; key++) {
    CHECK_EQUAL(fixture_get(&self, key).kind, ITEM_ABSENT);
    CHECK_EQUAL(fixture_put(&self, key, key, 8 + key % 60), DSM_OK);
    uint32_t now = capacity();
    CHECK(now >= before && now > key);
    sizes += now != before;
    if (now != before || key % 512 == 0)
      for (uint64_t old = 0; old <= key; old++)
        CHECK(item_equal(fixture_get(&self, old), (item){ITEM_VALUE, 8 + old % 60, old}));
    before = now;
  }
  CHECK(sizes >= 8);
  fixture_check_clean(&self);
  for (uint64_t key = 0; key < KEYS; key++) CHECK_EQUAL(fixture_delete(&self, key), DSM_OK);
  CHECK_EQUAL(capacity(), 0);
  CHECK_EQUAL(fixture_used_pages(&self), 0);
  fixture_check_clean(&self);
}

/* Keys come and go while a few stay: tombstones must not make the table grow without end. */
static void test_tombstones_are_swept(void) {
  enum { STAY = 20 };
  for (uint64_t key = 0; key < STAY; key++) CHECK_EQUAL(fixture_put(&self, key, key, 16), DSM_OK);
  for (uint64_t key = STAY; key < KEYS; key++) {
    CHECK_EQUAL(fixture_put(&self, key, key, 16), DSM_OK);
    CHECK_EQUAL(fixture_delete(&self, key), DSM_OK);
  }
  CHECK(capacity() <= 125);
  for (uint64_t key = 0; key < KEYS; key++)
    CHECK_EQUAL(fixture_get(&self, key).kind, key < STAY ? ITEM_VALUE : ITEM_ABSENT);
  fixture_check_clean(&self);
  for (uint64_t key = 0; key < STAY; key++) CHECK_EQUAL(fixture_delete(&self, key), DSM_OK);
  CHECK_EQUAL(fixture_used_pages(&self), 0);
}

/* A table word that does not verify: the reader or writer who meets it makes the table anew from
 * the objects, which are still there. */
static void test_a_damaged_table_word(void) {
  CHECK_EQUAL(fixture_put(&self, 1, 1, 16), DSM_OK);
  dsm_route route;
  CHECK_EQUAL(dsm_stripe_take(&self.call, 0, &route), DSM_OK);
  dsm_stripe_drop(&self.call, 0, &route);
  dsm_atomic_u64 *word = &dsm_space_sub(self.call.space, route.nodes[0], 0)->table;
  uint64_t sound = dsm_load_relaxed_u64(word);
  fixture_key key;
  dsm_read read;
  fixture_key_make(&self, &key, 1);
  for (unsigned bit = 0; bit < 64; bit++) {
    dsm_store_relaxed_u64(word, sound ^ 1ull << bit);
    if (bit % 2) CHECK_EQUAL(dsm_read_begin(&self.call, &key.key, &read), DSM_OK);
    if (bit % 2) CHECK_EQUAL(fixture_get(&self, 1).seed, bit);
    CHECK_EQUAL(fixture_put(&self, 1, bit + 1, 16), DSM_OK);
    CHECK_EQUAL(fixture_get(&self, 1).seed, bit + 1);
    sound = dsm_load_relaxed_u64(word);
  }
  CHECK_EQUAL(fixture_delete(&self, 1), DSM_OK);
}

int main(void) {
  test_sizes();
  dsm_sim_start(31);
  self = fixture_create(&shape);
  test_it_grows_and_goes();
  test_tombstones_are_swept();
  test_a_damaged_table_word();
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_table");
}
