/* Placement: even shares, few moves, every list valid, whatever comes and goes; against the plain
 * sums that a share is.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/placement.h"
#include "check_main.h"

#define STRIPES_MAX 4096u
#define NODES DSM_PLACEMENT_NODES_MAX

static dsm_placement_list lists[STRIPES_MAX], before[STRIPES_MAX];
static uint32_t weights[NODES];

static uint64_t random_state = 88172645463325252ull;
static uint64_t next_random(uint64_t bound) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % bound;
}

static void plan(uint32_t stripes, uint32_t copies, uint64_t seed) {
  dsm_placement placement = {stripes, copies, weights, seed};
  void *scratch = malloc(dsm_placement_bytes(stripes));
  memcpy(before, lists, sizeof lists);
  CHECK_EQUAL(dsm_placement_plan(&placement, scratch, lists), DSM_OK);
  free(scratch);
}

static bool has(const dsm_placement_list *list, uint32_t copies, uint32_t node) {
  for (uint32_t place = 0; place < copies; place++)
    if (list->nodes[place] == node) return true;
  return false;
}

/* Copies that are made: nodes in a list that were not in it before. */
static uint64_t copies_made(uint32_t stripes, uint32_t copies) {
  uint64_t made = 0;
  for (uint32_t stripe = 0; stripe < stripes; stripe++)
    for (uint32_t place = 0; place < copies; place++)
      made += !has(&before[stripe], DSM_PLACEMENT_COPIES_MAX, lists[stripe].nodes[place]);
  return made;
}

static uint32_t usable(void) {
  uint32_t count = 0;
  for (uint32_t node = 0; node < NODES; node++) count += weights[node] != 0;
  return count;
}

static void check_lists(uint32_t stripes, uint32_t copies) {
  uint32_t wanted = copies < usable() ? copies : usable();
  for (uint32_t stripe = 0; stripe < stripes; stripe++)
    for (uint32_t place = 0; place < DSM_PLACEMENT_COPIES_MAX; place++) {
      uint8_t node = lists[stripe].nodes[place];
      if (place >= wanted) {
        CHECK_EQUAL(node, DSM_PLACEMENT_NOBODY);
        continue;
      }
      CHECK(node < NODES && weights[node] > 0);
      CHECK(!has(&lists[stripe], place, node));
    }
}

static uint64_t load_of(uint32_t stripes, uint32_t node, uint32_t first, uint32_t last) {
  uint64_t load = 0;
  for (uint32_t stripe = 0; stripe < stripes; stripe++)
    for (uint32_t place = first; place < last; place++) load += lists[stripe].nodes[place] == node;
  return load;
}

/* With equal weights every node has its share of every place, give or take a few. */
static void check_even(uint32_t stripes, uint32_t copies, uint32_t slack) {
  uint64_t sum = 0;
  for (uint32_t node = 0; node < NODES; node++) sum += weights[node];
  for (uint32_t node = 0; node < NODES; node++)
    for (uint32_t place = 0; place < copies; place++) {
      uint64_t share = (uint64_t)stripes * weights[node] / sum;
      uint64_t load = load_of(stripes, node, place, place + 1);
      CHECK(load + slack >= share && load <= share + 1 + slack);
    }
}

static void come_and_go(uint32_t stripes, uint32_t copies, uint64_t seed) {
  memset(weights, 0, sizeof weights);
  memset(lists, 0xFF, sizeof lists);
  for (uint32_t node = 0; node < 4; node++) weights[node] = 1000;
  plan(stripes, copies, seed);
  check_lists(stripes, copies);
  check_even(stripes, copies, 1);
  plan(stripes, copies, seed);
  CHECK(memcmp(lists, before, sizeof lists) == 0);
  for (uint32_t round = 0; round < 24; round++) {
    uint32_t node = (uint32_t)next_random(9);
    bool adds = weights[node] == 0;
    if (!adds && usable() <= copies + 1) continue;
    uint64_t leaves = load_of(stripes, node, 0, copies);
    weights[node] = adds ? 1000 : 0;
    plan(stripes, copies, seed);
    uint64_t made = copies_made(stripes, copies);
    uint64_t ideal = adds ? (uint64_t)stripes * copies / usable() : leaves;
    CHECK(made * 100 <= ideal * 105 + 400);
    CHECK(!adds || made * 100 + 400 >= ideal * 90);
    check_lists(stripes, copies);
    check_even(stripes, copies, 2);
    plan(stripes, copies, seed);
    CHECK(memcmp(lists, before, sizeof lists) == 0);
  }
}

static void weights_count(void) {
  memset(weights, 0, sizeof weights);
  memset(lists, 0xFF, sizeof lists);
  weights[0] = weights[1] = weights[2] = 1000;
  weights[3] = 3000;
  plan(1024, 1, 5);
  check_even(1024, 1, 1);
  CHECK(load_of(1024, 3, 0, 1) >= 511);
  weights[3] = 1000;
  plan(1024, 1, 5);
  uint64_t moves = copies_made(1024, 1);
  CHECK(moves >= 255 && moves <= 258);
  check_even(1024, 1, 1);
  /* More than a copy of every stripe nobody can have. */
  weights[3] = 60000;
  plan(1024, 2, 5);
  check_lists(1024, 2);
  CHECK(load_of(1024, 3, 0, 2) >= 1000);
}

/* A list with its primary gone, and one with damage in it. */
static void holes_are_filled(void) {
  memset(weights, 0, sizeof weights);
  for (uint32_t node = 0; node < 5; node++) weights[node] = 1000;
  memset(lists, 0xFF, sizeof lists);
  plan(512, 2, 9);
  lists[7].nodes[0] = lists[7].nodes[1];
  lists[8].nodes[1] = 200;
  lists[9].nodes[0] = DSM_PLACEMENT_NOBODY;
  plan(512, 2, 9);
  check_lists(512, 2);
  CHECK_EQUAL(copies_made(512, 2) <= 4, 1);
}

static void refused(void) {
  dsm_placement placement = {16, 1, weights, 1};
  void *scratch = malloc(dsm_placement_bytes(16));
  memset(weights, 0, sizeof weights);
  CHECK_EQUAL(dsm_placement_plan(&placement, scratch, lists), DSM_USAGE);
  weights[1] = 1;
  placement.copies = 0;
  CHECK_EQUAL(dsm_placement_plan(&placement, scratch, lists), DSM_USAGE);
  placement.copies = DSM_PLACEMENT_COPIES_MAX + 1;
  CHECK_EQUAL(dsm_placement_plan(&placement, scratch, lists), DSM_USAGE);
  placement.copies = 3;
  CHECK_EQUAL(dsm_placement_plan(&placement, scratch, lists), DSM_OK);
  check_lists(16, 3); /* one usable node: lists of one */
  free(scratch);
}

int main(void) {
  for (uint32_t copies = 1; copies <= 3; copies++) {
    come_and_go(1024, copies, copies);
    come_and_go(64, copies, 100 + copies);
    come_and_go(4096, copies, 200 + copies);
  }
  weights_count();
  holes_are_filled();
  refused();
  return check_result("placement");
}
