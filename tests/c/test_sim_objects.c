/* Reading and writing against a naive dictionary: random puts, deletes, counters and conditional
 * puts, replication 1 to 3, few and many stripes, values from nothing to several pages.
 *
 * Versions of a key never repeat, not even after a delete; a refused operation changes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "fixture.h"

enum { KEYS = 48 };

typedef struct entry {
  item item;
  uint64_t version; /* of the item; kept after a delete */
} entry;

static fixture self;
static entry twin[KEYS];

static uint64_t random_bytes(uint64_t *random) {
  switch (random_below(random, 8)) {
  case 0:
    return 0;
  case 1:
    return random_below(random, 40000);
  case 2:
    return 900 + random_below(random, 200); /* around the largest slab extent */
  case 3:
    return 4090 + random_below(random, 12); /* around the first lazy checksum */
  default:
    return random_below(random, 300);
  }
}

static uint64_t present_version(const entry *expected) {
  return expected->item.kind == ITEM_ABSENT ? 0 : expected->version;
}

static void do_put(uint64_t key, uint64_t *random, uint64_t if_version) {
  static uint8_t bytes[40000];
  entry *expected = &twin[key];
  item wanted = {ITEM_VALUE, random_bytes(random), random_next(random)};
  fixture_key name;
  uint64_t version = 0;
  fixture_key_make(&self, &name, key);
  pattern_fill(bytes, wanted.bytes, wanted.seed);
  dsm_part parts[3] = {{bytes, wanted.bytes / 3},
                       {bytes + wanted.bytes / 3, wanted.bytes / 3},
                       {bytes + wanted.bytes / 3 * 2, wanted.bytes - wanted.bytes / 3 * 2}};
  dsm_part whole = {bytes, wanted.bytes};
  dsm_value value = wanted.seed & 1 ? (dsm_value){&whole, 1, 9, wanted.bytes}
                                    : (dsm_value){parts, 3, 9, wanted.bytes};
  dsm_status status =
      dsm_put(&self.call, &name.key, &value, (dsm_condition){self.replicas, if_version}, &version);
  if (if_version != DSM_ANY_VERSION && if_version != present_version(expected)) {
    CHECK_EQUAL(status, DSM_VERSION_CONFLICT);
    CHECK_EQUAL(version, present_version(expected));
    return;
  }
  CHECK_EQUAL(status, DSM_OK);
  CHECK(version > expected->version);
  *expected = (entry){wanted, version};
}

static void do_delete(uint64_t key, uint64_t if_version) {
  entry *expected = &twin[key];
  fixture_key name;
  uint64_t version = 0;
  fixture_key_make(&self, &name, key);
  dsm_status status =
      dsm_delete(&self.call, &name.key, (dsm_condition){self.replicas, if_version}, &version);
  if (if_version != DSM_ANY_VERSION && if_version != present_version(expected)) {
    CHECK_EQUAL(status, DSM_VERSION_CONFLICT);
    CHECK_EQUAL(version, present_version(expected));
  } else if (expected->item.kind == ITEM_ABSENT) {
    CHECK_EQUAL(status, DSM_NOT_FOUND);
  } else {
    CHECK_EQUAL(status, DSM_OK);
    CHECK(version > expected->version);
    *expected = (entry){.version = version};
  }
}

static void do_add(uint64_t key, int64_t difference) {
  entry *expected = &twin[key];
  int64_t result = 0, before = (int64_t)expected->item.seed, after;
  if (expected->item.kind == ITEM_ABSENT) before = 0;
  dsm_status status = fixture_add(&self, key, difference, &result);
  if (expected->item.kind == ITEM_VALUE) {
    CHECK_EQUAL(status, DSM_WRONG_TYPE);
  } else if (__builtin_add_overflow(before, difference, &after)) {
    CHECK_EQUAL(status, DSM_OVERFLOW);
  } else {
    CHECK_EQUAL(status, DSM_OK);
    CHECK_EQUAL(result, after);
    expected->item = (item){ITEM_COUNTER, 8, (uint64_t)after};
    expected->version++; /* at least: the exact one is read below */
  }
}

static void check_key(uint64_t key) {
  entry *expected = &twin[key];
  CHECK(item_equal(fixture_get(&self, key), expected->item));
  fixture_key name;
  dsm_read read;
  fixture_key_make(&self, &name, key);
  if (dsm_read_begin(&self.call, &name.key, &read) != DSM_OK) return;
  if (expected->item.kind == ITEM_COUNTER) {
    CHECK(read.header.version >= expected->version);
    expected->version = read.header.version;
  }
  CHECK_EQUAL(read.header.version, expected->version);
}

static uint64_t some_version(uint64_t key, uint64_t *random) {
  switch (random_below(random, 4)) {
  case 0:
    return 0;
  case 1:
    return twin[key].version;
  default:
    return DSM_ANY_VERSION;
  }
}

static void step(uint64_t *random) {
  uint64_t key = random_below(random, KEYS);
  switch (random_below(random, 10)) {
  case 0:
  case 1:
  case 2:
    do_delete(key, some_version(key, random));
    break;
  case 3:
    do_add(key, (int64_t)random_next(random) >> random_below(random, 64));
    break;
  default:
    do_put(key, random, some_version(key, random));
  }
  check_key(key);
}

