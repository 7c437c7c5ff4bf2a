/* Looking for lost segments, and replacing them. */
#include "rebuild.h"

#include "../base/crash.h"
#include "../mem/arena.h"
#include "../mem/headers.h"
#include "../mem/lock.h"
#include "../store/heal.h"
#include "../store/move.h"
#include "birth.h"
#include "event.h"
#include "registry.h"

#define STEPS_MAX 1000000u /* of one stripe's move */

static bool damaged(dsm_call *call, unsigned node, bool deep) {
  const dsm_space *space = call->space;
  dsm_node_shm *header = dsm_space_node(space, node);
  if (dsm_os_segment_truncated(&space->nodes[node])) return true;
  if (!dsm_headers_node_holds(space, header, node) &&
      !dsm_headers_node_restore(space, header, node, space->builds[node]))
    return true;
  if (!deep) return false;
  dsm_call own = dsm_call_make(call->space, DSM_LOCK_SLICE_MS);
  if (dsm_arena_valid(&own, node, NULL, NULL) != DSM_CORRUPT) return false;
  /* The heads do not tell what is wrong with themselves, the owner of a run, say. */
  return dsm_arena_rebuild(&own, node) == DSM_CORRUPT ||
         dsm_arena_valid(&own, node, NULL, NULL) == DSM_CORRUPT;
}

/* The process of this incarnation has ended, and the segment is still the one that it had. */
static bool asked(const dsm_space *space, unsigned node) {
  uint64_t dead = dsm_event_known(space, DSM_FACT_DEATH, 1 + node);
  return space->config.detection.recovery == DSM_RECOVERY_REBUILD &&
         dead > dsm_load_relaxed_u64(&dsm_space_recovery(space)->scrubs[node].rebuilt) &&
         (dsm_load_relaxed_u32(&dsm_space_participant(space, 1 + node)->incarnation) != dead ||
          dsm_registry_ended(space, 1 + node));
}

dsm_loss dsm_loss_look(dsm_call *call, unsigned node, bool deep) {
  const dsm_space *space = call->space;
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_node_entry entry;
  if (!dsm_space_present(space, node) || dsm_nodes_read(call, node, &entry) != DSM_OK ||
      entry.state != DSM_NODE_UP || entry.build != space->builds[node])
    return DSM_LOSS_NONE;
  if (damaged(call, node, deep)) return DSM_LOSS_DAMAGED;
  dsm_segment_name(name, space->config.name, (int)node);
  if (!dsm_os_segment_named(name, &space->nodes[node])) return DSM_LOSS_UNNAMED;
  return asked(space, node) ? DSM_LOSS_ASKED : DSM_LOSS_NONE;
}

static bool takes_stripes(dsm_call *call, unsigned node, uint64_t lost) {
  dsm_node_entry entry;
  return !(lost >> node & 1) && dsm_space_present(call->space, node) &&
         dsm_nodes_read(call, node, &entry) == DSM_OK && entry.state == DSM_NODE_UP;
}

/* The route without the node and the lost: others that are on the ring take the last places, as far
 * as there are. *kept: how many of the old ones are left. */
static uint32_t choose(dsm_call *call, const dsm_route *route, uint64_t gone, uint32_t stripe,
                       uint8_t *nodes, uint32_t *kept) {
  uint32_t count = 0;
  uint64_t used = gone;
  for (uint32_t i = 0; i < route->count; i++)
    if (!(gone >> route->nodes[i] & 1)) nodes[count++] = route->nodes[i];
  *kept = count;
  for (uint32_t i = 0; i < count; i++) used |= 1ull << nodes[i];
  for (uint32_t i = 0; i < call->space->node_count && count < route->count; i++) {
    unsigned other = (stripe + i) % call->space->node_count;
    if (takes_stripes(call, other, used)) nodes[count++] = (uint8_t)other;
  }
  return count;
}

static dsm_status route_of(dsm_call *call, uint32_t stripe, dsm_route *route) {
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, stripe));
  return dsm_route_decode(word, stripe, route)
             ? DSM_OK
             : dsm_fail(call, DSM_CORRUPT, "route does not verify", -1, stripe, word, 0);
}

/* Moves one stripe off the node, if it is there. `lost`: nodes that are no source. */
static dsm_status vacate(dsm_call *call, uint32_t stripe, unsigned node, dsm_loss loss,
                         uint64_t lost, dsm_event *done) {
  dsm_route route;
  uint8_t nodes[DSM_REPLICAS_MAX + 1];
  uint32_t kept;
  DSM_TRY(route_of(call, stripe, &route));
  if (!dsm_route_names(&route, node)) return DSM_OK;
  uint32_t count = choose(call, &route, lost | 1ull << node, stripe, nodes, &kept);
  if (count == 0)
    return dsm_fail(call, DSM_STORE_FULL, "there is no other node", (int)node, stripe, 0, 0);
  if (loss != DSM_LOSS_UNNAMED && (kept == 0 || loss == DSM_LOSS_ASKED)) {
    /* What can be found there is; the loss of the rest is noted. */
    dsm_call own = dsm_call_make(call->space, DSM_LOCK_SLICE_MS);
    if (dsm_heal(&own, stripe) == DSM_LOCK_TIMEOUT) return DSM_LOCK_TIMEOUT;
  }
  dsm_move move;
  bool arrived = false, sole = kept == 0 && loss != DSM_LOSS_UNNAMED;
  dsm_move_begin(&move, stripe, nodes, count, sole ? 0 : lost);
  move.salvages = kept == 0;
  for (uint32_t step = 0; !arrived && step < STEPS_MAX; step++) {
    DSM_TRY(dsm_move_step(call, &move, &arrived));
    DSM_CRASH_POINT("rebuild.step");
    if (move.published) break;
  }
  done->amount += move.objects;
  done->bytes += move.bytes;
  return move.published ? DSM_OK : DSM_RETRY;
}

