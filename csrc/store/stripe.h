/* A stripe: taking it, repairing what a dead holder left, reserving space ahead of a change.
 *
 * Every change of a stripe runs between dsm_stripe_take and dsm_stripe_drop. Space that a change
 * will need is reserved first, each reservation being an intent of its own, so that the change
 * itself cannot run out of memory half-way. Runs that were reserved and not used, or retired by the
 * change, go back to the arena when the stripe is settled; `pending` in the lock says that this is
 * owed.
 *
 * Kill points: anywhere. The next taker finishes the arena's intents of the stripe's nodes, then
 * the stripe's own, then settles. A repair that meets damage quarantines the stripe.
 */
#ifndef DSM_STORE_STRIPE_H
#define DSM_STORE_STRIPE_H

#include "object.h"
#include "slab.h"

/* Takes the stripe's lock and reads its route. Blocks as dsm_lock_take. */
dsm_status dsm_stripe_take(dsm_call *call, uint32_t stripe, dsm_route *route);
/* The same where some nodes of the route are lost: a bit per node that is not to be touched. Only
 * for who will publish another route: the nodes given may be absent. */
dsm_status dsm_stripe_take_despite(dsm_call *call, uint32_t stripe, uint64_t lost,
                                   dsm_route *route);
/* The same for a mover: who holds the lock again and again lets it in. */
dsm_status dsm_stripe_take_turn(dsm_call *call, uint32_t stripe, uint64_t lost, dsm_route *route);
void dsm_stripe_drop_despite(dsm_call *call, uint32_t stripe, uint64_t lost,
                             const dsm_route *route);
/* Settles if need be, then drops the lock. */
void dsm_stripe_drop(dsm_call *call, uint32_t stripe, const dsm_route *route);

/* Makes sure that the sub can take an extent of that size without asking the arena; *slab is what
 * dsm_slab_take wants to know. */
dsm_status dsm_stripe_reserve_extent(dsm_call *call, unsigned node, uint32_t stripe, uint64_t bytes,
                                     uint64_t *slab);
/* Makes sure that sub->reserved names a run of exactly `pages`. */
dsm_status dsm_stripe_reserve_run(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                                  uint64_t pages);
/* Gives the sub's reserved and retired runs back to the arena. */
dsm_status dsm_stripe_settle(dsm_call *call, uint32_t stripe, unsigned node);

/* Writes the empty subs of a new node. Before any other process can attach. */
void dsm_stripe_init(dsm_space *space, unsigned node, uint32_t stripe);

/* Marks that values of the stripe at the node wait for their checksum. */
static inline void dsm_stripe_unsettled(const dsm_space *space, unsigned node, uint32_t stripe) {
  dsm_fetch_or_acq_rel_u64(dsm_space_unsettled(space, node, stripe), 1ull << (stripe % 64));
}

#endif
