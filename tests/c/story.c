/* The stories, and how they are judged. The table is longer than a file of ideas would be. */
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/node/registry.h"

#define NODE_BYTES (4ull << 20)
#define FRESH_SEED 4242u

#define ABSENT                                                                                     \
  { ITEM_ABSENT, 0, 0 }
#define OLD(bytes)                                                                                 \
  { ITEM_VALUE, bytes, 1001 }
#define NEW(bytes)                                                                                 \
  { ITEM_VALUE, bytes, 2002 }
#define COUNTER(value)                                                                             \
  { ITEM_COUNTER, 8, value }

static void must_be(dsm_status status, dsm_status wanted, const char *what) {
  if (status == wanted) return;
  fprintf(stderr, "%s: %s: %s\n", fixture_story, what, dsm_status_name(status));
  exit(1);
}

/* Pins key 0, overwrites it while it is pinned, lets the pin go. */
static void act_pinned_overwrite(fixture *by) {
  fixture_key key;
  dsm_read read;
  fixture_key_make(by, &key, 0);
  must_be(dsm_read_begin(&by->call, &key.key, &read), DSM_OK, "read to pin");
  must_be(dsm_read_pin(&by->call, &read), DSM_OK, "pin");
  must_be(fixture_put(by, 0, 2002, 12000), DSM_OK, "overwrite pinned");
  dsm_read_unpin(by->call.space, &read);
  /* The next use of the arena takes the run out of limbo. */
  must_be(fixture_put(by, 0, 2002, 12000), DSM_OK, "overwrite again");
}

static void act_region_open(fixture *by) {
  dsm_region_settings settings = {by->replicas, 1}, actual;
  uint32_t region;
  must_be(dsm_region_open(&by->call, "second", 6, &settings, true, &region, &actual), DSM_OK,
          "open a second region");
}

static void act_attach(fixture *by) {
  dsm_cluster *cluster;
  dsm_fault fault;
  must_be(dsm_cluster_attach(by->cluster->name, -1, &cluster, &fault), DSM_OK, "attach");
  dsm_cluster_drop(cluster);
}

const story stories[] = {
    {"first key of a stripe", ABSENT, NEW(64), 0, 0, 0, 1, NULL, false},
    {"new key", ABSENT, NEW(64), 3, 64, 0, 1, NULL, false},
    {"empty value", ABSENT, NEW(0), 3, 0, 0, 1, NULL, false},
    {"overwrite, same length", OLD(64), NEW(64), 3, 64, 0, 1, NULL, false},
    {"overwrite, longer", OLD(64), NEW(700), 3, 64, 0, 1, NULL, false},
    {"overwrite, slab is given up", OLD(960), NEW(10), 2, 64, 0, 1, NULL, false},
    {"small to large", OLD(64), NEW(9000), 3, 64, 0, 1, NULL, false},
    {"large to large", OLD(9000), NEW(20000), 2, 5000, 0, 1, NULL, false},
    {"large to small", OLD(9000), NEW(64), 3, 64, 0, 1, NULL, false},
    {"one page, aligned, not lazy", OLD(3000), NEW(4000), 2, 3000, 0, 1, NULL, false},
    {"delete", OLD(64), ABSENT, 3, 64, 0, 1, NULL, false},
    {"delete large", OLD(9000), ABSENT, 2, 9000, 0, 1, NULL, false},
    {"last delete", OLD(64), ABSENT, 0, 0, 0, 1, NULL, false},
    {"last delete, large", OLD(9000), ABSENT, 0, 0, 0, 1, NULL, false},
    {"new counter", ABSENT, COUNTER(5), 2, 64, 0, 1, NULL, false},
    {"counter", COUNTER(7), COUNTER(12), 2, 64, 0, 1, NULL, false},
    {"table leaves the sub for a slab", ABSENT, NEW(64), 5, 64, 0, 1, NULL, false},
    {"table grows within slabs", ABSENT, NEW(64), 25, 16, 0, 9, NULL, false},
    {"table leaves the slabs for a run", ABSENT, NEW(64), 51, 16, 0, 17, NULL, false},
    {"table grows from run to run", ABSENT, NEW(64), 207, 16, 0, 47, NULL, false},
    {"arena grows by a long run", ABSENT, NEW(400000), 2, 64, 0, 1, NULL, false},
    {"cold run", ABSENT, NEW(9000000), 2, 64, 24ull << 20, 5, NULL, false},
    {"overwrite while pinned", OLD(9000), NEW(12000), 2, 64, 0, 1, act_pinned_overwrite, true},
    {"open a region", OLD(64), OLD(64), 2, 64, 0, 1, act_region_open, false},
    {"attach and close", OLD(64), OLD(64), 2, 64, 0, 1, act_attach, false},
};
const unsigned story_count = sizeof stories / sizeof *stories;

