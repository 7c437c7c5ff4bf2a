/* Arrays that lose files, in the simulated system: what is lost is healed, the healer is killed at
 * each of its planned crash points, and a survivor that knows nothing goes on. And a writer is
 * killed at each point of its block before a file is lost: its block is there whole or not at all.
 * And a bit of an element is flipped, and the scrubber that finds it is killed.
 */
#include <stdio.h>
#include <string.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/array_check.h"
#include "../../csrc/store/array_directory.h"
#include "../../csrc/store/array_heal.h"
#include "../../csrc/store/array_read.h"
#include "../../csrc/store/array_scrub.h"
#include "../../csrc/store/array_session.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"

#define CLUSTER "ctest-heal"
#define NODES 3u
#define PAGES 8u
#define WORDS (PAGES * DSM_PAGE_BYTES / 8)
#define TILE_PAGES 2u
#define BEFORE 11u
#define AFTER 22u
#define RESCUE 33u

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0"; /* a killed process's private memory is freed by nobody */
}

typedef enum hurt {
  HURT_UNLINKED, /* … while somebody has it open */
  HURT_GONE,     /* … and nobody has */
  HURT_CUT,
  HURT_ZEROED,
  HURT_HEADER,
  HURT_COUNT
} hurt;

typedef struct trial {
  uint32_t replicas, copy;
  bool undo;
  hurt how;
  fixture owner, victim, survivor;
  uint32_t owner_pid, victim_pid, survivor_pid;
} trial;

static unsigned deaths, writers_deaths, scrubbers;

static dsm_status make(trial *self) {
  uint32_t entry;
  uint64_t build;
  dsm_array array;
  dsm_call *call = &self->owner.call;
  DSM_TRY(dsm_array_reserve_new(call, "grid", 4, &entry, &build));
  dsm_array_geometry_shm geometry = {.build = build,
                                     .data_bytes = WORDS * 8,
                                     .item_bytes = 8,
                                     .tile_bytes = TILE_PAGES * DSM_PAGE_BYTES,
                                     .replicas = self->replicas,
                                     .undo = self->undo,
                                     .dimensions = 1,
                                     .description_bytes = 5,
                                     .shape = {WORDS}};
  DSM_TRY(dsm_array_create(call, &geometry, "'<u8'", &array));
  uint64_t *words = (uint64_t *)(void *)dsm_array_data(&array, 0);
  for (unsigned i = 0; i < WORDS; i++) words[i] = BEFORE;
  dsm_array_replicate(&array);
  dsm_array_close(&array);
  DSM_TRY(dsm_array_publish(call, entry, build));
  return dsm_array_settle(call, entry);
}

static dsm_status find(fixture *by, uint32_t *entry, uint64_t *number) {
  dsm_status status = dsm_array_find(&by->call, "grid", 4, entry, number);
  fixture_require(status == DSM_OK, "the array has its name");
  return status;
}

/* As find_array does it. */
static dsm_status open_array(fixture *by, dsm_array *array) {
  uint32_t entry;
  uint64_t number;
  dsm_array_healed done;
  for (unsigned tries = 0; tries < 3; tries++) {
    find(by, &entry, &number);
    dsm_status status = dsm_array_open(&by->call, entry, number, array);
    if (status == DSM_OK && array->unnamed == 0) return DSM_OK;
    if (status == DSM_OK) dsm_array_close(array);
    status = dsm_array_heal(&by->call, entry, number, &done);
    if (status != DSM_OK && status != DSM_RETRY) return status;
  }
  return DSM_RETRY;
}

static void hurt_file(trial *self) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  uint32_t entry;
  uint64_t number;
  dsm_os_segment file;
  find(&self->owner, &entry, &number);
  dsm_array_segment_name(name, self->owner.call.space, number, self->copy);
  fixture_require(dsm_os_segment_open(name, &file) == DSM_OK, "the file is there");
  if (self->how == HURT_UNLINKED || self->how == HURT_GONE) {
    dsm_os_segment_unlink(name);
    if (self->how == HURT_UNLINKED) return; /* the owner keeps it open */
  } else if (self->how == HURT_CUT) {
    dsm_sim_truncate(name);
  } else if (self->how == HURT_HEADER) {
    memset(file.base, 0, DSM_PAGE_BYTES);
  } else {
    uint64_t header = DSM_PAGE_BYTES;
    memset(file.base, 0, header);
    for (uint64_t at = header; at < file.bytes; at += DSM_PAGE_BYTES)
      if (dsm_sim_backed(&file, at)) memset(file.base + at, 0, DSM_PAGE_BYTES);
  }
  dsm_os_segment_close(&file);
}

