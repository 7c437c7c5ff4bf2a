/* A damaged route, told anew by the copies in the nodes' segments.
 *
 * The route in the control segment is the one that counts. Each node's segment repeats it, sealed
 * with the stripe as well. Where the original does not verify, the copy that most nodes agree on
 * takes its place, by one compare-and-swap with the damaged word: whoever publishes a new route
 * meanwhile wins, and a route that verifies is never replaced, whatever it names. Any process may
 * do so at any time, with or without the stripe's lock.
 */
#ifndef DSM_STORE_ROUTE_RESTORE_H
#define DSM_STORE_ROUTE_RESTORE_H

#include "../mem/space.h"

/* True if the route verifies now, and this process has its nodes. */
bool dsm_route_restore(const dsm_space *space, uint32_t stripe);

/* Reads the route; follows the nodes and restores it if need be. DSM_CORRUPT if no copy verifies.
 */
dsm_status dsm_route_read(dsm_call *call, uint32_t stripe, dsm_route *out);

#endif
