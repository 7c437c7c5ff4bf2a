/* Mending one stripe from its replicas, by whoever meets the damage.
 *
 * With the stripe's lock held, everything of the stripe at all its nodes is verified (audit.h), and
 * what does not hold is mended (mend.c): a damaged object is taken from the replica with the
 * highest version whose checksum holds, counts and lists are made anew, objects that lost their
 * slot are found in the stripe's memory. Of an object that no replica tells, the key stays, with no
 * value (DSM_CODEC_LOST): reading it is DSM_NO_REPLICAS, putting it makes it whole. If not even the
 * key is known, PENDING_LOST says so of the whole stripe until the loss is accepted.
 *
 *   I  while a stripe is mended PENDING_MEND is set, so that no miss is believed that comes from a
 *      half-mended table, and so that whoever finds the mender dead begins anew: mending is
 *      idempotent
 *   I  no valid object is overwritten or freed before another copy of it is in its place
 */
#ifndef DSM_STORE_HEAL_H
#define DSM_STORE_HEAL_H

#include "table.h"

/* Takes the stripe, mends it and drops it. DSM_OK: it holds now, whatever was lost.
 * DSM_LOCK_TIMEOUT after call->wait_ms; DSM_CORRUPT: it cannot be mended in place. */
dsm_status dsm_heal(dsm_call *call, uint32_t stripe);
/* The same with the lock held. */
dsm_status dsm_heal_locked(dsm_call *call, uint32_t stripe, dsm_route *route);

/* Objects of the stripe that were lost with their keys, and not yet accepted as lost: while there
 * are any, a miss is DSM_NO_REPLICAS. */
uint64_t dsm_heal_losses(const dsm_space *space, uint32_t stripe);
/* With the lock held; 0: they are accepted. */
void dsm_heal_set_losses(const dsm_space *space, uint32_t stripe, uint64_t count);

/* Takes the stripe and counts what it has lost, as far as its keys are known. If nothing else is,
 * the mark of unknown losses goes. */
dsm_status dsm_heal_named(dsm_call *call, uint32_t stripe, uint64_t *named);

/* Takes the stripe and accepts what it has lost. */
dsm_status dsm_heal_accept(dsm_call *call, uint32_t stripe);

/* Leaves it to the next who takes the stripe, and to the scrubbers (scrub.h). */
void dsm_heal_ask(const dsm_space *space, uint32_t stripe);
/* Has the keeper look at every arena, soon. */
void dsm_heal_ask_arenas(const dsm_space *space);

#endif
