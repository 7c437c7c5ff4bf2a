/* Regions and their listing: settings, limits, lengths; every key of a region once, and of no
 * other.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/scan.h"
#include "check_main.h"
#include "fixture.h"

static const fixture_shape shape = {"ctest-region", 3, 2, 8, 16u << 20};

static fixture self;

static dsm_status open_named(const char *name, uint32_t replicas, bool match, uint32_t *region,
                             dsm_region_settings *actual) {
  dsm_region_settings settings = {replicas, 1};
  return dsm_region_open(&self.call, name, (uint32_t)strlen(name), &settings, match, region,
                         actual);
}

static void test_settings(void) {
  uint32_t region, again;
  dsm_region_settings actual;
  CHECK_EQUAL(open_named("prices", 1, true, &region, &actual), DSM_OK);
  CHECK(region != self.region);
  CHECK_EQUAL(open_named("prices", 1, true, &again, &actual), DSM_OK);
  CHECK_EQUAL(again, region);
  CHECK_EQUAL(open_named("prices", 2, true, &again, &actual), DSM_USAGE);
  CHECK(strcmp(self.call.fault.what, "replication_factor") == 0);
  CHECK_EQUAL(open_named("prices", 2, false, &again, &actual), DSM_OK);
  CHECK_EQUAL(again, region);
  CHECK_EQUAL(actual.replicas, 1);
  char name[DSM_REGION_NAME_BYTES];
  uint32_t name_bytes;
  CHECK(dsm_region_name(self.call.space, region, name, &name_bytes));
  CHECK(name_bytes == 6 && memcmp(name, "prices", 6) == 0);
  CHECK(!dsm_region_name(self.call.space, region + 1, name, &name_bytes));
  CHECK(!dsm_region_name(self.call.space, DSM_REGIONS_MAX, name, &name_bytes));
}

static void test_names_and_numbers_are_limited(void) {
  char name[DSM_REGION_NAME_BYTES + 2];
  uint32_t region;
  dsm_region_settings actual;
  memset(name, 'n', sizeof name);
  name[DSM_REGION_NAME_BYTES + 1] = 0;
  CHECK_EQUAL(open_named(name, 2, true, &region, &actual), DSM_USAGE);
  name[DSM_REGION_NAME_BYTES] = 0;
  CHECK_EQUAL(open_named(name, 2, true, &region, &actual), DSM_OK);
  CHECK_EQUAL(open_named("", 2, true, &region, &actual), DSM_USAGE);
  uint32_t opened = region + 1;
  for (; opened < DSM_REGIONS_MAX; opened++) {
    snprintf(name, sizeof name, "region %u", opened);
    CHECK_EQUAL(open_named(name, 2, true, &region, &actual), DSM_OK);
    CHECK_EQUAL(region, opened);
  }
  CHECK_EQUAL(open_named("one more", 2, true, &region, &actual), DSM_TOO_MANY);
  CHECK_EQUAL(open_named("region 200", 2, true, &region, &actual), DSM_OK);
}

static void test_no_memory_for_its_counters(void) {
  uint32_t region;
  dsm_region_settings actual;
  dsm_sim_refuse_after(0);
  CHECK_EQUAL(open_named("starved", 2, true, &region, &actual), DSM_STORE_FULL);
  CHECK_EQUAL(open_named("main", 2, true, &region, &actual), DSM_OK);
  dsm_sim_refuse_after(UINT64_MAX);
  CHECK_EQUAL(open_named("starved", 2, true, &region, &actual), DSM_OK);
}

/* Lists the whole region; seen[n] counts how often key n came. */
static uint64_t scan(fixture *by, uint8_t *seen, uint64_t keys) {
  uint64_t total = 0;
  memset(seen, 0, keys);
  for (uint32_t stripe = 0; stripe < by->call.space->stripe_count; stripe++) {
    uint64_t room = 64, used;
    uint8_t *buffer = malloc(room);
    while (dsm_scan_stripe(&by->call, (uint16_t)by->region, stripe, buffer, room, &used) ==
           DSM_TOO_MANY) {
      CHECK(used > room);
      room = used;
      buffer = realloc(buffer, room);
    }
    for (uint64_t at = 0; at < used; total++) {
      uint64_t word;
      memcpy(&word, buffer + at, 8);
      CHECK_EQUAL(word >> 32, DSM_KEY_TEXT);
      char digits[24] = {0};
      memcpy(digits, buffer + at + 8, word & UINT32_MAX);
      uint64_t number = strtoull(digits + 4, NULL, 10);
      if (number < keys) seen[number]++;
      at += 8 + (((word & UINT32_MAX) + 7) & ~7ull);
    }
    free(buffer);
  }
  return total;
}

