/* Records of regions, and their copies in the nodes' segments.
 *
 * A record is written once, with its copies, before the count of regions says that it is in use.
 * One that does not verify is written anew from a copy that does, with the same bytes by whoever
 * meets it; a count that does not verify is made anew from the records.
 */
#ifndef DSM_STORE_REGION_RECORD_H
#define DSM_STORE_REGION_RECORD_H

#include "../mem/space.h"

/* The record, verified; NULL if neither it nor a copy verifies. */
const dsm_region_shm *dsm_region_record(const dsm_space *space, uint32_t region);
/* Writes the copies of a record. Under the registry lock. */
void dsm_region_record_copy(const dsm_space *space, uint32_t region);
/* How many regions there are; DSM_CORRUPT if that cannot be told. */
dsm_status dsm_region_count(dsm_call *call, uint64_t *count);

#endif
