/* Every instruction: the run of one scenario at one replication factor.
 *
 * Three clusters of the same shape: the first is the one that the victim changes; the second holds
 * copies of the states that the victim's death could leave; the third holds what the death of the
 * one who recovers from such a state could leave in turn.
 */
#ifndef DSM_TESTS_KILL_STEP_H
#define DSM_TESTS_KILL_STEP_H

#include "survivor.h"
#include "trace.h"

typedef enum step_thoroughness { STEP_QUICK, STEP_FULL, STEP_LONG } step_thoroughness;

typedef struct step_counts {
  uint64_t instructions, states, saw_old, saw_new, wrong;
} step_counts;

/* A state kept for later: what recovery will meet, and where the victim was. */
typedef struct kept_state {
  picture bytes; /* empty if another kept state has the same digest */
  uint64_t step, digest;
  trace_place place;
  uint32_t thread;
  survivor_outcome outcome;
} kept_state;

typedef struct stage {
  outside victim, copy, second; /* the three clusters */
  dsm_cluster *owner;           /* of the first one */
  picture before;               /* its bytes before the change */
  world world;
  change change;
  const scenario *scenario;
  kept_state *kept;
  uint64_t kept_count, kept_room;
} stage;

void stage_open(stage *self, const scenario *scenario, uint32_t replicas);
void stage_close(stage *self);
/* What a signal handler may do: remove the names. */
void stage_unlink_all(void);

/* Steps through the change; verifies every distinct state on a copy. Keeps the states from which
 * recovery is to be stepped. */
step_counts step_change(stage *self, step_thoroughness thoroughness);
/* Steps through recovery from the kept states; verifies each of its distinct states. */
step_counts step_recovery(stage *self);
/* One real SIGKILL per distinct state. */
step_counts step_kill(stage *self);
/* SIGKILLs at random instants of a process that never rests. */
step_counts step_random_kills(uint32_t replicas, unsigned kills, uint64_t seed);

/* Prints a failure with all that is needed to see it again. */
void step_report(const stage *self, const char *phase, uint64_t step, const char *wrong);

#endif
