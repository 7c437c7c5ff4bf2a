/* What is written beside a checkpoint, and what must hold after it. */
#include "cut_story.h"

#include <stdio.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/store/move.h"
#include "../../csrc/store/route.h"
#include "tale.h"

static const uint64_t sizes[] = {5, 0, 64, 300, 900, 3000, 9000, 70000, 200000};
#define SIZES (sizeof sizes / sizeof *sizes)

/* Static, since deaths jump out of what uses them. */
static cut_taker later;
static workspace work;

void cut_story_look(fixture *by, item *items) {
  for (uint64_t key = 0; key < CUT_KEYS; key++) items[key] = fixture_get(by, key);
}

void cut_story_require_same(const item *found, const item *expected, const char *what) {
  for (uint64_t key = 0; key < CUT_KEYS; key++) {
    if (!item_equal(found[key], expected[key]))
      fprintf(stderr, "%s: key %u: kind %d, %u bytes, seed %u against kind %d, %u bytes, seed %u\n",
              fixture_story, (unsigned)key, found[key].kind, (unsigned)found[key].bytes,
              (unsigned)found[key].seed, expected[key].kind, (unsigned)expected[key].bytes,
              (unsigned)expected[key].seed);
    fixture_require(item_equal(found[key], expected[key]), what);
  }
}

/* Keys up to TALE_KEYS are the transaction's; the last one is a counter, some are absent. */
void cut_story_fill(fixture *by) {
  int64_t result;
  for (uint64_t key = 0; key + 1 < CUT_KEYS; key++)
    if (key % 7 != 6)
      fixture_require(fixture_put(by, key, 100 + key, sizes[key % SIZES]) == DSM_OK, "put");
  fixture_require(fixture_add(by, CUT_KEYS - 1, 5, &result) == DSM_OK, "add");
}

/* Moves a stripe so many places on: the primary goes to the back, or a node comes in for it. With 0
 * it stays, and what an unfinished move has left is tidied. */
static void move(fixture *by, uint32_t stripe, uint32_t places) {
  const dsm_space *space = by->call.space;
  dsm_route route;
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(space, stripe));
  fixture_require(dsm_route_unseal(space, word, stripe, &route), "route");
  uint8_t nodes[DSM_REPLICAS_MAX];
  for (uint32_t i = 0; i < route.count; i++)
    nodes[i] = route.count == CUT_NODES ? route.nodes[(i + places) % CUT_NODES]
                                        : (uint8_t)((route.nodes[i] + places) % CUT_NODES);
  dsm_move going;
  bool done = false;
  dsm_move_begin(&going, stripe, nodes, route.count, 0);
  going.step_objects = 3;
  while (!done) fixture_require(dsm_move_step(&by->call, &going, &done) == DSM_OK, "a move");
}

/* One change, another one with each step. */
void cut_story_change(fixture *by, uint32_t step) {
  int64_t result;
  uint64_t key = TALE_KEYS + step * 5 % (CUT_KEYS - TALE_KEYS - 1);
  dsm_status status = DSM_OK;
  if (step % 5 == 1) move(by, step / 5 % CUT_STRIPES, 1);
  /* Large values one after another, so that runs that are free are used at once. */
  for (uint64_t seed = 1; step % 3 == 2 && seed <= 3 && status == DSM_OK; seed++)
    status = fixture_put(by, 17, 7000 + seed, 200000);
  if (step % 4 == 0) status = fixture_put(by, key, 9000 + step, sizes[(key + step) % SIZES]);
  if (step % 4 == 1) status = fixture_add(by, CUT_KEYS - 1, 1, &result);
  if (step % 4 == 2) status = fixture_delete(by, key);
  if (step % 4 == 3) status = tale_bring(by, &work, tales[step / 4 % tale_count].after);
  fixture_require(status == DSM_OK || status == DSM_NOT_FOUND, "a change");
}

void cut_story_require_nothing_kept(fixture *by) {
  const dsm_space *space = by->call.space;
  const dsm_cut_shm *cut = dsm_space_cut(space);
  fixture_require(dsm_load_relaxed_u64(&dsm_space_control(space)->cut) == 0, "no cut is open");
  fixture_require(dsm_load_relaxed_u64(&cut->owner) == 0, "nobody takes a checkpoint");
  fixture_require(dsm_load_relaxed_u64(&cut->saved_bytes) == 0, "nothing is saved");
  fixture_require(dsm_load_relaxed_u64(&cut->pin_count) == 0, "nothing is pinned");
}

void cut_story_judge(fixture *by, bool retire) {
  item now[CUT_KEYS];
  if (retire) fixture_retire_dead(by);
  fixture_require(fixture_put(by, 8, 5555, 70000) == DSM_OK, "writes go on");
  cut_take(&later, by);
  cut_story_look(by, now);
  cut_story_require_same(later.sink.items, now, "the next checkpoint holds what there is");
  cut_story_require_nothing_kept(by);
  fixture_retire_dead(by);
  for (uint32_t stripe = 0; stripe < CUT_STRIPES; stripe++) move(by, stripe, 0);
  fixture_check_clean(by);
  for (uint64_t key = 0; key < CUT_KEYS; key++) fixture_delete(by, key);
  fixture_require(fixture_limbo_pages(by) == 0, "nothing stays in limbo");
  fixture_require(fixture_used_pages(by) == 0, "no page is lost");
  fixture_check_clean(by);
}
