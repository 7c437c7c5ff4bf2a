/* Running an action up to its n-th planned crash point.
 *
 * crash_jump leaves the action by a jump, for the simulated kernel: the caller then declares the
 * process dead. crash_kill_at makes this real process end itself by SIGKILL.
 */
#ifndef DSM_TESTS_CRASH_HOOK_H
#define DSM_TESTS_CRASH_HOOK_H

#include "../../csrc/base/atomic.h"

/* Runs the action; true if it was left at its point number `at` (from 1; 0: never). */
bool crash_jump(unsigned at, void (*action)(void *), void *context);
/* A death: the point's name, then the time just before. */
typedef struct crash_death {
  dsm_atomic_u64 at_ns;
  char point[56];
} crash_death;
/* From now on: SIGKILL at point number `at`, which is noted. */
void crash_kill_at(unsigned at, crash_death *death);
/* Points met by the latest crash_jump, and the name of the last of them. */
unsigned crash_points(void);
const char *crash_point_name(void);

#endif