/* Whether something is left to heal from. */
static bool healable(const trial *self) {
  return self->replicas > 1 || self->copy > 0 || self->how == HURT_UNLINKED ||
         (self->how == HURT_HEADER && self->undo);
}

static void write_all(fixture *by, uint64_t value) {
  dsm_array array;
  uint64_t pages;
  dsm_status status = open_array(by, &array);
  fixture_require(status == DSM_OK, "the array can be opened");
  dsm_array_block block = dsm_array_block_make(&array, 0, WORDS * 8);
  status = dsm_array_write_begin(&by->call, &array, &block);
  fixture_require(status == DSM_OK, "the tiles are taken");
  uint64_t *words = (uint64_t *)(void *)dsm_array_data(&array, 0);
  for (unsigned i = 0; i < WORDS; i++) {
    words[i] = value;
    if (i % (WORDS / 2) == 5) DSM_CRASH_POINT("user.store");
  }
  status = dsm_array_write_publish(&by->call, &array, &block, &pages);
  fixture_require(status == DSM_OK, "the block is published");
  dsm_array_close(&array);
}

static uint64_t shown(fixture *by) {
  static uint64_t words[WORDS];
  dsm_array array;
  dsm_status status = open_array(by, &array);
  fixture_require(status == DSM_OK, "the array can be opened to be read");
  status = dsm_array_snapshot_try(&by->call, &array, 0, WORDS * 8, words);
  dsm_array_close(&array);
  if (status == DSM_TORN) return 0;
  fixture_require(status == DSM_OK, "a snapshot waits for nobody");
  for (unsigned i = 0; i < WORDS; i++) fixture_require(words[i] == words[0], "the block is whole");
  return words[0];
}

static void tell(void *context, const dsm_fault *problem) {
  (void)context;
  fprintf(stderr, "%s: %s\n", fixture_story, problem->what);
}

static void judge(trial *self, fixture *by, uint64_t expected, bool other, bool torn) {
  uint32_t entry;
  uint64_t number;
  dsm_array array;
  dsm_check_report report = {0};
  if (!healable(self)) {
    fixture_require(open_array(by, &array) == DSM_NO_REPLICAS, "a loss is told as such");
    find(by, &entry, &number);
    fixture_require(dsm_array_reserve(&by->call, entry, number, &number) == DSM_OK &&
                        dsm_array_publish(&by->call, entry, 0) == DSM_OK &&
                        dsm_array_settle(&by->call, entry) == DSM_OK,
                    "it can be given up");
    CHECK_EQUAL(dsm_sim_named_segments(), 1 + NODES);
    return;
  }
  uint64_t value = shown(by);
  fixture_require(value == expected || (other && value == AFTER) || (torn && value == 0),
                  "nothing is lost that was acknowledged");
  fixture_retire_dead(by);
  if (torn && shown(by) == 0) return; /* accept() is for its user */
  write_all(by, RESCUE);
  fixture_require(shown(by) == RESCUE, "the survivor's block is there");
  fixture_require(open_array(by, &array) == DSM_OK, "it is open");
  dsm_array_check(&by->call, &array, false, tell, NULL, &report);
  fixture_require(report.problems == 0, "check finds nothing");
  dsm_array_close(&array);
  uint32_t copies = self->replicas == 1 && self->undo ? 2 : self->replicas;
  CHECK_EQUAL(dsm_sim_named_segments(), 1 + NODES + copies);
}

static void heal(void *context) {
  trial *self = context;
  dsm_array array;
  if (open_array(&self->victim, &array) == DSM_OK) dsm_array_close(&array);
}

static void write_after(void *context) {
  trial *self = context;
  write_all(&self->victim, AFTER);
}

static void try_healers(trial *self, const dsm_sim_picture *picture) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->owner_pid);
    hurt_file(self);
    dsm_sim_process_run(self->victim_pid);
    left = crash_jump(at, heal, self);
    size_t told = strlen(fixture_story);
    snprintf(fixture_story + told, sizeof fixture_story - told, ", healer %u %s", at,
             crash_point_name());
    dsm_sim_process_kill(self->victim_pid);
    deaths += left;
    dsm_sim_process_run(self->survivor_pid);
    if (at % 2) fixture_retire_dead(&self->survivor);
    judge(self, &self->survivor, BEFORE, false, false);
    fixture_story[told] = 0;
  }
}

/* A block that was open in a primary that is lost has its old bytes in the backups, unless it was
 * being published just then; without a file to restore from its tiles are torn. */
