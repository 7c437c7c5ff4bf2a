/* Listing the keys of a region, a stripe at a time, without stopping writers.
 *
 * A key never changes its stripe, and the list of one stripe is true at one instant (validated by
 * the generation, or taken under the lock when writers keep changing it). So a key that is present
 * throughout a scan of all stripes appears in it exactly once.
 */
#ifndef DSM_STORE_SCAN_H
#define DSM_STORE_SCAN_H

#include "table.h"

/* Writes the stripe's keys into the buffer, each as one word (kind << 32 | length) and the key's
 * bytes padded to 8. *used: bytes written. DSM_TOO_MANY: *used says how many are needed. */
dsm_status dsm_scan_stripe(dsm_call *call, uint16_t region, uint32_t stripe, uint8_t *buffer,
                           uint64_t capacity, uint64_t *used);

#endif