static void test_each_key_once(void) {
  enum { KEYS = 900 };
  uint8_t seen[KEYS];
  fixture other = self;
  dsm_region_settings actual;
  uint64_t length, random = 5;
  CHECK_EQUAL(scan(&self, seen, KEYS), 0);
  CHECK_EQUAL(open_named("other", 2, true, &other.region, &actual), DSM_OK);
  for (uint64_t key = 0; key < KEYS; key++) {
    CHECK_EQUAL(fixture_put(&self, key, key, random_below(&random, key % 10 ? 100 : 9000)), DSM_OK);
    if (key % 3 == 0) CHECK_EQUAL(fixture_put(&other, key, key, 10), DSM_OK);
  }
  for (uint64_t key = 0; key < KEYS; key += 2) CHECK_EQUAL(fixture_delete(&self, key), DSM_OK);
  CHECK_EQUAL(scan(&self, seen, KEYS), KEYS / 2);
  for (uint64_t key = 0; key < KEYS; key++) CHECK_EQUAL(seen[key], key % 2);
  CHECK_EQUAL(scan(&other, seen, KEYS), KEYS / 3);
  for (uint64_t key = 0; key < KEYS; key++) CHECK_EQUAL(seen[key], key % 3 == 0);
  CHECK_EQUAL(dsm_region_length(&self.call, self.region, &length), DSM_OK);
  CHECK_EQUAL(length, KEYS / 2);
  CHECK_EQUAL(dsm_region_length(&other.call, other.region, &length), DSM_OK);
  CHECK_EQUAL(length, KEYS / 3);
  fixture_check_clean(&self);
}

/* A region with fewer copies than the cluster: only the first nodes of a route hold its objects. */
static void test_fewer_replicas(void) {
  fixture few = self;
  dsm_region_settings actual;
  CHECK_EQUAL(open_named("few", 1, true, &few.region, &actual), DSM_OK);
  few.replicas = 1;
  for (uint64_t key = 0; key < 200; key++) {
    CHECK_EQUAL(fixture_put(&few, key, key, key * 40), DSM_OK);
    CHECK_EQUAL(fixture_put(&self, key, key + 1, key * 20), DSM_OK);
  }
  fixture_check_clean(&self);
  for (uint64_t key = 0; key < 200; key++) {
    CHECK(item_equal(fixture_get(&few, key), (item){ITEM_VALUE, key * 40, key}));
    CHECK_EQUAL(fixture_delete(&few, key), DSM_OK);
    CHECK_EQUAL(fixture_delete(&self, key), DSM_OK);
  }
  fixture_check_clean(&self);
}

/* Counted anew, from what the primary holds. */
static void test_a_damaged_count(void) {
  uint64_t length, before;
  CHECK_EQUAL(fixture_put(&self, 1, 1, 10), DSM_OK);
  CHECK_EQUAL(dsm_region_length(&self.call, self.region, &before), DSM_OK);
  dsm_atomic_u64 *count = dsm_space_region_count(self.call.space, self.region, 3);
  uint64_t sound = dsm_load_relaxed_u64(count);
  dsm_store_relaxed_u64(count, sound ^ 2);
  CHECK_EQUAL(dsm_region_length(&self.call, self.region, &length), DSM_OK);
  CHECK_EQUAL(length, before);
  CHECK(dsm_load_relaxed_u64(count) == sound);
  CHECK_EQUAL(fixture_delete(&self, 1), DSM_OK);
}

/* A record and the count of records are told by their copies. */
static void test_a_damaged_record(void) {
  dsm_region_shm *record = dsm_space_region(self.call.space, self.region), whole = *record;
  dsm_atomic_u64 *count = &dsm_space_control(self.call.space)->region_count;
  uint64_t sound = dsm_load_relaxed_u64(count);
  char name[DSM_REGION_NAME_BYTES];
  uint32_t length;
  memset(record, 0xA5, sizeof *record);
  CHECK(dsm_region_name(self.call.space, self.region, name, &length));
  CHECK(length == whole.name_bytes && memcmp(name, whole.name, length) == 0);
  record->replicas ^= 1;
  dsm_store_relaxed_u64(count, sound ^ 1ull << 50);
  fixture again = fixture_attach(shape.name);
  CHECK_EQUAL(again.region, self.region);
  CHECK(memcmp(record, &whole, sizeof whole) == 0);
  CHECK(dsm_load_relaxed_u64(count) == sound);
  fixture_close(&again, false);
  /* With all copies gone it is refused. */
  record->check ^= 1;
  for (uint32_t node = 0; node < shape.nodes; node++)
    dsm_space_node_region(self.call.space, node, self.region)->check ^= 1;
  CHECK(!dsm_region_name(self.call.space, self.region, name, &length));
  record->check ^= 1;
  for (uint32_t node = 0; node < shape.nodes; node++)
    dsm_space_node_region(self.call.space, node, self.region)->check ^= 1;
}

int main(void) {
  dsm_sim_start(41);
  self = fixture_create(&shape);
  test_a_damaged_record();
  test_settings();
  test_no_memory_for_its_counters();
  test_each_key_once();
  test_fewer_replicas();
  test_a_damaged_count();
  test_names_and_numbers_are_limited();
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_region");
}
