/* A process killed at every planned crash point, in the simulated system: what such tests share.
 *
 * crash_each tries one death after another, each in the same world. crash_story_tell is what most
 * of them do with it: a victim attaches, acts and dies at its n-th point; a survivor that knows
 * nothing recovers, and dies at points of its own; whoever is left then judges. Each test keeps its
 * story (act and recover) and its judge. Every other survivor retires the dead before anything
 * else, as the service thread would; the rest meet by themselves what the dead one held.
 *
 * Private memory is not in the picture of a world: what a death jumps out of must leave handles as
 * they were, so these stories change no node table.
 */
#ifndef DSM_TESTS_CRASH_STORY_H
#define DSM_TESTS_CRASH_STORY_H

#include "fixture.h"

/* Calls once(context, at) with at = from, from + stride … while it returns true, each time in the
 * world as it is now, to which it goes back in the end. How often it was true. */
unsigned crash_each(unsigned from, unsigned stride, bool (*once)(void *context, unsigned at),
                    void *context);

typedef struct crash_story crash_story;
struct crash_story {
  const char *cluster; /* whom the victim and the survivors attach to */
  const char *name;    /* for messages */
  uint32_t replicas;
  void *context;
  unsigned stride;        /* of the victim's points */
  unsigned second_stride; /* of the survivor's points */
  unsigned second_every;  /* of the victim's deaths, one of so many has second ones; 0: none */
  void (*act)(crash_story *self, fixture *victim);
  void (*recover)(crash_story *self, fixture *survivor);
  /* Ends the test unless all is as it must be; `rescued`: somebody has recovered before. */
  void (*judge)(crash_story *self, fixture *survivor, bool rescued);

  /* The skeleton's own: who takes part, which point the victim of now died at, and as whom. */
  fixture owner, victim, first, second;
  uint32_t owner_pid, first_pid, second_pid;
  unsigned at, victim_slot;
};

/* Deaths of victims and of survivors, over all stories. */
extern unsigned crash_deaths, crash_second_deaths;

/* Attaches as a new simulated process, which runs then. */
fixture crash_attach(const char *cluster, uint32_t *pid);
/* All deaths of a story, in the world that begins with the process that runs, its owner. In the end
 * the cluster is closed, and nothing of it may be left. */
void crash_story_tell(crash_story *self, fixture owner);

#endif
