/* Checking one array while it is used: files, sessions, tiles' words, backups against the primary.
 *
 * Backups are compared tile by tile, each while nobody writes it; a tile that somebody holds is
 * passed over, and none is compared once somebody may write beside the sessions (np.asarray), since
 * backups then lag by design. Which copy is right is judged as by a scrub (store/array_scrub.h). A
 * copy that is lost is told and not repaired here: that is store/array_heal.h's.
 */
#ifndef DSM_STORE_ARRAY_CHECK_H
#define DSM_STORE_ARRAY_CHECK_H

#include "array.h"
#include "check.h"

/* The array may be one of dsm_array_look. Adds to report->problems and report->repaired. DSM_OK if
 * the check ran, whatever it found. */
dsm_status dsm_array_check(dsm_call *call, const dsm_array *array, bool repair,
                           dsm_check_tell *tell, void *context, dsm_check_report *report);

#endif
