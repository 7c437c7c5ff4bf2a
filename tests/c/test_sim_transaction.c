/* Transactions of one process, in the simulated system: conflicts, a full store, tables that grow
 * within a commit. What a death leaves of them is test_sim_transaction_crash.c's.
 */
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "tale.h"

#define CLUSTER "ctest-transaction"

static workspace space; /* static for its size */

/* Someone else's put between the reads and the commit: nothing changes, and the key is named. */
static void test_conflict_is_named(void) {
  fixture_shape shape = {CLUSTER, 3, 2, 2, 4ull << 20};
  dsm_sim_start(7);
  fixture owner = fixture_create(&shape);
  workspace *work = &space;
  dsm_access *culprit;
  const tale *tale = &tales[0];
  CHECK_EQUAL(tale_bring(&owner, work, tale->before), DSM_OK);
  for (uint32_t at = 0; at < TALE_KEYS; at++) tale_access(&owner, work, at, tale->after[at]);
  CHECK_EQUAL(fixture_put(&owner, 5, 77, 64), DSM_OK);
  uint64_t present = tale_version(&owner, &work->keys[5].key);
  CHECK_EQUAL(dsm_transaction_commit(&owner.call, work->order, TALE_KEYS, &culprit), DSM_ABORTED);
  CHECK(culprit == &work->accesses[5]);
  CHECK_EQUAL(culprit->version, present);
  CHECK(culprit->expected < present);
  for (uint32_t at = 0; at < 4; at++) CHECK(item_equal(fixture_get(&owner, at), tale->before[at]));
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

/* A full node: every try fails without a change, and nothing is lost. */
static void test_full_store_changes_nothing(void) {
  fixture_shape shape = {CLUSTER, 2, 2, 2, 1ull << 20};
  dsm_sim_start(8);
  fixture owner = fixture_create(&shape);
  const item *small = tales[0].before;
  item large[TALE_KEYS];
  for (uint32_t at = 0; at < TALE_KEYS; at++) large[at] = (item){ITEM_VALUE, TALE_BYTES_MAX, 5};
  CHECK_EQUAL(tale_bring(&owner, &space, small), DSM_OK);
  uint64_t filler = TALE_KEYS;
  while (fixture_put(&owner, filler, filler, 60000) == DSM_OK) filler++;
  CHECK_EQUAL(tale_bring(&owner, &space, large), DSM_STORE_FULL);
  CHECK(tale_holds(&owner, small));
  fixture_check_clean(&owner);
  for (uint64_t key = TALE_KEYS; key < filler; key++)
    CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  CHECK_EQUAL(tale_bring(&owner, &space, large), DSM_OK);
  CHECK(tale_holds(&owner, large));
  for (uint64_t key = 0; key < TALE_KEYS; key++) CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  CHECK_EQUAL(fixture_used_pages(&owner), 0);
  fixture_check_clean(&owner);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

/* More new keys than the table has free slots, for many orders of the same keys in it. */
static void test_more_insertions_than_free_slots(void) {
  for (uint64_t seed = 1; seed <= 40; seed++) {
    fixture_shape shape = {CLUSTER, 2, 1, 1, 1ull << 20};
    dsm_sim_start(seed);
    fixture owner = fixture_create(&shape);
    for (uint64_t key = TALE_KEYS; key < TALE_KEYS + seed % 5; key++)
      CHECK_EQUAL(fixture_put(&owner, key, 100 + key, 64), DSM_OK);
    CHECK_EQUAL(tale_bring(&owner, &space, tales[1].after), DSM_OK);
    CHECK(tale_holds(&owner, tales[1].after));
    fixture_check_clean(&owner);
    fixture_close(&owner, true);
    dsm_sim_stop();
  }
}

int main(void) {
  test_more_insertions_than_free_slots();
  test_conflict_is_named();
  test_full_store_changes_nothing();
  return check_result("sim_transaction");
}
