/* Memory runs out: at the n-th call for it, for every n, in every story; then for good.
 *
 * Each time the outcome is DSM_STORE_FULL with a reason, nothing is lost, nothing leaks, check is
 * clean, and the store works on: at once for what needs no memory, for the rest once there is some.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "story.h"

#define CLUSTER "ctest-full"

static unsigned refusals;

/* Uses up every free page with values in a region of their own, so that the next page must come
 * from the kernel. Returns how many keys that took. */
static uint64_t load_ballast(fixture *ballast) {
  dsm_region_settings settings = {ballast->replicas, 1}, actual;
  CHECK_EQUAL(
      dsm_region_open(&ballast->call, "ballast", 7, &settings, true, &ballast->region, &actual),
      DSM_OK);
  uint64_t key = 0;
  dsm_sim_refuse_after(0);
  for (uint64_t pages = 1u << 11; pages > 0; pages /= 2)
    while (fixture_put(ballast, key, key, pages * DSM_ARENA_PAGE_BYTES - 200) == DSM_OK) key++;
  dsm_sim_refuse_after(UINT64_MAX);
  return key;
}

static void refuse_at_every_call(const story *story, uint32_t replicas, bool loaded) {
  dsm_sim_start(replicas);
  fixture owner = story_begin(story, replicas, CLUSTER), ballast = owner;
  uint64_t ballast_keys = loaded ? load_ballast(&ballast) : 0;
  dsm_sim_picture *picture = dsm_sim_picture_take();
  dsm_status status = DSM_STORE_FULL;
  for (unsigned calls = 0; status != DSM_OK; calls++) {
    snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, memory for %u calls",
             story->name, replicas, calls);
    dsm_sim_picture_restore(picture);
    dsm_sim_refuse_after(calls);
    status = story_try(story, &owner);
    item present = fixture_get(&owner, 0);
    if (status == DSM_OK) {
      CHECK(item_equal(present, story->after));
    } else {
      CHECK_EQUAL(status, DSM_STORE_FULL);
      CHECK(owner.call.fault.what != NULL && owner.call.fault.node >= 0);
      CHECK(item_equal(present, story->before));
      refusals++;
      /* Nothing was given away by the failure: trying once more fails in the same way. */
      uint64_t used = fixture_used_pages(&owner);
      dsm_sim_refuse_after(0);
      CHECK_EQUAL(story_try(story, &owner), DSM_STORE_FULL);
      CHECK_EQUAL(fixture_used_pages(&owner), used);
    }
    fixture_check_clean(&owner);
    dsm_sim_refuse_after(UINT64_MAX);
    if (status != DSM_OK) CHECK_EQUAL(story_try(story, &owner), DSM_OK);
    CHECK(item_equal(fixture_get(&owner, 0), story->after));
    story_judge(story, &owner, NULL);
    ballast.call = owner.call;
    for (uint64_t key = 0; key < ballast_keys; key++) {
      CHECK_EQUAL(fixture_get(&ballast, key).seed, key);
      CHECK_EQUAL(fixture_delete(&ballast, key), DSM_OK);
    }
    story_judge_empty(story, &owner);
  }
  dsm_sim_picture_free(picture);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

/* Fills the cluster to the brim, twice: what was acknowledged is there, what was deleted is room.
 */
static void fill_to_the_brim(uint32_t replicas, uint64_t room, uint64_t node_bytes) {
  enum { KEYS_MAX = 4000 };
  static item held[KEYS_MAX];
  uint64_t random = 7 + replicas;
  fixture_shape shape = {CLUSTER, 3, replicas, 8, node_bytes};
  snprintf(fixture_story, sizeof fixture_story, "brim, replication %u", replicas);
  memset(held, 0, sizeof held);
  dsm_sim_start(replicas);
  fixture owner = fixture_create(&shape);
  dsm_sim_room_set(room);
  for (int round = 0; round < 3; round++) {
    unsigned full = 0;
    for (uint64_t key = 0; key < KEYS_MAX && full < 50; key++) {
      item wanted = {ITEM_VALUE, random_below(&random, key % 9 ? 900 : 30000), key + 1};
      dsm_status status = fixture_put(&owner, key, wanted.seed, wanted.bytes);
      CHECK(status == DSM_OK || status == DSM_STORE_FULL);
      if (status == DSM_OK) held[key] = wanted;
      full += status == DSM_STORE_FULL;
    }
    CHECK(full > 0);
    if (full) CHECK(owner.call.fault.left > 0);
    fixture_check_clean(&owner);
    for (uint64_t key = 0; key < KEYS_MAX; key++) {
      CHECK(item_equal(fixture_get(&owner, key), held[key]));
      bool gone = held[key].kind == ITEM_VALUE && (key % 3 || round == 2);
      /* A delete asks for nothing. */
      if (gone) CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
      if (gone) held[key] = (item){0};
    }
    fixture_check_clean(&owner);
  }
  CHECK_EQUAL(fixture_limbo_pages(&owner), 0);
  CHECK_EQUAL(fixture_used_pages(&owner), 0);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

static void test_larger_than_a_segment(void) {
  dsm_sim_start(3);
  fixture owner = fixture_create(&(fixture_shape){CLUSTER, 1, 1, 1, 1u << 20});
  CHECK_EQUAL(fixture_put(&owner, 1, 1, 1u << 20), DSM_STORE_FULL);
  CHECK_EQUAL(fixture_put(&owner, 1, 1, 3000000), DSM_STORE_FULL);
  CHECK_EQUAL(fixture_put(&owner, 1, 1, 540000), DSM_OK);
  CHECK_EQUAL(fixture_put(&owner, 1, 2, 540000), DSM_STORE_FULL); /* no room beside the old one */
  CHECK_EQUAL(fixture_get(&owner, 1).seed, 1);
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

int main(void) {
  for (unsigned i = 0; i < story_count; i++)
    for (uint32_t replicas = 1; replicas <= 3 && !stories[i].act; replicas++)
      for (int loaded = 0; loaded < 2; loaded++)
        refuse_at_every_call(&stories[i], replicas, loaded);
  CHECK(refusals > 100);
  fill_to_the_brim(1, 2u << 20, 8u << 20);
  fill_to_the_brim(2, 3u << 20, 8u << 20);
  fill_to_the_brim(3, UINT64_MAX, 2u << 20); /* the segments are the limit */
  test_larger_than_a_segment();
  printf("%u refusals\n", refusals);
  return check_result("sim_full");
}
