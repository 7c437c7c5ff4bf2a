/* Stories of synchronisation objects: what a victim does, and what must hold after its death.
 *
 * In each story a victim acts and dies at some planned point; then somebody buries it, and who is
 * left judges: nothing is held by the dead, and what the victim did happened or did not.
 */
#ifndef DSM_TESTS_SYNC_STORY_H
#define DSM_TESTS_SYNC_STORY_H

#include "../../csrc/mem/sync.h"
#include "fixture.h"

#define STORY_ITEMS 3u

typedef struct sync_world {
  fixture owner, victim, first, second;
  uint32_t owner_pid, victim_pid, first_pid, second_pid;
  dsm_sync sync;   /* as every process sees it: mappings have one address here */
  uint32_t number; /* an entry or a generation that the story remembers */
} sync_world;

typedef struct sync_story {
  const char *name;
  dsm_sync_kind kind;
  uint64_t settings[2];
  void (*prepare)(sync_world *); /* by whomever; may be NULL */
  void (*act)(sync_world *);     /* the victim */
  /* By a survivor, once the victim is buried. `last` is the name of the point it died at, or NULL
   * if it lived to the end of its act and died then. */
  void (*judge)(sync_world *, fixture *by, const char *last);
} sync_story;

/* How a story lets another process act: by the simulated kernel, or not at all. */
extern void (*sync_story_run_as)(uint32_t pid);
extern const sync_story sync_stories[];
extern const unsigned sync_story_count;

/* Opens the story's object by that process. */
dsm_sync sync_story_open(const sync_story *self, fixture *by);

#endif
