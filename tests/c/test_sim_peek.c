/* The short way of a read finds what the long way finds, and believes no copy that was overtaken:
 * by another value of its key, by its end, by a neighbour in its stripe, by another route, or by
 * bytes that are not those that were put.
 */
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/peek.h"
#include "check_main.h"
#include "fixture.h"

enum { KEYS = 40, BYTES_MAX = DSM_PEEK_BYTES_MAX };

static fixture self;
static fixture_key name;
static dsm_peek found;
static uint8_t copy[BYTES_MAX];

/* Finds a key that is there and copies its value: what a reader does before it asks. */
static void look(uint64_t key) {
  fixture_key_make(&self, &name, key);
  CHECK(dsm_peek_find(self.call.space, &name.key, &found));
  CHECK(found.value_bytes <= sizeof copy);
  memcpy(copy, found.value, found.value_bytes);
}

static bool believed(void) {
  return dsm_peek_holds(self.call.space, &name.key, &found, copy);
}

static void start(const char *story) {
  snprintf(fixture_story, sizeof fixture_story, "peek: %s", story);
  dsm_sim_start(11);
  self = fixture_create(&(fixture_shape){"ctest-peek", 2, 2, 1, 8u << 20});
}

static void stop(void) {
  fixture_check_clean(&self);
  fixture_close(&self, true);
  dsm_sim_stop();
}

static void test_finds_what_was_put(void) {
  start("what was put");
  for (uint64_t key = 0; key < KEYS; key++) {
    uint64_t seed, bytes = 16 + key * 20;
    CHECK_EQUAL(fixture_put(&self, key, key + 1, bytes), DSM_OK);
    look(key);
    CHECK(believed());
    CHECK_EQUAL(found.value_bytes, bytes);
    CHECK(pattern_holds(copy, bytes, &seed));
    CHECK_EQUAL(seed, key + 1);
  }
  fixture_key_make(&self, &name, KEYS);
  CHECK(!dsm_peek_find(self.call.space, &name.key, &found));
  CHECK_EQUAL(fixture_put(&self, KEYS, 1, BYTES_MAX + 1), DSM_OK);
  CHECK(!dsm_peek_find(self.call.space, &name.key, &found));
  stop();
}

/* The copy is the one that was there before, whole: only the generation tells. */
static void test_overtaken(void) {
  start("overtaken");
  for (uint64_t bytes = 16; bytes <= 256; bytes *= 4) {
    CHECK_EQUAL(fixture_put(&self, 1, 1, bytes), DSM_OK);
    look(1);
    CHECK_EQUAL(fixture_put(&self, 1, 2, bytes), DSM_OK);
    CHECK(!believed());
    look(1);
    CHECK_EQUAL(fixture_put(&self, 2, 2, bytes), DSM_OK);
    CHECK(!believed());
    look(1);
    CHECK_EQUAL(fixture_delete(&self, 1), DSM_OK);
    CHECK(!believed());
    CHECK(!dsm_peek_find(self.call.space, &name.key, &found));
    CHECK_EQUAL(fixture_delete(&self, 2), DSM_OK);
  }
  stop();
}

static void test_another_route(void) {
  start("another route");
  CHECK_EQUAL(fixture_put(&self, 1, 1, 64), DSM_OK);
  look(1);
  dsm_atomic_u64 *route = dsm_space_route(self.call.space, found.stripe);
  uint64_t word = dsm_load_relaxed_u64(route);
  dsm_store_relaxed_u64(route, word ^ 1ull << 40);
  CHECK(!believed());
  dsm_store_relaxed_u64(route, word);
  CHECK(believed());
  stop();
}

static void test_other_bytes(void) {
  start("other bytes");
  CHECK_EQUAL(fixture_put(&self, 1, 1, 64), DSM_OK);
  look(1);
  for (unsigned bit = 0; bit < 64 * 8; bit++) {
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    CHECK(!believed());
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  CHECK(believed());
  stop();
}

int main(void) {
  test_finds_what_was_put();
  test_overtaken();
  test_another_route();
  test_other_bytes();
  return check_result("sim_peek");
}
