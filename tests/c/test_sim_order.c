/* The order in which a put becomes visible, looked at after every single store of it.
 *
 *   - the primary finds the new object only when every backup does (I-3);
 *   - a replica ends the old object, whose memory may then be used again, only when its generation
 *     is raised, so that whoever reads that memory learns of it;
 *   - in the end the old object has no version, so that no stale slot finds it.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/table.h"
#include "check_main.h"
#include "fixture.h"

enum { KEY = 1, NEIGHBOURS = 9 };

typedef struct replica {
  dsm_found old;
  const dsm_atomic_u64 *gen, *old_version;
  uint64_t gen_before;
} replica;

static fixture self;
static replica replicas[DSM_REPLICAS_MAX];
static uint32_t replica_count;
static unsigned stores_seen;

static bool raised(const replica *of) {
  return dsm_load_relaxed_u64(of->gen) != of->gen_before;
}

static bool published(const replica *of) {
  return dsm_load_relaxed_u64(of->old.slot) != of->old.slot_word;
}

static bool ended(const replica *of) {
  return dsm_load_relaxed_u64(of->old_version) == 0;
}

static void after_store(const char *point) {
  if (strcmp(point, "intent.effect") != 0) return;
  stores_seen++;
  for (uint32_t i = 0; i < replica_count; i++) {
    CHECK(!published(&replicas[0]) || published(&replicas[i]));
    CHECK(!raised(&replicas[0]) || raised(&replicas[i]));
    CHECK(!ended(&replicas[i]) || raised(&replicas[i]));
    CHECK(!raised(&replicas[i]) || published(&replicas[i]));
  }
}

/* What each replica holds of the key, and where. */
static void look(void) {
  fixture_key name;
  dsm_space *space = self.call.space;
  fixture_key_make(&self, &name, KEY);
  uint32_t stripe = dsm_key_stripe(space, name.key.hash);
  dsm_route route;
  bool ok =
      dsm_route_unseal(space, dsm_load_acquire_u64(dsm_space_route(space, stripe)), stripe, &route);
  fixture_require(ok, "the route verifies");
  replica_count = route.count;
  for (uint32_t i = 0; i < route.count; i++) {
    replica *of = &replicas[i];
    CHECK_EQUAL(dsm_table_find(&self.call, route.nodes[i], stripe, &name.key, &of->old), DSM_OK);
    fixture_require(of->old.offset != 0, "the key is there");
    of->gen = &dsm_space_sub(space, route.nodes[i], stripe)->gen;
    of->gen_before = dsm_load_relaxed_u64(of->gen);
    of->old_version = &dsm_object_at(space, route.nodes[i], of->old.offset)->version;
  }
}

static void overwrite(uint64_t bytes_before, uint64_t bytes_after) {
  CHECK_EQUAL(fixture_put(&self, KEY, 1, bytes_before), DSM_OK);
  look();
  stores_seen = 0;
  dsm_crash_hook = after_store;
  CHECK_EQUAL(fixture_put(&self, KEY, 2, bytes_after), DSM_OK);
  dsm_crash_hook = NULL;
  CHECK(stores_seen >= 4 * replica_count);
  for (uint32_t i = 0; i < replica_count; i++) {
    CHECK(published(&replicas[i]));
    CHECK(ended(&replicas[i]));
  }
}

int main(void) {
  const uint64_t sizes[] = {8, 64, 300, 700, 5000, 40000};
  const unsigned count = sizeof sizes / sizeof *sizes;
  for (uint32_t copies = 1; copies <= 3; copies++) {
    dsm_sim_start(copies);
    self = fixture_create(&(fixture_shape){"ctest-order", 3, copies, 1, 8u << 20});
    for (uint64_t key = KEY + 1; key < KEY + NEIGHBOURS; key++)
      CHECK_EQUAL(fixture_put(&self, key, key, 100), DSM_OK);
    for (unsigned i = 0; i < count * count; i++) overwrite(sizes[i / count], sizes[i % count]);
    fixture_check_clean(&self);
    fixture_close(&self, true);
    dsm_sim_stop();
  }
  return check_result("sim_order");
}
