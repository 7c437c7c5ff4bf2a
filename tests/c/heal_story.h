/* An array that loses files, for the crash tests: every element holds one number, so that a torn
 * block is seen.
 */
#ifndef DSM_TESTS_HEAL_STORY_H
#define DSM_TESTS_HEAL_STORY_H

#include "../../csrc/store/array.h"
#include "fixture.h"

#define HEAL_PAGES 8u
#define HEAL_WORDS (HEAL_PAGES * DSM_PAGE_BYTES / 8)
#define HEAL_BEFORE 11u

/* Makes it, every element HEAL_BEFORE. */
dsm_status heal_story_make(fixture *by, uint32_t replicas, bool undo);
/* Its place in the directory, and its number. */
dsm_status heal_story_find(fixture *by, uint32_t *entry, uint64_t *number);
/* Opens it as its users do: what has lost files is healed first. */
dsm_status heal_story_open(fixture *by, dsm_array *array);
/* Writes one number everywhere. */
void heal_story_write(fixture *by, uint64_t value);
/* The number that a snapshot shows everywhere; 0: torn. */
uint64_t heal_story_shown(fixture *by);
/* Scrubs every tile; whether any was mended. */
bool heal_story_scrub(fixture *by);
/* Ends the test unless check finds nothing. */
void heal_story_require_sound(fixture *by);

#endif
