/* Conflict resolution: any permutation of the same versions has the same winner under every policy,
 * and the winner is the one that the definition names.
 */
#include <stdbool.h>
#include <string.h>

#include "../../csrc/proto/conflict.h"
#include "check_main.h"

enum { VERSIONS = 5, PERMUTATIONS = 120 };

static const dsm_conflict_version versions[VERSIONS] = {
    {.stamp = 10, .node = 1, .checksum = 5, .handle = 0},
    {.stamp = 20, .node = 1, .checksum = 7, .handle = 1},
    {.stamp = 20, .node = 2, .checksum = 3, .handle = 2},
    {.stamp = 20, .node = 2, .checksum = 9, .handle = 3},
    {.stamp = 10, .node = 0, .checksum = 6, .handle = 4},
};

/* Permutation number n in the factorial number system. */
static void permute(dsm_conflict_version *into, int n) {
  memcpy(into, versions, sizeof versions);
  for (int left = VERSIONS; left > 1; n /= left--) {
    dsm_conflict_version other = into[n % left];
    into[n % left] = into[left - 1];
    into[left - 1] = other;
  }
}

static size_t resolve_least_checksum(const dsm_conflict_version *sorted, size_t count,
                                     void *context) {
  size_t best = 0;
  for (size_t i = 0; i < count; i++) {
    CHECK(i == 0 || dsm_conflict_compare(&sorted[i - 1], &sorted[i]) < 0);
    if (sorted[i].checksum < sorted[best].checksum) best = i;
  }
  *(size_t *)context = count;
  return best;
}

static size_t resolve_none(const dsm_conflict_version *sorted, size_t count, void *context) {
  (void)sorted, (void)context;
  return count;
}

static void test_every_permutation_has_one_winner(void) {
  for (int n = 0; n < PERMUTATIONS; n++) {
    dsm_conflict_version copy[VERSIONS], winner;
    size_t seen = 0;
    permute(copy, n);
    CHECK_EQUAL(
        dsm_conflict_resolve(DSM_CONFLICT_LAST_WRITE_WINS, copy, VERSIONS, NULL, NULL, &winner),
        DSM_OK);
    CHECK_EQUAL(winner.handle, 3);
    permute(copy, n);
    CHECK_EQUAL(
        dsm_conflict_resolve(DSM_CONFLICT_FIRST_WRITE_WINS, copy, VERSIONS, NULL, NULL, &winner),
        DSM_OK);
    CHECK_EQUAL(winner.handle, 4);
    permute(copy, n);
    CHECK_EQUAL(dsm_conflict_resolve(DSM_CONFLICT_CUSTOM, copy, VERSIONS, resolve_least_checksum,
                                     &seen, &winner),
                DSM_OK);
    CHECK_EQUAL(winner.handle, 2);
    CHECK_EQUAL(seen, VERSIONS);
  }
}

static void test_repeated_versions_count_once(void) {
  dsm_conflict_version copies[3] = {versions[1], versions[0], versions[1]};
  copies[2].handle = 77;
  CHECK_EQUAL(dsm_conflict_order(copies, 3), 2);
  CHECK_EQUAL(copies[0].handle, 0);
  CHECK_EQUAL(copies[1].handle, 1);
  CHECK_EQUAL(dsm_conflict_compare(&copies[1], &versions[1]), 0);
}

static void test_resolving_again_changes_nothing(void) {
  dsm_conflict_version copy[VERSIONS], winner, again;
  memcpy(copy, versions, sizeof copy);
  dsm_conflict_resolve(DSM_CONFLICT_LAST_WRITE_WINS, copy, 3, NULL, NULL, &winner);
  dsm_conflict_version rest[3] = {winner, versions[3], versions[4]};
  dsm_conflict_resolve(DSM_CONFLICT_LAST_WRITE_WINS, rest, 3, NULL, NULL, &again);
  CHECK_EQUAL(again.handle, 3);
}

static void test_bad_arguments(void) {
  dsm_conflict_version copy[VERSIONS], winner;
  memcpy(copy, versions, sizeof copy);
  CHECK_EQUAL(dsm_conflict_resolve(DSM_CONFLICT_LAST_WRITE_WINS, copy, 0, NULL, NULL, &winner),
              DSM_USAGE);
  CHECK_EQUAL(dsm_conflict_resolve(DSM_CONFLICT_CUSTOM, copy, 0, resolve_none, NULL, &winner),
              DSM_USAGE);
  CHECK_EQUAL(dsm_conflict_resolve(DSM_CONFLICT_CUSTOM, copy, 5, resolve_none, NULL, &winner),
              DSM_USAGE);
  CHECK_EQUAL(dsm_conflict_resolve((dsm_conflict_policy)9, copy, 5, NULL, NULL, &winner),
              DSM_USAGE);
}

int main(void) {
  test_every_permutation_has_one_winner();
  test_repeated_versions_count_once();
  test_resolving_again_changes_nothing();
  test_bad_arguments();
  return check_result("conflict");
}
