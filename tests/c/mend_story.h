/* Damage to one node's segment, and whoever makes it good, for the crash tests.
 *
 * Node 0 is damaged or loses its name; a process mends it in place, verifies it as the node's next
 * process does, or replaces the segment. Wherever it dies, the next one has every value that a
 * replica has, and comes to the same end: nothing lost, nothing left, as many nodes as before.
 */
#ifndef DSM_TESTS_MEND_STORY_H
#define DSM_TESTS_MEND_STORY_H

#include "fixture.h"

#define MEND_STRIPES 4u /* so that each node is the primary of one */

typedef enum mend_way {
  MEND_IN_PLACE,
  MEND_ADOPT,   /* what a node's next process verifies */
  MEND_REPLACE, /* a new segment, as the keeper makes one */
} mend_way;

typedef struct mend_story {
  const char *name;
  void (*damage)(fixture *by);
  mend_way way;
  uint32_t nodes;
  uint32_t replicas; /* fewest with which nothing is lost */
} mend_story;

extern const mend_story mend_stories[];
extern const unsigned mend_story_count;

/* Creates the cluster, with its keys in it. */
fixture mend_story_begin(const mend_story *self, const char *cluster, uint32_t replicas);
/* One round of whoever makes it good. */
void mend_story_mend(const mend_story *self, fixture *by);
/* Ends the test unless a survivor, who knows nothing, reads everything at once, and makes
 * everything good. */
void mend_story_judge(const mend_story *self, fixture *by);

#endif
