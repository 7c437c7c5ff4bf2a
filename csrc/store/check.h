/* Checking everything that must hold in a cluster's segments, while it is used.
 *
 * Stripe by stripe under its lock: sub, table, slots, objects with their checksums (unsettled ones
 * are settled), slabs and their bits, replicas against the primary, region counters. Then each
 * arena: runs tile the segment, counters agree, and every run in use is claimed by a stripe.
 *
 * With repair, what another replica or the objects themselves still tell is mended: a damaged
 * object or slot is taken from a replica that validates, counters are recomputed, unclaimed runs go
 * back to the arena. What no replica can tell is reported, and stays. A damaged arena that it does
 * not mend is for the keeper (node/rebuild.h), who is asked.
 */
#ifndef DSM_STORE_CHECK_H
#define DSM_STORE_CHECK_H

#include "table.h"

typedef struct dsm_check_report {
  uint64_t stripes, objects, value_bytes; /* seen at primaries */
  uint64_t problems;                      /* found, mended ones included */
  uint64_t repaired;
  uint64_t
      broken; /* arenas left damaged: the keeper is asked, who replaces what is beyond mending */
} dsm_check_report;

/* Called once per problem, and with `mended` set per repair, without any lock held being released;
 * must not call back into the store. */
typedef void dsm_check_tell(void *context, const dsm_fault *problem);

/* DSM_OK if the check ran, whatever it found; DSM_LOCK_TIMEOUT if a stripe could not be taken. */
dsm_status dsm_check(dsm_call *call, bool repair, dsm_check_tell *tell, void *context,
                     dsm_check_report *report);

#endif
