/* What is done to an array in the crash tests, and what must hold afterwards. */
#include "array_story.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/store/array_check.h"
#include "../../csrc/store/array_directory.h"
#include "../../csrc/store/array_read.h"
#include "../../csrc/store/array_session.h"

#define NAME "grid"
#define PAGES 12u
#define TILE_PAGES 3u
#define LOW_PAGE 2u /* the block covers parts of several tiles */
#define HIGH_PAGE 10u
#define STALE 10u
#define BEFORE 11u
#define AFTER 22u
#define RESCUE 33u

static dsm_array_geometry_shm geometry_of(const array_story *self, uint64_t build) {
  return (dsm_array_geometry_shm){.build = build,
                                  .data_bytes = PAGES * DSM_PAGE_BYTES,
                                  .item_bytes = 8,
                                  .tile_bytes = TILE_PAGES * DSM_PAGE_BYTES,
                                  .replicas = self->replicas,
                                  .undo = self->undo,
                                  .dimensions = 1,
                                  .description_bytes = 5,
                                  .shape = {PAGES * DSM_PAGE_BYTES / 8}};
}

static void fill_pages(const dsm_array *array, unsigned from, unsigned to, uint64_t value) {
  uint64_t *words = (uint64_t *)(void *)dsm_array_data(array, 0);
  for (unsigned page = from; page < to; page++) {
    for (unsigned i = 0; i < DSM_PAGE_BYTES / 8; i++) words[page * DSM_PAGE_BYTES / 8 + i] = value;
    DSM_CRASH_POINT("user.store");
  }
}

/* With raw, the backups lag behind: the elements are stored beside the sessions. */
static dsm_status make(array_story *self, fixture *by) {
  uint32_t entry;
  uint64_t build;
  dsm_array array;
  DSM_TRY(dsm_array_reserve_new(&by->call, NAME, 4, &entry, &build));
  dsm_array_geometry_shm geometry = geometry_of(self, build);
  dsm_status status = dsm_array_create(&by->call, &geometry, "'<u8'", &array);
  if (status == DSM_OK) {
    fill_pages(&array, 0, PAGES, self->raw ? STALE : BEFORE);
    dsm_array_replicate(&array);
    if (self->raw) dsm_array_raw(&array);
    if (self->raw) fill_pages(&array, 0, PAGES, BEFORE);
    status = dsm_array_publish(&by->call, entry, build);
    dsm_array_close(&array);
  }
  dsm_array_settle(&by->call, entry);
  return status;
}

static bool open_array(fixture *by, dsm_array *array) {
  uint32_t entry;
  uint64_t build;
  dsm_status status = dsm_array_find(&by->call, NAME, 4, &entry, &build);
  if (status == DSM_NOT_FOUND) return false;
  if (status == DSM_OK) status = dsm_array_open(&by->call, entry, build, array);
  if (status != DSM_OK) fprintf(stderr, "open: %s\n", dsm_status_name(status));
  fixture_require(status == DSM_OK, "the array can be opened");
  return true;
}

static dsm_array_block block_of(const dsm_array *array, bool whole) {
  uint64_t low = whole ? 0 : LOW_PAGE * DSM_PAGE_BYTES;
  uint64_t high = whole ? PAGES * DSM_PAGE_BYTES : HIGH_PAGE * DSM_PAGE_BYTES;
  return dsm_array_block_make(array, low, high);
}

static void write_block(fixture *by, uint64_t value, bool restores) {
  dsm_array array;
  uint64_t pages;
  if (!open_array(by, &array)) return;
  dsm_array_block block = block_of(&array, false);
  block.accepts_torn = value == RESCUE;
  dsm_status status = dsm_array_write_begin(&by->call, &array, &block);
  if (status != DSM_OK) fprintf(stderr, "%s: begin: %s\n", fixture_story, dsm_status_name(status));
  fixture_require(status == DSM_OK, "the tiles are taken");
  fill_pages(&array, LOW_PAGE, HIGH_PAGE, value);
  if (restores)
    dsm_array_write_restore(&by->call, &array, &block);
  else
    dsm_array_write_publish(&by->call, &array, &block, &pages);
  dsm_array_close(&array);
}

static void replace(array_story *self, fixture *by) {
  dsm_array old, new;
  uint64_t build;
  if (!open_array(by, &old)) return;
  uint32_t entry = old.entry;
  fixture_require(dsm_array_reserve(&by->call, entry, old.number, &build) == DSM_OK,
                  "the entry is reserved");
  dsm_array_block block = block_of(&old, true);
  block.holds = true;
  fixture_require(dsm_array_write_begin(&by->call, &old, &block) == DSM_OK, "all tiles are held");
  uint64_t meant = 0;
  if (self->what == DEED_REPLACE) {
    dsm_array_geometry_shm geometry = geometry_of(self, build);
    fixture_require(dsm_array_create(&by->call, &geometry, "'<u8'", &new) == DSM_OK, "it is made");
    memcpy(dsm_array_data(&new, 0), dsm_array_data(&old, 0), PAGES * DSM_PAGE_BYTES);
    fill_pages(&new, LOW_PAGE, HIGH_PAGE, AFTER);
    dsm_array_replicate(&new);
    dsm_array_close(&new);
    meant = build;
  }
  dsm_array_publish(&by->call, entry, meant);
  dsm_array_settle(&by->call, entry);
  dsm_array_cancel(&by->call, &old, &block);
  dsm_array_close(&old);
}

