/* Looking for damage in what nobody reads: one stripe at one node at a time.
 *
 * Objects are verified as a reader does, without the lock and with their checksums, large ones
 * pinned. Then the structure is audited under the stripe's lock, for a bounded time: values are not
 * hashed again, and a table of more than DSM_SCRUB_SLOTS slots is left to check(). A stripe whose
 * lock somebody holds is left to the next round. What is found is mended (heal.h).
 */
#ifndef DSM_STORE_SCRUB_H
#define DSM_STORE_SCRUB_H

#include "table.h"

#define DSM_SCRUB_SLOTS 16384u

/* Returns the bytes looked at; *damaged: something was found, mended or not. Nothing if the route
 * does not name the node. */
uint64_t dsm_scrub_stripe(dsm_call *call, unsigned node, uint32_t stripe, bool *damaged);

#endif
