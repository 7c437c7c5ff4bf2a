/* The order of a move: fill, publish, tidy. */
#include "move.h"

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "heal.h"
#include "hold.h"
#include "route.h"
#include "table.h"

#define ATTEMPTS_MAX 8u /* passes that writers may overtake; then one holds the lock to its end */
/* After the loss of a primary: beyond any version that it may have given and nobody else knows. */
#define LOSS_GAP (1ull << 24)

void dsm_move_begin(dsm_move *self, uint32_t stripe, const uint8_t *nodes, uint32_t count,
                    uint64_t lost) {
  *self = (dsm_move){.stripe = stripe,
                     .count = count,
                     .lost = lost,
                     .step_bytes = DSM_MOVE_BYTES,
                     .step_objects = DSM_MOVE_OBJECTS,
                     .source = DSM_NODES_MAX};
  DSM_ASSERT(count >= 1 && count <= DSM_REPLICAS_MAX);
  for (uint32_t i = 0; i < DSM_REPLICAS_MAX && i < count; i++) self->nodes[i] = nodes[i];
}

static bool arrived(const dsm_move *self, const dsm_route *route) {
  if (route->count != self->count) return false;
  for (uint32_t i = 0; i < self->count; i++)
    if (route->nodes[i] != self->nodes[i]) return false;
  return true;
}

/* The first node of the route that is not lost: the authority. Another one than last time means
 * that what was compared was compared with something else. */
static dsm_status choose_source(dsm_call *call, dsm_move *self, const dsm_route *route) {
  for (uint32_t i = 0; i < route->count; i++) {
    unsigned node = route->nodes[i];
    if (self->lost >> node & 1) continue;
    if (node != self->source) {
      self->source = node;
      self->passing = false;
      self->clean_gen = 0;
    }
    return DSM_OK;
  }
  return dsm_fail(call, DSM_CORRUPT, "no replica of the stripe is left", route->nodes[0],
                  self->stripe, route->word, self->lost);
}

static bool lacks_any(const dsm_move *self, const dsm_route *route) {
  for (uint32_t place = 0; place < self->count; place++)
    if (dsm__move_lacks(self, route, place)) return true;
  return false;
}

static dsm_status check_wanted(dsm_call *call, const dsm_move *self, const dsm_route *route) {
  for (uint32_t place = 0; place < self->count; place++) {
    unsigned node = self->nodes[place];
    dsm_node_entry entry;
    if (dsm_route_names(route, node)) continue;
    DSM_TRY(dsm_nodes_read(call, node, &entry));
    if (entry.state != DSM_NODE_UP || !dsm_space_present(call->space, node) ||
        self->lost >> node & 1)
      return dsm_fail(call, DSM_RETRY, "node is not on the ring", (int)node, self->stripe,
                      entry.state, DSM_NODE_UP);
  }
  return DSM_OK;
}

/* The highest generation of all that have been and will be asked. */
static dsm_status highest(dsm_call *call, const dsm_move *self, const dsm_route *route,
                          uint64_t *gen) {
  *gen = 0;
  for (uint32_t i = 0; i < route->count + self->count; i++) {
    unsigned node = i < route->count ? route->nodes[i] : self->nodes[i - route->count];
    if (self->lost >> node & 1) continue;
    dsm_log log = dsm_log_make(call, NULL, 0);
    uint64_t own =
        dsm_log_read_sealed(&log, node + 1, &dsm_space_sub(call->space, node, self->stripe)->gen);
    if (log.status != DSM_OK) return log.status;
    if (own > *gen) *gen = own;
  }
  if (self->lost >> route->nodes[0] & 1) *gen += LOSS_GAP;
  return DSM_OK;
}

/* No node of the new route may give a version that was given before. */
static dsm_status raise_generations(dsm_call *call, const dsm_move *self, const dsm_route *route) {
  uint64_t gen;
  DSM_TRY(highest(call, self, route, &gen));
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, self->stripe), self->stripe);
  for (uint32_t place = 0; place < self->count; place++) {
    unsigned node = self->nodes[place];
    const dsm_atomic_u64 *word = &dsm_space_sub(call->space, node, self->stripe)->gen;
    if (dsm_log_read_sealed(&log, node + 1, word) < gen)
      dsm_log_once_sealed(&log, node + 1, word, gen);
  }
  return log.count ? dsm_log_commit(&log) : log.status;
}

