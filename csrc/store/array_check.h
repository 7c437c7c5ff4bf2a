/* Checking one array while it is used: headers, sessions, tiles' words, backups against the
 * primary.
 *
 * Backups are compared tile by tile, each while nobody writes it; a tile that somebody holds is
 * passed over, and none is compared once somebody may write beside the sessions (np.asarray), since
 * backups then lag by design. Elements carry no checksum: with three copies or more two that agree
 * outvote the primary, and a primary whose header is damaged gives way to its first backup;
 * otherwise the primary, which everybody reads, is taken for right.
 */
#ifndef DSM_STORE_ARRAY_CHECK_H
#define DSM_STORE_ARRAY_CHECK_H

#include "array.h"
#include "check.h"

/* Adds to report->problems and report->repaired. DSM_OK if the check ran, whatever it found. */
dsm_status dsm_array_check(dsm_call *call, const dsm_array *array, bool repair,
                           dsm_check_tell *tell, void *context, dsm_check_report *report);

#endif
