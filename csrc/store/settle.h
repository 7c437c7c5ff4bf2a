/* Settling the checksums of values over one page.
 *
 * A put of a large value leaves its hash word 0 and marks the stripe; a service thread of the node
 * that holds the value hashes it later, pinned and without a lock, and stores the word. Until then
 * (normally within one service slice and the time to read the value) damage to the value's bytes is
 * not noticed by get; header and key are always covered. check() settles whatever it meets.
 */
#ifndef DSM_STORE_SETTLE_H
#define DSM_STORE_SETTLE_H

#include "table.h"

/* Whether anything is marked at one node. */
bool dsm_settle_due(const dsm_space *space, unsigned node);
/* Settles what is marked at one node. Never waits for a lock: what is busy stays marked. */
void dsm_settle_node(dsm_call *call, unsigned node);
/* Settles the values of one stripe at one node, whose lock is held. */
dsm_status dsm_settle_locked(dsm_call *call, unsigned node, uint32_t stripe);

#endif
