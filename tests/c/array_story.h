/* Stories about one array for the crash tests: making, writing, restoring, replacing, removing it.
 *
 * Every page of the array holds one number, so that a torn block is seen: all pages of the block
 * must be as before or as after, the others untouched, backups equal to the primary, and nothing
 * may be left of what a dead process was making.
 */
#ifndef DSM_TESTS_ARRAY_STORY_H
#define DSM_TESTS_ARRAY_STORY_H

#include "fixture.h"

typedef enum deed {
  DEED_CREATE,
  DEED_WRITE,
  DEED_RESTORE,
  DEED_REPLACE,
  DEED_DELETE,
  DEED_COUNT
} deed;

typedef struct array_story {
  deed what;
  uint32_t replicas;
  bool undo, raw;
} array_story;

/* The stories by number, from 0; false beyond the last. */
bool array_story_take(unsigned number, array_story *out);

/* What is there before. */
void array_story_begin(array_story *self, fixture *by);
/* The deed. */
void array_story_act(array_story *self, fixture *by);
/* What a survivor does that knows nothing. */
void array_story_recover(array_story *self, fixture *by);
/* Ends the test unless all is as before or as after (or as a survivor left it, if `rescued`), and a
 * survivor can go on. The number of segments that the array has. */
uint32_t array_story_judge(array_story *self, fixture *by, bool rescued);
/* Removes the array. */
void array_story_end(fixture *by);
/* For messages. */
const char *array_story_name(const array_story *self);

#endif
