/* Stories for the crash tests: what there is before, one change, what there is after.
 *
 * The change of a story acts on key 0 (the target); keys 1 … `others` stand beside it in the same
 * stripe and must not be touched by any ending. Whatever instant a process dies at, key 0 is as
 * before or as after, at every replica.
 */
#ifndef DSM_TESTS_STORY_H
#define DSM_TESTS_STORY_H

#include "fixture.h"

typedef struct story {
  const char *name;
  item before, after;     /* of key 0 */
  uint64_t others;        /* keys that exist beside it … */
  uint64_t other_bytes;   /* … each of that many bytes */
  uint64_t node_bytes;    /* 0: the usual 4 MiB */
  unsigned stride;        /* of crash points, unless all rounds are asked for */
  void (*act)(fixture *); /* NULL: bring key 0 from before to after */
  bool pins;              /* the change ends holding or dropping pins */
} story;

extern const story stories[];
extern const unsigned story_count;

/* The cluster of a story, "ctest-<suffix>": one stripe, three nodes, everything that is before. */
fixture story_begin(const story *self, uint32_t replicas, const char *cluster);
/* Puts the keys back to what is before. */
void story_rewind(const story *self, fixture *by);
/* The change itself. */
void story_act(const story *self, fixture *by);
/* The same, for a change that may be refused; only for stories that are one operation. */
dsm_status story_try(const story *self, fixture *by);
/* Ends the test unless key 0 is before, after or (if not absent) `also`, whole and equal at all
 * replicas, the others are untouched, and the stripe can be written. */
void story_judge(const story *self, fixture *by, const item *also);
/* Everything is deleted: no page may be in use or in limbo, and check is clean. */
void story_judge_empty(const story *self, fixture *by);

#endif
