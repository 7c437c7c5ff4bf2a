/* Publishing routes, and the nodes at which moves have been at work. */
#include "route.h"

#include "../base/crash.h"

#define NODES_MASK ((1ull << DSM_NODES_MAX) - 1)

void dsm_route_copy(const dsm_space *space, uint32_t stripe, uint64_t word) {
  for (unsigned node = 0; node < space->node_count; node++)
    if (dsm_space_present(space, node))
      dsm_store_relaxed_u64(dsm_space_node_route(space, node, stripe), word);
}

void dsm_route_publish(const dsm_space *space, uint32_t stripe, const uint8_t *nodes,
                       uint32_t count) {
  uint64_t epoch = dsm_load_relaxed_u64(&dsm_space_control(space)->epoch);
  uint64_t word = dsm_route_seal(nodes, count, epoch, stripe);
  DSM_CRASH_POINT("route.ready");
  dsm_store_seq_cst_u64(dsm_space_route(space, stripe), word);
  DSM_CRASH_POINT("route.published");
  dsm_route_copy(space, stripe, word);
  DSM_CRASH_POINT("route.copied");
}

dsm_status dsm_route_refuse(dsm_call *call, uint32_t stripe, uint64_t word, uint64_t lost,
                            dsm_route *route) {
  if (!dsm_route_decode(word, stripe, route))
    return dsm_fail(call, DSM_CORRUPT, "route does not verify", -1, stripe, word, 0);
  for (uint32_t i = 0; i < route->count; i++)
    if (!(lost >> route->nodes[i] & 1) && !dsm_space_present(call->space, route->nodes[i]))
      return dsm_fail(call, DSM_CORRUPT, "a node of the route is not there", route->nodes[i],
                      stripe, word, 0);
  return DSM_OK;
}

static uint64_t with_parity(uint64_t nodes) {
  return nodes | (uint64_t)__builtin_parityll(nodes) << DSM_NODES_MAX;
}

static uint64_t nodes_of(uint64_t word) {
  uint64_t nodes = word & NODES_MASK;
  return with_parity(nodes) == word ? nodes : NODES_MASK;
}

uint64_t dsm_strays_read(const dsm_space *space, uint32_t stripe) {
  return nodes_of(dsm_load_acquire_u64(dsm_space_strays(space, stripe)));
}

static void change(const dsm_space *space, uint32_t stripe, uint64_t add, uint64_t remove) {
  dsm_atomic_u64 *word = dsm_space_strays(space, stripe);
  uint64_t old = dsm_load_relaxed_u64(word);
  while (
      !dsm_cas_acq_rel_u64(word, &old, with_parity((nodes_of(old) | add) & ~remove & NODES_MASK))) {
  }
  DSM_CRASH_POINT("strays.changed");
}

void dsm_strays_add(const dsm_space *space, uint32_t stripe, uint64_t nodes) {
  if (nodes & ~dsm_strays_read(space, stripe)) change(space, stripe, nodes, 0);
}

void dsm_strays_remove(const dsm_space *space, uint32_t stripe, uint64_t nodes) {
  if (nodes & dsm_strays_read(space, stripe)) change(space, stripe, 0, nodes);
}
