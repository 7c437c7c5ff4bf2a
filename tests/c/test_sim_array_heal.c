/* Arrays that lose files, in the simulated system: what is lost is healed, the healer is killed at
 * each of its planned crash points, and a survivor that knows nothing goes on. And a writer is
 * killed at each point of its block before a file is lost: its block is there whole or not at all.
 * And a bit of an element is flipped, and the scrubber that finds it is killed.
 */
#include <stdio.h>
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/array_directory.h"
#include "check_main.h"
#include "crash_hook.h"
#include "heal_story.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-heal"
#define NODES 3u
#define AFTER 22u
#define RESCUE 33u

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

static void hurt_file(trial *self) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  uint32_t entry;
  uint64_t number;
  dsm_os_segment file;
  heal_story_find(&self->owner, &entry, &number);
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

static void judge(trial *self, fixture *by, uint64_t expected, bool other, bool torn) {
  uint32_t entry;
  uint64_t number;
  dsm_array array;
  if (!healable(self)) {
    fixture_require(heal_story_open(by, &array) == DSM_NO_REPLICAS, "a loss is told as such");
    heal_story_find(by, &entry, &number);
    fixture_require(dsm_array_reserve(&by->call, entry, number, &number) == DSM_OK &&
                        dsm_array_publish(&by->call, entry, 0) == DSM_OK &&
                        dsm_array_settle(&by->call, entry) == DSM_OK,
                    "it can be given up");
    CHECK_EQUAL(dsm_sim_named_segments(), 1 + NODES);
    return;
  }
  uint64_t value = heal_story_shown(by);
  fixture_require(value == expected || (other && value == AFTER) || (torn && value == 0),
                  "nothing is lost that was acknowledged");
  fixture_retire_dead(by);
  if (torn && heal_story_shown(by) == 0) return; /* accept() is for its user */
  heal_story_write(by, RESCUE);
  fixture_require(heal_story_shown(by) == RESCUE, "the survivor's block is there");
  heal_story_require_sound(by);
  uint32_t copies = self->replicas == 1 && self->undo ? 2 : self->replicas;
  CHECK_EQUAL(dsm_sim_named_segments(), 1 + NODES + copies);
}

static void heal(void *context) {
  trial *self = context;
  dsm_array array;
  if (heal_story_open(&self->victim, &array) == DSM_OK) dsm_array_close(&array);
}

static void write_after(void *context) {
  trial *self = context;
  heal_story_write(&self->victim, AFTER);
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
    judge(self, &self->survivor, HEAL_BEFORE, false, false);
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
    judge(self, &self->survivor, left ? HEAL_BEFORE : AFTER, true,
          !self->undo || image_lost || (half && self->copy == 0 && self->replicas == 2));
    writers_deaths += left;
    fixture_story[told] = 0;
  }
}

static void scrub(void *context) {
  trial *self = context;
  heal_story_scrub(&self->victim);
}

/* A flipped bit of an element, after a scrub has seen the elements whole: the flipped copy is told
 * from the other, wherever a scrubber is killed. */
static void try_scrubs(trial *self, const dsm_sim_picture *picture) {
  bool left = true;
  for (unsigned at = 1; left && self->replicas > 1 && self->how == HURT_HEADER; at++) {
    dsm_array array;
    dsm_sim_picture_restore(picture);
    dsm_sim_process_run(self->owner_pid);
    fixture_require(!heal_story_scrub(&self->owner), "nothing is damaged");
    fixture_require(heal_story_open(&self->owner, &array) == DSM_OK, "it is open");
    dsm_array_data(&array, self->copy)[3 * DSM_PAGE_BYTES + 100] ^= 4;
    dsm_array_close(&array);
    dsm_sim_process_run(self->victim_pid);
    left = crash_jump(at, scrub, self);
    dsm_sim_process_kill(self->victim_pid);
    dsm_sim_process_run(self->survivor_pid);
    fixture_retire_dead(&self->survivor); /* what it held is left alone until then */
    heal_story_scrub(&self->survivor);
    fixture_require(!heal_story_scrub(&self->survivor), "all is mended");
    judge(self, &self->survivor, HEAL_BEFORE, false, false);
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
  fixture_require(heal_story_make(&self->owner, self->replicas, self->undo) == DSM_OK,
                  "the array is made");
  self->victim = attach_new(&self->victim_pid);
  self->survivor = attach_new(&self->survivor_pid);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  try_healers(self, picture);
  try_writers(self, picture);
  try_scrubs(self, picture);
  dsm_sim_picture_free(picture);
  dsm_sim_stop();
}

/* A zeroed entry is damage, not the absence of its array. */
static void try_directory(void) {
  dsm_sim_start(3);
  fixture_shape shape = {CLUSTER, NODES, 3, 2, 1ull << 20};
  fixture owner = fixture_create(&shape);
  uint32_t entry;
  uint64_t number;
  CHECK_EQUAL(heal_story_make(&owner, 2, true), DSM_OK);
  CHECK_EQUAL(dsm_array_find(&owner.call, "other", 5, &entry, &number), DSM_NOT_FOUND);
  dsm_array_directory_shm *directory = dsm_space_arrays(owner.call.space);
  dsm_array_entry_shm kept = directory->entries[0];
  memset(&directory->entries[0], 0, sizeof kept);
  CHECK_EQUAL(dsm_array_find(&owner.call, "grid", 4, &entry, &number), DSM_CORRUPT);
  CHECK_EQUAL(dsm_array_find(&owner.call, "other", 5, &entry, &number), DSM_CORRUPT);
  directory->entries[0] = kept;
  CHECK_EQUAL(dsm_array_find(&owner.call, "grid", 4, &entry, &number), DSM_OK);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

int main(void) {
  try_directory();
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
