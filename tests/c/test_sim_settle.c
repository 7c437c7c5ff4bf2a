/* Checksums of large values: owed after the put, paid by the node's service, by check or by nobody;
 * damage before and after; header and key are covered at once.
 */
#include <string.h>

#include "../../csrc/mem/pin.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/check.h"
#include "../../csrc/store/settle.h"
#include "check_main.h"
#include "fixture.h"

static const fixture_shape shape = {"ctest-settle", 3, 2, 128, 8u << 20};

enum { BYTES = 20000 };

static fixture self;

static dsm_read read_of(uint64_t key) {
  fixture_key name;
  dsm_read read;
  fixture_key_make(&self, &name, key);
  CHECK_EQUAL(dsm_read_begin(&self.call, &name.key, &read), DSM_OK);
  return read;
}

static uint64_t settled_word(const dsm_read *read) {
  return dsm_load_relaxed_u64(
      dsm_object_settled(dsm_object_at(self.call.space, read->node, read->offset)));
}

static uint8_t *value_of(const dsm_read *read) {
  return (uint8_t *)(uintptr_t)dsm_read_value(self.call.space, read);
}

static dsm_status copy(const dsm_read *read) {
  static uint8_t bytes[BYTES + 64];
  return dsm_read_copy(&self.call, read, bytes);
}

static void settle_all_nodes(void) {
  for (unsigned node = 0; node < shape.nodes; node++) dsm_settle_node(&self.call, node);
}

static void test_owed_then_paid(void) {
  for (uint64_t key = 0; key < 40; key++) CHECK_EQUAL(fixture_put(&self, key, key, BYTES), DSM_OK);
  dsm_read read = read_of(1);
  CHECK(read.header.flags & DSM_OBJECT_LAZY);
  CHECK_EQUAL(settled_word(&read), 0);
  settle_all_nodes();
  for (uint64_t key = 0; key < 40; key++) {
    read = read_of(key);
    CHECK_EQUAL(settled_word(&read), dsm_value_hash(value_of(&read), BYTES));
    CHECK_EQUAL(copy(&read), DSM_OK);
    CHECK_EQUAL(dsm_read_verify(&self.call, &read), DSM_OK);
  }
  for (unsigned node = 0; node < shape.nodes; node++)
    for (uint32_t stripe = 0; stripe < shape.stripes; stripe += 64)
      CHECK_EQUAL(dsm_load_relaxed_u64(dsm_space_unsettled(self.call.space, node, stripe)), 0);
  /* No pin stays behind. */
  CHECK_EQUAL(dsm_pin_count(self.call.space, self.call.space->participant), 0);
  fixture_check_clean(&self);
}

static void test_damage_is_noticed_once_settled(void) {
  CHECK_EQUAL(fixture_put(&self, 1, 99, BYTES), DSM_OK);
  dsm_read read = read_of(1);
  settle_all_nodes();
  value_of(&read)[BYTES - 1] ^= 16;
  CHECK_EQUAL(copy(&read), DSM_CORRUPT);
  CHECK_EQUAL(dsm_read_verify(&self.call, &read), DSM_CORRUPT);
  value_of(&read)[BYTES - 1] ^= 16;
  CHECK_EQUAL(copy(&read), DSM_OK);
}

/* Unsettled: the window that store/settle.h names. The header is covered even then. */
static void test_damage_before(void) {
  CHECK_EQUAL(fixture_put(&self, 1, 98, BYTES), DSM_OK);
  dsm_read read = read_of(1);
  value_of(&read)[100] ^= 1;
  CHECK_EQUAL(copy(&read), DSM_OK);
  value_of(&read)[100] ^= 1;
  dsm_object_shm *object = dsm_object_at(self.call.space, read.node, read.offset);
  uint64_t shape_word = dsm_load_relaxed_u64(&object->shape);
  dsm_store_relaxed_u64(&object->shape, shape_word ^ 1ull << 40); /* another codec */
  fixture_key name;
  dsm_read damaged;
  fixture_key_make(&self, &name, 1);
  CHECK_EQUAL(dsm_read_begin(&self.call, &name.key, &damaged), DSM_OK);
  CHECK_EQUAL(copy(&damaged), DSM_OK);
  CHECK(damaged.header.shape == shape_word); /* the backup's, which took its place */
}

static void test_small_values_are_covered_at_once(void) {
  const uint64_t sizes[] = {1, 64, 1900, 2100, 4000, DSM_LAZY_BYTES_MIN - 1};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    CHECK_EQUAL(fixture_put(&self, 2, i, sizes[i]), DSM_OK);
    dsm_read read = read_of(2);
    CHECK(!(read.header.flags & DSM_OBJECT_LAZY));
    for (uint64_t at = 0; at < sizes[i]; at += sizes[i] / 3 + 1) {
      value_of(&read)[at] ^= 128;
      CHECK_EQUAL(copy(&read), DSM_CORRUPT);
      value_of(&read)[at] ^= 128;
    }
    CHECK_EQUAL(copy(&read), DSM_OK);
  }
  CHECK_EQUAL(fixture_put(&self, 2, 1, DSM_LAZY_BYTES_MIN), DSM_OK);
  CHECK(read_of(2).header.flags & DSM_OBJECT_LAZY);
}

/* check() settles what it meets; replicas that differ are told apart by it. */
static void test_check_settles(void) {
  CHECK_EQUAL(fixture_put(&self, 3, 5, BYTES), DSM_OK);
  dsm_read read = read_of(3);
  CHECK_EQUAL(settled_word(&read), 0);
  dsm_check_report report;
  CHECK_EQUAL(dsm_check(&self.call, false, NULL, NULL, &report), DSM_OK);
  CHECK_EQUAL(report.problems, 0);
  CHECK_EQUAL(settled_word(&read), dsm_value_hash(value_of(&read), BYTES));
  CHECK_EQUAL(fixture_put(&self, 3, 6, BYTES), DSM_OK);
  read = read_of(3);
  value_of(&read)[7] ^= 1;
  CHECK_EQUAL(dsm_check(&self.call, false, NULL, NULL, &report), DSM_OK);
  CHECK(report.problems > 0);
  CHECK_EQUAL(fixture_put(&self, 3, 7, BYTES), DSM_OK);
  fixture_check_clean(&self);
}

/* With no pin left the stripe stays marked. */
static void test_no_pin_to_settle_with(void) {
  CHECK_EQUAL(fixture_put(&self, 4, 5, BYTES), DSM_OK);
  dsm_read read = read_of(4);
  for (uint32_t i = 0; i < DSM_PINS_MAX; i++)
    CHECK(dsm_pin_claim(self.call.space, 0, self.call.space->layout.data_page) != DSM_PIN_NONE);
  settle_all_nodes();
  CHECK_EQUAL(settled_word(&read), 0);
  dsm_pin_clear(self.call.space, self.call.space->participant);
  settle_all_nodes();
  CHECK(settled_word(&read) != 0);
}

int main(void) {
  dsm_sim_start(51);
  self = fixture_create(&shape);
  test_owed_then_paid();
  test_damage_is_noticed_once_settled();
  test_damage_before();
  test_small_values_are_covered_at_once();
  test_check_settles();
  test_no_pin_to_settle_with();
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_settle");
}
