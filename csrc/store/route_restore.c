/* Routes from their copies. */
#include "route_restore.h"

#include "../base/crash.h"
#include "../mem/nodes.h"

/* The verified copy that most nodes agree on; 0 if there is none. */
static uint64_t vote(const dsm_space *space, uint32_t stripe) {
  uint64_t best = 0;
  uint32_t most = 0;
  for (uint32_t node = 0; node < space->node_count; node++) {
    uint64_t word = dsm_load_acquire_u64(dsm_space_node_route(space, node, stripe));
    dsm_route route;
    uint32_t votes = 0;
    if (!dsm_route_unseal(space, word, stripe, &route)) continue;
    for (uint32_t other = 0; other < space->node_count; other++)
      votes += dsm_load_acquire_u64(dsm_space_node_route(space, other, stripe)) == word;
    if (votes > most) {
      most = votes;
      best = word;
    }
  }
  return best;
}

bool dsm_route_restore(const dsm_space *space, uint32_t stripe) {
  dsm_atomic_u64 *word = dsm_space_route(space, stripe);
  uint64_t damaged = dsm_load_acquire_u64(word);
  dsm_route route;
  /* Of nodes that we do not have, but whole: a copy of it may be older. */
  if (dsm_route_decode(damaged, stripe, &route))
    return dsm_route_unseal(space, damaged, stripe, &route);
  uint64_t told = vote(space, stripe);
  if (told == 0) return false;
  dsm_cas_acq_rel_u64(word, &damaged, told);
  DSM_CRASH_POINT("route.restored");
  return dsm_route_unseal(space, dsm_load_acquire_u64(word), stripe, &route);
}

dsm_status dsm_route_read(dsm_call *call, uint32_t stripe, dsm_route *out) {
  const dsm_space *space = call->space;
  for (;;) {
    uint64_t epoch = dsm_space_epoch(space);
    uint64_t word = dsm_load_acquire_u64(dsm_space_route(space, stripe));
    if (DSM_LIKELY(dsm_route_unseal(space, word, stripe, out))) return DSM_OK;
    /* It may name a node that has come since this process last looked, or come just now. */
    if (!dsm_nodes_catch_up(call) && !dsm_route_restore(space, stripe) &&
        dsm_space_current(space, epoch))
      return dsm_fail(call, DSM_CORRUPT, "neither the route nor a copy of it verifies", -1, stripe,
                      word, 0);
  }
}