static dsm_status bring(fixture *by, item wanted) {
  int64_t result;
  item present = fixture_get(by, 0);
  if (item_equal(present, wanted)) return DSM_OK;
  switch (wanted.kind) {
  case ITEM_ABSENT:
    return fixture_delete(by, 0);
  case ITEM_VALUE:
    return fixture_put(by, 0, wanted.seed, wanted.bytes);
  case ITEM_COUNTER:
    break;
  }
  if (present.kind == ITEM_VALUE) must_be(fixture_delete(by, 0), DSM_OK, "delete");
  if (present.kind != ITEM_COUNTER) present.seed = 0;
  return fixture_add(by, 0, (int64_t)(wanted.seed - present.seed), &result);
}

void story_rewind(const story *self, fixture *by) {
  for (uint64_t key = 1; key <= self->others; key++)
    must_be(fixture_put(by, key, 100 + key, self->other_bytes), DSM_OK, "put beside");
  must_be(bring(by, self->before), DSM_OK, "go back");
}

fixture story_begin(const story *self, uint32_t replicas, const char *cluster) {
  fixture_shape shape = {cluster, 3, replicas, 1, self->node_bytes ? self->node_bytes : NODE_BYTES};
  fixture owner = fixture_create(&shape);
  story_rewind(self, &owner);
  return owner;
}

void story_act(const story *self, fixture *by) {
  if (self->act)
    self->act(by);
  else
    must_be(bring(by, self->after), DSM_OK, "change");
}

dsm_status story_try(const story *self, fixture *by) {
  return self->act ? DSM_USAGE : bring(by, self->after);
}

static item present_item(const story *self, fixture *by, const item *also) {
  item present = fixture_get(by, 0);
  fixture_require(item_equal(present, self->before) || item_equal(present, self->after) ||
                      (also && item_equal(present, *also)),
                  "the value is the old or the new one");
  return present;
}

void story_judge(const story *self, fixture *by, const item *also) {
  /* A read takes no lock and repairs nothing; the next look is after the stripe was taken. */
  item unlocked = present_item(self, by, also);
  fixture_check_replicas(by, 0);
  item present = present_item(self, by, also);
  fixture_require(item_equal(present, unlocked) || !item_equal(unlocked, self->after) ||
                      item_equal(unlocked, self->before) || also,
                  "what was read once is not un-read");
  for (uint64_t key = 1; key <= self->others; key++) {
    item other = {ITEM_VALUE, self->other_bytes, 100 + key};
    fixture_require(item_equal(fixture_get(by, key), other), "the other keys are untouched");
    if (key < 4) fixture_check_replicas(by, key);
  }
  uint64_t length, expected = self->others + (present.kind != ITEM_ABSENT);
  must_be(dsm_region_length(&by->call, by->region, &length), DSM_OK, "length");
  fixture_require(length == expected, "the region counts its keys");
  fixture_check_clean(by);
  item fresh = {ITEM_VALUE, 80, FRESH_SEED};
  must_be(fixture_put(by, 0, fresh.seed, fresh.bytes), DSM_OK, "write afterwards");
  fixture_require(item_equal(fixture_get(by, 0), fresh), "what is written afterwards is read");
}

void story_judge_empty(const story *self, fixture *by) {
  dsm_status status = fixture_delete(by, 0);
  if (status != DSM_NOT_FOUND) must_be(status, DSM_OK, "delete the target");
  for (uint64_t key = 1; key <= self->others; key++)
    must_be(fixture_delete(by, key), DSM_OK, "delete beside");
  fixture_require(fixture_limbo_pages(by) == 0, "nothing stays in limbo");
  fixture_require(fixture_used_pages(by) == 0, "no page is lost");
  fixture_check_clean(by);
}