static void tell(dsm_call *call, dsm_event_kind kind, dsm_fact fact, uint64_t value, unsigned node,
                 const dsm_event *done) {
  dsm_event event = {.kind = kind,
                     .fact = fact,
                     .value = value,
                     .subject = node,
                     .node = (int32_t)node,
                     .found = DSM_FINDING_CHECKSUM,
                     .amount = done->amount,
                     .bytes = done->bytes,
                     .recovery_ns = done->recovery_ns};
  dsm_call own = dsm_call_make(call->space, DSM_LOCK_SLICE_MS);
  dsm_event_post(&own, &event);
}

static dsm_status rebuild(dsm_call *call, unsigned node, dsm_loss loss, uint64_t lost,
                          dsm_event *done, dsm_os_segment *old) {
  dsm_space *space = call->space;
  dsm_status first = DSM_OK;
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    dsm_status status = vacate(call, stripe, node, loss, lost, done);
    if (status != DSM_OK && first == DSM_OK) first = status;
  }
  DSM_CRASH_POINT("rebuild.vacated");
  DSM_TRY(first);
  return dsm_node_replace(call, node, old);
}

/* Nodes that are neither sources nor targets. */
static uint64_t lost_nodes(dsm_call *call, unsigned node, dsm_loss loss) {
  uint64_t lost = loss == DSM_LOSS_UNNAMED ? 0 : 1ull << node;
  for (unsigned other = 0; other < call->space->node_count; other++)
    if (other != node && dsm_loss_look(call, other, true) == DSM_LOSS_DAMAGED)
      lost |= 1ull << other;
  return lost;
}

/* A node for the time being, if there is no other that could take the stripes. The node table says
 * what it is for, so that whoever goes on after a kill finds it, and sends it away in the end. */
static dsm_status call_helper(dsm_call *call, unsigned node, uint64_t lost) {
  unsigned other;
  for (other = 0; other < call->space->node_count; other++)
    if (takes_stripes(call, other, lost | 1ull << node)) return DSM_OK;
  DSM_TRY(dsm_node_lend(call, &other));
  DSM_CRASH_POINT("rebuild.helped");
  return dsm_nodes_follow(call);
}

void dsm_rebuild_dismiss(dsm_call *call) {
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    if (dsm_nodes_read(call, node, &entry) != DSM_OK || entry.state != DSM_NODE_UP || !entry.lent)
      continue;
    dsm_node_return(call, node); /* or at the next look */
    DSM_CRASH_POINT("rebuild.dismissed");
  }
}

dsm_status dsm_rebuild(dsm_call *call, unsigned node, dsm_loss loss) {
  dsm_space *space = call->space;
  dsm_scrub_shm *record = &dsm_space_recovery(space)->scrubs[node];
  dsm_lock_shm *journal = &dsm_space_balance(space)->lock;
  uint64_t build = space->builds[node], began_ns = dsm_os_monotonic_ns();
  uint64_t dead = dsm_event_known(space, DSM_FACT_DEATH, 1 + node);
  dsm_event done = {0};
  dsm_os_segment old;
  bool must_repair;
  tell(call, DSM_EVENT_SEGMENT_LOST, DSM_FACT_LOST, build, node, &done);
  uint64_t lost = lost_nodes(call, node, loss);
  DSM_TRY(call_helper(call, node, lost));
  DSM_TRY(dsm_lock_take(call, journal, &must_repair));
  if (must_repair) dsm_lock_repaired(journal, DSM_OK);
  tell(call, DSM_EVENT_REBUILD_STARTED, DSM_FACT_REBUILD, build << 1, node, &done);
  dsm_status status = rebuild(call, node, loss, lost, &done, &old);
  dsm_lock_drop(journal);
  DSM_TRY(status);
  dsm_store_release_u64(&record->rebuilt, dead);
  dsm_fetch_add_relaxed_u64(&record->rebuilds, 1);
  done.recovery_ns = dsm_os_monotonic_ns() - began_ns;
  tell(call, DSM_EVENT_REBUILD_DONE, DSM_FACT_REBUILD, build << 1 | 1, node, &done);
  dsm_node_give_back(call, node, &old);
  return DSM_OK;
}