/* What the lost primary alone had is gone, so the regions have what the source has. */
static dsm_status recount(dsm_call *call, const dsm_move *self) {
  dsm_space *space = call->space;
  uint64_t objects[DSM_REGIONS_MAX] = {0};
  dsm_table table;
  bool ok;
  DSM_TRY(dsm_table_read(call, self->source, self->stripe, &table));
  for (uint32_t i = 0; table.slots && i < table.capacity; i++) {
    dsm_header header;
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]), hash;
    if (slot <= DSM_SLOT_TOMBSTONE) continue;
    DSM_TRY(dsm_slot_object(call, self->source, self->stripe, slot, &header, &hash));
    if (header.region < DSM_REGIONS_MAX) objects[header.region]++;
  }
  const dsm_atomic_u64 *word = &dsm_space_control(space)->region_count;
  uint64_t regions = dsm_unseal(dsm_load_acquire_u64(word),
                                dsm_space_locator(space, DSM_CONTROL_SEGMENT, word), &ok);
  for (uint32_t region = 0; region < regions && region < DSM_REGIONS_MAX; region++) {
    dsm_atomic_u64 *count = dsm_space_region_count(space, region, self->stripe);
    uint64_t counted = dsm_unseal(dsm_load_relaxed_u64(count),
                                  dsm_space_locator(space, DSM_CONTROL_SEGMENT, count), &ok);
    if (ok && counted > objects[region])
      dsm_heal_set_losses(space, self->stripe,
                          dsm_heal_losses(space, self->stripe) + counted - objects[region]);
    dsm_store_release_u64(
        count, dsm_seal(objects[region], dsm_space_locator(space, DSM_CONTROL_SEGMENT, count)));
  }
  DSM_CRASH_POINT("move.recounted");
  return DSM_OK;
}

static dsm_status publish(dsm_call *call, dsm_move *self, const dsm_route *route) {
  uint64_t surplus = 0, exact = 0;
  for (uint32_t i = 0; i < route->count; i++) {
    unsigned node = route->nodes[i];
    uint32_t place = 0;
    while (place < self->count && self->nodes[place] != node) place++;
    bool less = place == self->count || place > i;
    if (less && !(self->lost >> node & 1)) surplus |= 1ull << node;
  }
  for (uint32_t place = 0; place < self->count; place++)
    if (dsm__move_lacks(self, route, place)) exact |= 1ull << self->nodes[place];
  for (uint64_t left = exact; left; left &= left - 1)
    DSM_TRY(dsm_stripe_settle(call, self->stripe, (unsigned)__builtin_ctzll(left)));
  DSM_TRY(raise_generations(call, self, route));
  DSM_CRASH_POINT("move.raised");
  if (self->lost >> route->nodes[0] & 1) DSM_TRY(recount(call, self));
  dsm_strays_add(call->space, self->stripe, surplus);
  dsm_route_publish(call->space, self->stripe, self->nodes, self->count);
  dsm_strays_remove(call->space, self->stripe, exact);
  return DSM_OK;
}

static dsm_status source_moved(dsm_call *call, const dsm_move *self, bool *moved) {
  dsm_log log = dsm_log_make(call, NULL, 0);
  const dsm_sub_shm *sub = dsm_space_sub(call->space, self->source, self->stripe);
  *moved =
      dsm_log_read_sealed(&log, self->source + 1, &sub->gen) != self->began_gen ||
      dsm_load_relaxed_u32(&dsm_space_lock(call->space, self->stripe)->repairs) != self->repairs;
  return log.status;
}

