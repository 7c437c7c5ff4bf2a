/* A real process that acts and ends itself by SIGKILL at its n-th planned crash point.
 *
 * One child at a time has the word that says when it dies, so that its parent can go on at that
 * very instant, not even waiting for its end.
 */
#ifndef DSM_TESTS_CRASH_CHILD_H
#define DSM_TESTS_CRASH_CHILD_H

#include <sys/types.h>

#include "fixture.h"

/* Forks; the child attaches to the cluster, if one is named, acts and is done with status 0, unless
 * it dies within the act (at = 0: at no point). */
pid_t crash_child_start(unsigned at, const char *cluster, void (*act)(void *context, fixture *self),
                        void *context);
/* Waits until it is about to die, or has ended; the time just before its death, or 0. */
uint64_t crash_child_dies(pid_t child);
/* Waits for its end: true if it was killed, false if it was done; any other end fails the test. */
bool crash_child_killed(pid_t child);

#endif
