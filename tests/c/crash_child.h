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
/* The same, by the mappings that it has from its parent: a segment may have lost its name. */
pid_t crash_child_fork(unsigned at, const fixture *parent,
                       void (*act)(void *context, fixture *self), void *context);
/* Waits until it is about to die, or has ended; the time just before its death, or 0. */
uint64_t crash_child_dies(pid_t child);
/* Waits for its end: true if it was killed, false if it was done; any other end fails the test. */
bool crash_child_killed(pid_t child);
/* Adds to fixture_story where the latest one was killed; `second`: its number, if it went on. */
void crash_child_tell(unsigned second);
/* No segment of the cluster, an array's neither, has its name any more. */
void crash_child_require_nothing_left(const char *cluster);
/* How many were killed at points whose names begin so. */
unsigned crash_child_deaths(const char *prefix);

#endif
