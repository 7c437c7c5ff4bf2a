/* A survivor: attaches to a cluster in which somebody died, recovers, verifies everything.
 *
 *   1 a read before any repair finds the old value or the new one
 *   2 the stripe is taken, so repaired; the same read never goes back from new to old
 *   3 every other key is as it was; every replica holds what the primary holds
 *   4 check is clean, the region has the right length
 *   5 further puts, adds and deletes work; with every key gone, no page is left in use but spares
 */
#ifndef DSM_TESTS_KILL_SURVIVOR_H
#define DSM_TESTS_KILL_SURVIVOR_H

#include "world.h"

typedef enum survivor_outcome { SAW_OLD, SAW_NEW } survivor_outcome;

/* NULL, or what is wrong (static text; details are printed). `dead`: a participant that really
 * died and must be retired, or DSM_NOBODY. */
const char *survivor_verify(const char *cluster, const world *before, const change *change,
                            uint32_t dead, survivor_outcome *outcome);

#endif
