/* Planned damage, run before the seeded mutations; each on a freshly laid calm image. */
#ifndef DSM_TESTS_KILL_DAMAGE_CASES_H
#define DSM_TESTS_KILL_DAMAGE_CASES_H

#include "damage.h"

typedef struct damage_case {
  const char *name;
  const char *(*run)(damage_world *world, dsm_call *call); /* NULL, or what is wrong */
} damage_case;

extern const damage_case damage_cases[];
extern const unsigned damage_case_count;

#endif
