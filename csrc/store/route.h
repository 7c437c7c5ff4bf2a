/* Changing the route of a stripe, and remembering where a move may have left something.
 *
 * A route changes by one store, under its stripe's lock, once everything that it will name is
 * there. Node headers hold copies, so that the control segment is no single point (I-7); a kill
 * between the store and the copies is made good by the next taker of the lock.
 *
 * Strays: a bit per node whose sub of this stripe may hold more than its place in the route says,
 * or something without being named at all. A bit is set before a move first touches such a sub and
 * taken back once the sub is exact; so whoever resumes knows where to look. Bit 63 is the parity of
 * the others: a damaged word means every node, which costs a look and loses nothing.
 *
 *   I  only the holder of the stripe's lock sets bits; a node that leaves takes its bit with it
 */
#ifndef DSM_STORE_ROUTE_H
#define DSM_STORE_ROUTE_H

#include "../mem/nodes.h"

/* Publishes the route, with the lock held, then its copies. */
void dsm_route_publish(const dsm_space *space, uint32_t stripe, const uint8_t *nodes,
                       uint32_t count);
/* Writes the copies of the word into the headers of all nodes that we have. */
void dsm_route_copy(const dsm_space *space, uint32_t stripe, uint64_t word);
/* After dsm_route_unseal has failed, why: DSM_CORRUPT for a damaged word and for a node that is not
 * there; DSM_OK if all are there by now but those in `lost`, a bit per node. */
dsm_status dsm_route_refuse(dsm_call *call, uint32_t stripe, uint64_t word, uint64_t lost,
                            dsm_route *route);

uint64_t dsm_strays_read(const dsm_space *space, uint32_t stripe);
void dsm_strays_add(const dsm_space *space, uint32_t stripe, uint64_t nodes);
void dsm_strays_remove(const dsm_space *space, uint32_t stripe, uint64_t nodes);

#endif
