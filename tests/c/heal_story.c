/* What is done with the array. */
#include "heal_story.h"

#include <stdio.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/store/array_check.h"
#include "../../csrc/store/array_directory.h"
#include "../../csrc/store/array_heal.h"
#include "../../csrc/store/array_read.h"
#include "../../csrc/store/array_scrub.h"
#include "../../csrc/store/array_session.h"

#define TILE_PAGES 2u

dsm_status heal_story_make(fixture *by, uint32_t replicas, bool undo) {
  uint32_t entry;
  uint64_t build;
  dsm_array array;
  dsm_call *call = &by->call;
  DSM_TRY(dsm_array_reserve_new(call, "grid", 4, &entry, &build));
  dsm_array_geometry_shm geometry = {.build = build,
                                     .data_bytes = HEAL_WORDS * 8,
                                     .item_bytes = 8,
                                     .tile_bytes = TILE_PAGES * DSM_PAGE_BYTES,
                                     .replicas = replicas,
                                     .undo = undo,
                                     .dimensions = 1,
                                     .description_bytes = 5,
                                     .shape = {HEAL_WORDS}};
  DSM_TRY(dsm_array_create(call, &geometry, "'<u8'", &array));
  uint64_t *words = (uint64_t *)(void *)dsm_array_data(&array, 0);
  for (unsigned i = 0; i < HEAL_WORDS; i++) words[i] = HEAL_BEFORE;
  dsm_array_replicate(&array);
  dsm_array_close(&array);
  DSM_TRY(dsm_array_publish(call, entry, build));
  return dsm_array_settle(call, entry);
}

dsm_status heal_story_find(fixture *by, uint32_t *entry, uint64_t *number) {
  dsm_status status = dsm_array_find(&by->call, "grid", 4, entry, number);
  fixture_require(status == DSM_OK, "the array has its name");
  return status;
}

dsm_status heal_story_open(fixture *by, dsm_array *array) {
  uint32_t entry;
  uint64_t number;
  dsm_array_healed done;
  for (unsigned tries = 0; tries < 3; tries++) {
    heal_story_find(by, &entry, &number);
    dsm_status status = dsm_array_open(&by->call, entry, number, array);
    if (status == DSM_OK && array->unnamed == 0) return DSM_OK;
    if (status == DSM_OK) dsm_array_close(array);
    status = dsm_array_heal(&by->call, entry, number, &done);
    if (status != DSM_OK && status != DSM_RETRY) return status;
  }
  return DSM_RETRY;
}

void heal_story_write(fixture *by, uint64_t value) {
  dsm_array array;
  uint64_t pages;
  dsm_status status = heal_story_open(by, &array);
  fixture_require(status == DSM_OK, "the array can be opened");
  dsm_array_block block = dsm_array_block_make(&array, 0, HEAL_WORDS * 8);
  status = dsm_array_write_begin(&by->call, &array, &block);
  fixture_require(status == DSM_OK, "the tiles are taken");
  uint64_t *words = (uint64_t *)(void *)dsm_array_data(&array, 0);
  for (unsigned i = 0; i < HEAL_WORDS; i++) {
    words[i] = value;
    if (i % (HEAL_WORDS / 2) == 5) DSM_CRASH_POINT("user.store");
  }
  status = dsm_array_write_publish(&by->call, &array, &block, &pages);
  fixture_require(status == DSM_OK, "the block is published");
  dsm_array_close(&array);
}

uint64_t heal_story_shown(fixture *by) {
  static uint64_t words[HEAL_WORDS];
  dsm_array array;
  dsm_status status = heal_story_open(by, &array);
  fixture_require(status == DSM_OK, "the array can be opened to be read");
  status = dsm_array_snapshot_try(&by->call, &array, 0, HEAL_WORDS * 8, words);
  dsm_array_close(&array);
  if (status == DSM_TORN) return 0;
  fixture_require(status == DSM_OK, "a snapshot waits for nobody");
  for (unsigned i = 0; i < HEAL_WORDS; i++)
    fixture_require(words[i] == words[0], "the block is whole");
  return words[0];
}

static void tell(void *context, const dsm_fault *problem) {
  (void)context;
  fprintf(stderr, "%s: %s\n", fixture_story, problem->what);
}

bool heal_story_scrub(fixture *by) {
  dsm_array array;
  bool any = false, mended;
  fixture_require(heal_story_open(by, &array) == DSM_OK, "it is open");
  for (uint64_t tile = 0; tile < array.geometry.tile_count; tile++) {
    dsm_array_scrub_tile(&by->call, &array, tile, &mended);
    any |= mended;
  }
  dsm_array_close(&array);
  return any;
}

void heal_story_require_sound(fixture *by) {
  dsm_array array;
  dsm_check_report report = {0};
  fixture_require(heal_story_open(by, &array) == DSM_OK, "it is open");
  dsm_array_check(&by->call, &array, false, tell, NULL, &report);
  fixture_require(report.problems == 0, "check finds nothing");
  dsm_array_close(&array);
}
