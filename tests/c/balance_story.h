/* A node is added, another one removed, keys are written between the steps: for the crash tests.
 *
 * Wherever who rebalances dies, whoever goes on, knowing nothing, comes to the same end: all keys
 * as they were written, even shares, nothing left behind, no segment too many.
 */
#ifndef DSM_TESTS_BALANCE_STORY_H
#define DSM_TESTS_BALANCE_STORY_H

#include "fixture.h"

#define BALANCE_STRIPES 16u

/* Creates the cluster of three nodes, with its keys in it. */
fixture balance_story_begin(const char *cluster, uint32_t replicas);
void balance_story_act(fixture *by);
/* Goes on until everything is in its place. */
void balance_story_settle(fixture *by, bool writes);
/* The same, with the dead retired first; then ends the test unless all is as it must be. */
void balance_story_judge(fixture *by);

#endif