/* What a snapshot shows of the block: one value, or 0 if there is no array. */
static uint64_t shown(array_story *self, fixture *by) {
  static uint64_t words[PAGES * DSM_PAGE_BYTES / 8];
  dsm_array array;
  if (!open_array(by, &array)) return 0;
  dsm_status status = dsm_array_snapshot_try(&by->call, &array, 0, PAGES * DSM_PAGE_BYTES, words);
  dsm_array_close(&array);
  if (!self->undo && (status == DSM_TORN || status == DSM_LOCK_TIMEOUT)) return UINT64_MAX;
  if (status != DSM_OK) fprintf(stderr, "%s: %s\n", fixture_story, dsm_status_name(status));
  fixture_require(status == DSM_OK, "a snapshot waits for nobody");
  uint64_t value = words[LOW_PAGE * DSM_PAGE_BYTES / 8];
  for (unsigned i = 0; i < PAGES * DSM_PAGE_BYTES / 8; i++) {
    unsigned page = i / (DSM_PAGE_BYTES / 8);
    bool inside = page >= LOW_PAGE && page < HIGH_PAGE;
    fixture_require(words[i] == (inside ? value : BEFORE), "the block is whole");
  }
  return value;
}

static bool allowed(const array_story *self, uint64_t value) {
  if (self->what == DEED_CREATE) return value == 0 || value == BEFORE;
  if (self->what == DEED_DELETE) return value == 0 || value == BEFORE;
  if (value == UINT64_MAX) return !self->undo;
  return value == BEFORE || (value == AFTER && self->what != DEED_RESTORE);
}

static void tell(void *context, const dsm_fault *problem) {
  fprintf(stderr, "%s: %s (%" PRIu64 ", %" PRIu64 ")\n", fixture_story, problem->what,
          problem->left, problem->right);
  ++*(unsigned *)context;
}

uint32_t array_story_judge(array_story *self, fixture *by, bool rescued) {
  dsm_array array;
  unsigned problems = 0;
  uint64_t value = shown(self, by);
  fixture_require(allowed(self, value) || (rescued && value == RESCUE),
                  "the block is as before or as after");
  fixture_retire_dead(by);
  uint64_t again = shown(self, by);
  fixture_require(again == value || (value == UINT64_MAX && !self->undo) ||
                      (again == UINT64_MAX && !self->undo),
                  "what was shown is not unshown");
  if (self->what == DEED_CREATE && value == 0)
    fixture_require(make(self, by) == DSM_OK, "the name can be used again");
  write_block(by, RESCUE, false);
  bool there = open_array(by, &array);
  fixture_require(!there || shown(self, by) == RESCUE, "the survivor's block is there");
  if (there) {
    dsm_check_report report = {0};
    dsm_array_check(&by->call, &array, false, tell, &problems, &report);
    fixture_require(problems == 0 && report.problems == 0, "check finds nothing");
    dsm_array_usage usage;
    dsm_array_usage_read(&array, &usage);
    fixture_require(usage.writers + usage.readers + usage.torn == 0, "no session is left");
    dsm_array_close(&array);
  }
  uint32_t copies = self->replicas == 1 && self->undo ? 2 : self->replicas;
  return there ? copies : 0;
}

void array_story_begin(array_story *self, fixture *by) {
  if (self->what == DEED_CREATE) return;
  fixture_require(make(self, by) == DSM_OK, "the array is made");
}

void array_story_act(array_story *self, fixture *by) {
  if (self->what == DEED_CREATE)
    make(self, by);
  else if (self->what == DEED_WRITE || self->what == DEED_RESTORE)
    write_block(by, AFTER, self->what == DEED_RESTORE);
  else
    replace(self, by);
}

void array_story_recover(array_story *self, fixture *by) {
  if (self->what == DEED_CREATE) make(self, by);
  write_block(by, RESCUE, false);
  fixture_retire_dead(by);
}

void array_story_end(fixture *by) {
  dsm_array array;
  if (!open_array(by, &array)) return;
  uint32_t entry = array.entry;
  uint64_t build;
  fixture_require(dsm_array_reserve(&by->call, entry, array.number, &build) == DSM_OK,
                  "the entry is reserved");
  dsm_array_publish(&by->call, entry, 0);
  dsm_array_settle(&by->call, entry);
  dsm_array_close(&array);
}

bool array_story_take(unsigned number, array_story *out) {
  unsigned at = 0;
  for (uint32_t replicas = 1; replicas <= 3; replicas++)
    for (deed what = DEED_CREATE; what < DEED_COUNT; what++)
      for (unsigned kind = 0; kind < 3; kind++) {
        bool undo = kind < 2, raw = kind == 1;
        if ((raw && what != DEED_WRITE && what != DEED_RESTORE) || (!undo && what != DEED_WRITE))
          continue;
        *out = (array_story){what, replicas, undo, raw};
        if (at++ == number) return true;
      }
  return false;
}

const char *array_story_name(const array_story *self) {
  static const char *const deeds[] = {"create", "write", "restore", "replace", "delete"};
  static char name[64];
  snprintf(name, sizeof name, "%s, replication %u, undo %d, raw %d", deeds[self->what],
           self->replicas, self->undo, self->raw);
  return name;
}