/* Copies for one hold; *ready: in this hold every place has exactly what it needs. */
static dsm_status fill(dsm_call *call, dsm_move *self, const dsm_route *route, bool *ready) {
  bool whole = true, moved = true;
  *ready = false;
  for (uint32_t place = 0; place < self->count; place++)
    if (dsm__move_lacks(self, route, place))
      dsm_strays_add(call->space, self->stripe, 1ull << self->nodes[place]);
  if (self->attempts >= ATTEMPTS_MAX) {
    self->step_bytes = UINT64_MAX;
    self->step_objects = UINT32_MAX / 64;
  }
  /* A pass that began in an earlier hold is finished; then either nothing has changed since it
   * began, or one more pass, in this hold alone, catches up. */
  if (self->passing || self->clean_gen == 0) DSM_TRY(dsm__move_pass(call, self, route, &whole));
  if (!whole) return DSM_OK;
  DSM_TRY(source_moved(call, self, &moved));
  if (moved) {
    self->attempts++;
    DSM_TRY(dsm__move_pass(call, self, route, &whole));
    if (!whole) return DSM_OK;
  }
  DSM_TRY(dsm__move_confirm(call, self));
  for (uint32_t place = 0; place < self->count && whole; place++)
    if (dsm__move_lacks(self, route, place)) DSM_TRY(dsm__move_prune(call, self, place, &whole));
  *ready = whole;
  return DSM_OK;
}

/* Nodes whose surplus is to be erased: those that drain take theirs with them. */
static dsm_status untidy(dsm_call *call, const dsm_move *self, const dsm_route *route,
                         uint64_t *nodes) {
  *nodes = dsm_strays_read(call->space, self->stripe) &
           dsm_load_relaxed_u64(&call->space->nodes_present) & ~self->lost;
  for (uint64_t left = *nodes; left; left &= left - 1) {
    unsigned node = (unsigned)__builtin_ctzll(left);
    dsm_node_entry entry;
    DSM_TRY(dsm_nodes_read(call, node, &entry));
    if (entry.state != DSM_NODE_UP && !dsm_route_names(route, node)) *nodes &= ~(1ull << node);
  }
  return DSM_OK;
}

static dsm_status tidy(dsm_call *call, dsm_move *self, const dsm_route *route, bool *done) {
  uint64_t nodes;
  DSM_TRY(untidy(call, self, route, &nodes));
  *done = nodes == 0;
  if (*done) return DSM_OK;
  unsigned node = (unsigned)__builtin_ctzll(nodes);
  bool whole;
  DSM_TRY(dsm_stripe_settle(call, self->stripe, node));
  DSM_TRY(dsm__move_erase(call, self, node, dsm_route_place(route, node), &whole));
  if (!whole) return DSM_OK;
  dsm_strays_remove(call->space, self->stripe, 1ull << node);
  *done = (nodes & (nodes - 1)) == 0;
  return DSM_OK;
}

/* Lost nodes aside, whoever takes a stripe mends it first; what is marked still could not be. */
static dsm_status check_mended(dsm_call *call, const dsm_move *self, const dsm_route *route) {
  uint32_t pending = dsm_load_relaxed_u32(&dsm_space_lock(call->space, self->stripe)->pending);
  if (self->lost || self->salvages || !(pending & DSM_PENDING_MEND)) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "stripe could not be mended yet", route->nodes[0],
                  self->stripe, pending, 0);
}

static dsm_status step(dsm_call *call, dsm_move *self, const dsm_route *route, bool *done) {
  self->published = arrived(self, route);
  DSM_TRY(check_mended(call, self, route));
  if (self->published) return tidy(call, self, route, done);
  bool ready = true;
  DSM_TRY(choose_source(call, self, route));
  DSM_TRY(check_wanted(call, self, route));
  if (lacks_any(self, route)) DSM_TRY(fill(call, self, route, &ready));
  if (!ready) return DSM_OK;
  DSM_TRY(publish(call, self, route));
  self->published = true;
  return DSM_OK;
}

dsm_status dsm_move_step(dsm_call *call, dsm_move *self, bool *done) {
  dsm_route route;
  *done = false;
  DSM_TRY(dsm_stripe_take_turn(call, self->stripe, self->lost, &route));
  dsm_status status = step(call, self, &route, done);
  dsm_fault fault = call->fault;
  if (status == DSM_CORRUPT) dsm_heal_ask(call->space, self->stripe);
  /* The route may be another one by now; what is owed at its nodes is settled by their next. */
  dsm_route now;
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, self->stripe));
  if (!dsm_route_decode(word, self->stripe, &now)) now = route;
  dsm_stripe_drop_despite(call, self->stripe, self->lost, &now);
  call->fault = fault;
  return status;
}