static void try_writers(trial *self, const dsm_sim_picture *picture) {
  bool left = true;
  for (unsigned at = 1; left && healable(self); at++) {
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->victim_pid);
    left = crash_jump(at, write_after, self);
    bool half = strcmp(crash_point_name(), "array.marked") == 0 ||
                strcmp(crash_point_name(), "page_diff.page") == 0;
    size_t told = strlen(fixture_story);
    snprintf(fixture_story + told, sizeof fixture_story - told, ", writer %u %s", at,
             crash_point_name());
    dsm_sim_process_kill(self->victim_pid);
    dsm_sim_process_run(self->owner_pid);
    hurt_file(self);
    dsm_sim_process_run(self->survivor_pid);
    bool image_lost = self->copy == 1 && self->replicas < 3;
    judge(self, &self->survivor, left ? BEFORE : AFTER, true,
          !self->undo || image_lost || (half && self->copy == 0 && self->replicas == 2));
    writers_deaths += left;
    fixture_story[told] = 0;
  }
}

static bool scrub_all(fixture *by) {
  dsm_array array;
  bool any = false, mended;
  fixture_require(open_array(by, &array) == DSM_OK, "it is open");
  for (uint64_t tile = 0; tile < array.geometry.tile_count; tile++) {
    dsm_array_scrub_tile(&by->call, &array, tile, &mended);
    any |= mended;
  }
  dsm_array_close(&array);
  return any;
}

static void scrub(void *context) {
  trial *self = context;
  scrub_all(&self->victim);
}

/* A flipped bit of an element, after a scrub has seen the elements whole: the flipped copy is told
 * from the other, wherever a scrubber is killed. */
static void try_scrubs(trial *self, const dsm_sim_picture *picture) {
  bool left = true;
  for (unsigned at = 1; left && self->replicas > 1 && self->how == HURT_HEADER; at++) {
    dsm_array array;
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->owner_pid);
    fixture_require(!scrub_all(&self->owner), "nothing is damaged");
    fixture_require(open_array(&self->owner, &array) == DSM_OK, "it is open");
    dsm_array_data(&array, self->copy)[3 * DSM_PAGE_BYTES + 100] ^= 4;
    dsm_array_close(&array);
    dsm_sim_process_run(self->victim_pid);
    left = crash_jump(at, scrub, self);
    dsm_sim_process_kill(self->victim_pid);
    dsm_sim_process_run(self->survivor_pid);
    fixture_retire_dead(&self->survivor); /* what it held is left alone until then */
    scrub_all(&self->survivor);
    fixture_require(!scrub_all(&self->survivor), "all is mended");
    judge(self, &self->survivor, BEFORE, false, false);
    scrubbers += left;
  }
}

static fixture attach_new(uint32_t *pid) {
  *pid = dsm_sim_process_new();
  dsm_sim_process_run(*pid);
  return fixture_attach(CLUSTER);
}

static void try_trial(trial *self) {
  static const char *const hurts[] = {"unlinked", "gone", "cut", "zeroed", "header"};
  dsm_sim_start(self->replicas + 7);
  fixture_shape shape = {CLUSTER, NODES, 3, 2, 1ull << 20};
  snprintf(fixture_story, sizeof fixture_story, "%s copy %u of %u, undo %d", hurts[self->how],
           self->copy, self->replicas, self->undo);
  self->owner_pid = dsm_sim_process_pid();
  self->owner = fixture_create(&shape);
  fixture_require(make(self) == DSM_OK, "the array is made");
  self->victim = attach_new(&self->victim_pid);
  self->survivor = attach_new(&self->survivor_pid);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  try_healers(self, picture);
  try_writers(self, picture);
  try_scrubs(self, picture);
  dsm_sim_picture_free(picture);
  dsm_sim_stop();
}

int main(void) {
  for (uint32_t replicas = 1; replicas <= 3; replicas++)
    for (unsigned undo = 0; undo < 2; undo++)
      for (uint32_t copy = 0; copy < (replicas == 1 && undo ? 2 : replicas) && copy < 2; copy++)
        for (hurt how = 0; how < HURT_COUNT; how++) {
          trial self = {.replicas = replicas, .copy = copy, .undo = undo, .how = how};
          try_trial(&self);
        }
  CHECK(deaths > 500);
  CHECK(writers_deaths > 500);
  CHECK(scrubbers > 30);
  printf("%u healers, %u writers, %u scrubbers killed\n", deaths, writers_deaths, scrubbers);
  return check_result("sim_array_heal");
}