static void check_everything(void) {
  uint64_t present = 0, length;
  for (uint64_t key = 0; key < KEYS; key++) {
    check_key(key);
    fixture_check_replicas(&self, key);
    present += twin[key].item.kind != ITEM_ABSENT;
  }
  fixture_check_clean(&self);
  CHECK_EQUAL(dsm_region_length(&self.call, self.region, &length), DSM_OK);
  CHECK_EQUAL(length, present);
}

static void run(uint32_t replicas, uint32_t stripes, uint64_t seed, unsigned steps) {
  uint64_t random = seed * 0x9E3779B97F4A7C15ull + stripes * 7 + replicas;
  fixture_shape shape = {"ctest-objects", 4, replicas, stripes, 16u << 20};
  snprintf(fixture_story, sizeof fixture_story,
           "objects, replication %u, %u stripes, seed %" PRIu64, replicas, stripes, seed);
  memset(twin, 0, sizeof twin);
  dsm_sim_start(seed);
  self = fixture_create(&shape);
  for (unsigned i = 0; i < steps; i++) {
    step(&random);
    if (i % 500 == 499) check_everything();
  }
  for (uint64_t key = 0; key < KEYS; key++) do_delete(key, DSM_ANY_VERSION);
  check_everything();
  CHECK_EQUAL(fixture_limbo_pages(&self), 0);
  CHECK_EQUAL(fixture_used_pages(&self), 0);
  fixture_close(&self, true);
  dsm_sim_stop();
}

/* A reader that was overtaken between finding and copying is told to begin again, whatever overtook
 * it: another value of its key, the end of its key, another key's growth of the table. */
static void test_overtaken_reads(void) {
  dsm_sim_start(8);
  self = fixture_create(&(fixture_shape){"ctest-objects", 2, 2, 1, 8u << 20});
  static uint8_t bytes[20000];
  for (uint64_t length = 40; length < 20000; length *= 7) {
    for (int how = 0; how < 3; how++) {
      fixture_key name;
      dsm_read read;
      CHECK_EQUAL(fixture_put(&self, 1, 1, length), DSM_OK);
      fixture_key_make(&self, &name, 1);
      CHECK_EQUAL(dsm_read_begin(&self.call, &name.key, &read), DSM_OK);
      CHECK_EQUAL(dsm_read_copy(&self.call, &read, bytes), DSM_OK);
      if (how == 0) CHECK_EQUAL(fixture_put(&self, 1, 2, length), DSM_OK);
      if (how == 1) CHECK_EQUAL(fixture_delete(&self, 1), DSM_OK);
      for (uint64_t key = 2; how == 2 && key < 12; key++)
        CHECK_EQUAL(fixture_put(&self, key, key, length), DSM_OK);
      CHECK_EQUAL(dsm_read_copy(&self.call, &read, bytes), DSM_RETRY);
      for (uint64_t key = 1; key < 12; key++) fixture_delete(&self, key);
    }
  }
  fixture_close(&self, true);
  dsm_sim_stop();
}

static void test_limits_of_keys(void) {
  dsm_sim_start(9);
  self = fixture_create(&(fixture_shape){"ctest-objects", 2, 2, 2, 4u << 20});
  static uint8_t bytes[DSM_KEY_BYTES_MAX + 1];
  for (uint32_t length = 0; length <= DSM_KEY_BYTES_MAX + 1; length += length < 3 ? 1 : 16383) {
    dsm_key key = {.bytes = bytes, .length = length, .kind = DSM_KEY_BYTES, .region = 0};
    key.hash = dsm_key_hash(self.call.space, bytes, length, key.kind, key.region);
    dsm_part part = {"x", 1};
    dsm_value value = {&part, 1, 9, 1};
    dsm_condition condition = {2, DSM_ANY_VERSION};
    dsm_read read;
    uint64_t version;
    dsm_status expected = length > DSM_KEY_BYTES_MAX ? DSM_KEY_TOO_LONG : DSM_OK;
    CHECK_EQUAL(dsm_put(&self.call, &key, &value, condition, &version), expected);
    if (expected != DSM_OK) continue;
    CHECK_EQUAL(dsm_read_begin(&self.call, &key, &read), DSM_OK);
    /* The same bytes as a text, and in another region, are other keys. */
    key.kind = DSM_KEY_TEXT;
    key.hash = dsm_key_hash(self.call.space, bytes, length, key.kind, key.region);
    CHECK_EQUAL(dsm_read_begin(&self.call, &key, &read), DSM_NOT_FOUND);
  }
  fixture_check_clean(&self);
  fixture_close(&self, true);
  dsm_sim_stop();
}

int main(int argc, char **argv) {
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20261;
  unsigned steps = rounds_all() ? 40000 : 2500;
  printf("seed %" PRIu64 "\n", seed);
  for (uint32_t replicas = 1; replicas <= 4; replicas++)
    for (uint32_t stripes = 1; stripes <= 64; stripes *= 8) run(replicas, stripes, seed, steps);
  test_overtaken_reads();
  test_limits_of_keys();
  return check_result("sim_objects");
}
