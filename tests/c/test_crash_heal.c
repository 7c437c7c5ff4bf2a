/* Arrays that lose files while SIGKILL ends, for real, who heals them, who scrubs them, and who
 * writes them: the parent goes on, every acknowledged block is there, and no file is left.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_main.h"
#include "crash_child.h"
#include "heal_story.h"
#include "leaks_ignored.h"

#define REPLICAS 2u
#define AFTER 22u
#define RESCUE 33u

typedef enum hurt { HURT_UNLINKED, HURT_HEADER, HURT_ELEMENT, HURT_COUNT } hurt;

typedef struct trial {
  hurt how;
  uint32_t copy;
  bool undo;
} trial;

static char cluster_name[32];
static unsigned deaths, second_deaths;

static void hurt_file(const trial *self, fixture *by) {
  char name[DSM_ARRAY_SEGMENT_NAME_BYTES];
  uint32_t entry;
  uint64_t number;
  dsm_os_segment file;
  heal_story_find(by, &entry, &number);
  dsm_array_segment_name(name, by->call.space, number, self->copy);
  fixture_require(dsm_os_segment_open(name, &file) == DSM_OK, "the file is there");
  if (self->how == HURT_UNLINKED) dsm_os_segment_unlink(name);
  if (self->how == HURT_HEADER) memset(file.base, 0, DSM_PAGE_BYTES);
  dsm_os_segment_close(&file);
  if (self->how != HURT_ELEMENT) return;
  dsm_array array;
  fixture_require(heal_story_open(by, &array) == DSM_OK, "it is open");
  dsm_array_data(&array, self->copy)[3 * DSM_PAGE_BYTES + 100] ^= 4;
  dsm_array_close(&array);
}

/* The elements have been seen whole before, so that the flipped copy is told from the other. */
static void heal(void *context, fixture *self) {
  const trial *trial = context;
  dsm_array array;
  if (trial->how == HURT_ELEMENT) heal_story_scrub(self);
  if (heal_story_open(self, &array) == DSM_OK) dsm_array_close(&array);
}

static void write_after(void *context, fixture *self) {
  heal(context, self);
  heal_story_write(self, AFTER);
}

static bool try_death(trial *self, unsigned at) {
  static const char *const hurts[] = {"unlinked", "header", "element"};
  snprintf(fixture_story, sizeof fixture_story, "%s copy %u, undo %d, kill at point %u",
           hurts[self->how], self->copy, self->undo, at);
  fixture_shape shape = {cluster_name, 3, REPLICAS, 2, 1ull << 20};
  fixture owner = fixture_create(&shape);
  fixture_require(heal_story_make(&owner, REPLICAS, self->undo) == DSM_OK, "the array is made");
  fixture_require(!heal_story_scrub(&owner), "nothing is damaged");
  hurt_file(self, &owner);
  bool killed = crash_child_killed(crash_child_start(at, cluster_name, heal, self));
  crash_child_tell(0);
  deaths += killed;
  bool wrote = at % 2;
  if (wrote) {
    unsigned second = 1 + at * 7919u % 60;
    second_deaths += crash_child_killed(crash_child_start(second, cluster_name, write_after, self));
    crash_child_tell(second);
  }
  fixture_retire_dead(&owner);
  heal(self, &owner);
  uint64_t value = heal_story_shown(&owner);
  bool torn = wrote && !self->undo && value == 0; /* accept() is for its user */
  fixture_require(value == HEAL_BEFORE || (wrote && value == AFTER) || torn,
                  "nothing is lost that was acknowledged");
  if (!torn) {
    heal_story_write(&owner, RESCUE);
    fixture_require(heal_story_shown(&owner) == RESCUE, "the survivor's block is there");
    heal_story_require_sound(&owner);
  }
  dsm_cluster_unlink_own(owner.cluster);
  fixture_close(&owner, true);
  crash_child_require_nothing_left(cluster_name);
  return killed;
}

int main(void) {
  snprintf(cluster_name, sizeof cluster_name, "ctest.heal.%d", (int)getpid());
  for (hurt how = 0; how < HURT_COUNT; how++)
    for (uint32_t copy = 0; copy < REPLICAS; copy++)
      for (unsigned undo = 0; undo < 2; undo++) {
        trial self = {how, copy, undo};
        for (unsigned at = 1; try_death(&self, at);
             at += rounds_all() || how == HURT_ELEMENT ? 1 : 3) {
        }
      }
  CHECK(crash_child_deaths("heal.") > 0);
  CHECK(crash_child_deaths("scrub.") > 0);
  CHECK(deaths > 50);
  CHECK(second_deaths > 20);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("crash_heal");
}
