/* Planning, walking, pacing, and the ends of nodes. */
#include "balance.h"

#include <stdlib.h>
#include <string.h>

#include "../base/crash.h"
#include "../mem/lock.h"
#include "../mem/nodes.h"
#include "../proto/placement.h"
#include "../store/route.h"
#include "birth.h"
#include "event.h"

#define BUSY_US 20000u     /* somebody else has the journal */
#define BLOCKED_US 100000u /* all that could be moved was; what is left is held by others */
#define LEAVING_US 20000u  /* a process is ending */
#define PACE_US 1000000u   /* longest pause for the pace */
#define OBJECT_BYTES 512u  /* what an object costs beside its bytes */

/* What a node is weighed with: nothing unless it is on the ring. */
static dsm_status read_weights(dsm_call *call, uint32_t *weights) {
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    DSM_TRY(dsm_nodes_read(call, node, &entry));
    weights[node] = entry.state == DSM_NODE_UP ? entry.weight : 0;
  }
  return DSM_OK;
}

static uint32_t list_length(const dsm_placement_list *list) {
  uint32_t count = 0;
  while (count < DSM_REPLICAS_MAX && list->nodes[count] != DSM_PLACEMENT_NOBODY) count++;
  return count;
}

static void read_lists(const dsm_space *space, dsm_placement_list *lists) {
  memset(lists, DSM_PLACEMENT_NOBODY, space->stripe_count * sizeof *lists);
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    dsm_route route;
    uint64_t word = dsm_load_acquire_u64(dsm_space_route(space, stripe));
    if (dsm_route_decode(word, stripe, &route))
      memcpy(lists[stripe].nodes, route.nodes, route.count);
  }
}

/* Targets for all stripes; *copies: how many have to be made. */
static dsm_status make_targets(const dsm_space *space, const uint32_t *weights, uint64_t epoch,
                               bool fresh, uint64_t *copies) {
  dsm_placement placement = {space->stripe_count, space->replicas, weights, space->hash_seed};
  dsm_placement_list *lists = malloc(space->stripe_count * sizeof *lists);
  void *scratch = malloc(dsm_placement_bytes(space->stripe_count));
  dsm_status status = lists && scratch ? DSM_OK : DSM_OS;
  *copies = 0;
  if (status == DSM_OK) {
    memset(lists, DSM_PLACEMENT_NOBODY, space->stripe_count * sizeof *lists);
    if (!fresh) read_lists(space, lists);
    status = dsm_placement_plan(&placement, scratch, lists);
  }
  for (uint32_t stripe = 0; stripe < space->stripe_count && status == DSM_OK; stripe++) {
    uint32_t count = list_length(&lists[stripe]);
    dsm_route now = {.count = 0};
    uint64_t word = dsm_load_relaxed_u64(dsm_space_route(space, stripe));
    bool known = !fresh && dsm_route_decode(word, stripe, &now);
    for (uint32_t i = 0; i < count; i++)
      *copies += known && !dsm_route_names(&now, lists[stripe].nodes[i]);
    dsm_store_relaxed_u64(dsm_space_target(space, stripe),
                          dsm_route_seal(lists[stripe].nodes, count, epoch, stripe));
  }
  free(lists);
  free(scratch);
  return status;
}

dsm_status dsm_balance_first_routes(const dsm_space *space) {
  dsm_balance_shm *journal = dsm_space_balance(space);
  uint32_t weights[DSM_NODES_MAX];
  uint64_t copies;
  dsm_space own = *space;
  dsm_call call = dsm_call_make(&own, 0);
  DSM_TRY(read_weights(&call, weights));
  DSM_TRY(make_targets(space, weights, 1, true, &copies));
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++)
    dsm_store_relaxed_u64(dsm_space_route(space, stripe),
                          dsm_load_relaxed_u64(dsm_space_target(space, stripe)));
  dsm_store_relaxed_u64(&journal->planned, 1);
  dsm_store_relaxed_u64(&journal->done, 1);
  return DSM_OK;
}

/* A node that drains or leaves, or none. */
static unsigned parting_node(dsm_call *call, dsm_node_state *state) {
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    if (dsm_nodes_read(call, node, &entry) != DSM_OK) continue;
    *state = entry.state;
    if (entry.state == DSM_NODE_DRAINING || entry.state == DSM_NODE_LEAVING) return node;
  }
  return DSM_NODES_MAX;
}

bool dsm_balance_due(const dsm_space *space) {
  dsm_space *mine = (dsm_space *)space;
  dsm_call call = dsm_call_make(mine, 0);
  dsm_node_state state;
  return dsm_load_relaxed_u64(&dsm_space_balance(space)->done) != dsm_nodes_epoch(space) ||
         parting_node(&call, &state) < DSM_NODES_MAX;
}

/* An end is told of what was told to have begun, once: not of each plan that moves nothing. */
static void tell(dsm_call *call, uint64_t epoch, bool done, uint64_t amount, uint64_t bytes) {
  uint64_t told = dsm_event_known(call->space, DSM_FACT_REBALANCE, 0);
  if (done && (told == 0 || told & 1)) return;
  dsm_event event = {.kind = done ? DSM_EVENT_REBALANCE_DONE : DSM_EVENT_REBALANCE_STARTED,
                     .fact = DSM_FACT_REBALANCE,
                     .value = epoch << 1 | done,
                     .node = -1,
                     .status = DSM_STATUS_UNKNOWN,
                     .amount = amount,
                     .bytes = bytes};
  dsm_event_post(call, &event); /* told or not, it goes on */
}

static dsm_status plan(dsm_call *call, uint64_t epoch) {
  dsm_balance_shm *journal = dsm_space_balance(call->space);
  uint32_t weights[DSM_NODES_MAX];
  uint64_t copies;
  DSM_TRY(read_weights(call, weights));
  dsm_store_release_u64(&journal->planned, 0);
  DSM_CRASH_POINT("balance.planning");
  DSM_TRY(make_targets(call->space, weights, epoch, false, &copies));
  if (copies) { /* a plan that moves nothing leaves what the last one has done to be read */
    dsm_store_relaxed_u64(&journal->planned_copies, copies);
    dsm_store_relaxed_u64(&journal->moved_stripes, 0);
    dsm_store_relaxed_u64(&journal->moved_objects, 0);
    dsm_store_relaxed_u64(&journal->moved_bytes, 0);
  }
  dsm_store_relaxed_u64(&journal->blocked, 0);
  dsm_store_release_u64(&journal->planned, epoch);
  DSM_CRASH_POINT("balance.planned");
  if (copies) tell(call, epoch, false, copies, 0);
  return DSM_OK;
}

/* Nodes whose segments are not to be used. */
static uint64_t lost_nodes(dsm_call *call) {
  uint64_t lost = 0;
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    if (dsm_nodes_read(call, node, &entry) == DSM_OK && entry.state == DSM_NODE_LOST)
      lost |= 1ull << node;
  }
  return lost;
}

static bool read_target(const dsm_space *space, uint32_t stripe, dsm_route *out) {
  return dsm_route_decode(dsm_load_acquire_u64(dsm_space_target(space, stripe)), stripe, out);
}

static bool same_nodes(const dsm_route *left, const dsm_route *right) {
  return left->count == right->count && memcmp(left->nodes, right->nodes, left->count) == 0;
}

/* Nodes whose surplus somebody is to erase: on the ring. Who drains takes its own along. */
static bool untidy(dsm_call *call, uint32_t stripe) {
  for (uint64_t left = dsm_strays_read(call->space, stripe); left; left &= left - 1) {
    dsm_node_entry entry;
    if (dsm_nodes_read(call, (unsigned)__builtin_ctzll(left), &entry) == DSM_OK &&
        entry.state == DSM_NODE_UP)
      return true;
  }
  return false;
}

/* Whether there is something to do for the stripe; *target. A damaged target makes a new plan. */
static bool wants_work(dsm_call *call, uint32_t stripe, dsm_route *target) {
  dsm_route now;
  if (!read_target(call->space, stripe, target)) {
    dsm_store_release_u64(&dsm_space_balance(call->space)->planned, 0);
    return false;
  }
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, stripe));
  if (!dsm_route_decode(word, stripe, &now)) return true;
  return !same_nodes(&now, target) || untidy(call, stripe);
}

static void note_blocked(dsm_call *call, dsm_balancer *self, uint32_t stripe, dsm_status status) {
  dsm_balance_shm *journal = dsm_space_balance(call->space);
  self->unfinished++;
  self->blocked++;
  dsm_store_relaxed_u64(&journal->blocked_stripe, stripe);
  dsm_store_relaxed_u64(&journal->blocked_status, (uint64_t)status);
  dsm_store_relaxed_u64(&journal->blocked_pid, call->fault.process.pid);
  dsm_store_relaxed_u64(&journal->blocked_ticks, call->fault.process.start_ticks);
  dsm_store_release_u64(&journal->blocked, self->blocked);
}

/* What was copied is owed, and paid off with time; how long until it is, but look again after a
 * second, since the pace may be another by then. */
static uint32_t pace(const dsm_space *space, dsm_balancer *self, uint64_t bytes, uint64_t objects) {
  uint64_t limit = dsm_load_relaxed_u64(&dsm_space_balance(space)->bytes_per_s);
  uint64_t now = dsm_os_monotonic_ns();
  if (limit == 0) limit = DSM_BALANCE_BYTES_PER_S;
  self->owed -= (double)(now - self->paid_ns) * (double)limit / 1e9;
  if (self->owed < 0) self->owed = 0;
  self->owed += (double)(bytes + objects * OBJECT_BYTES);
  self->paid_ns = now;
  double pause_us = self->owed * 1e6 / (double)limit;
  return pause_us < PACE_US ? (uint32_t)pause_us : PACE_US;
}

static void begin_walk(dsm_balancer *self, uint64_t epoch) {
  self->moving = false;
  self->next = self->unfinished = self->blocked = 0;
  self->epoch = epoch;
}

/* Takes the stripe in hand. Where a node of its route is lost, those that are left serve first, at
 * once; the walk after this one makes the copies good. */
static void take_up(dsm_call *call, dsm_balancer *self, uint32_t stripe, const dsm_route *target) {
  uint64_t lost = lost_nodes(call);
  dsm_route now, kept = {.count = 0};
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, stripe));
  if (lost && dsm_route_decode(word, stripe, &now)) {
    for (uint32_t i = 0; i < now.count; i++)
      if (!(lost >> now.nodes[i] & 1)) kept.nodes[kept.count++] = now.nodes[i];
    if (kept.count == now.count) kept.count = 0;
  }
  if (kept.count) self->unfinished++;
  const dsm_route *wanted = kept.count ? &kept : target;
  dsm_move_begin(&self->move, stripe, wanted->nodes, wanted->count, lost);
  self->moving = true;
}

/* Goes on with the stripe in hand. */
static uint32_t move_on(dsm_call *call, dsm_balancer *self) {
  dsm_balance_shm *journal = dsm_space_balance(call->space);
  uint64_t bytes = self->move.bytes, objects = self->move.objects;
  bool done, before = self->move.published;
  dsm_status status = dsm_move_step(call, &self->move, &done);
  bytes = self->move.bytes - bytes;
  objects = self->move.objects - objects;
  dsm_fetch_add_relaxed_u64(&journal->moved_bytes, bytes);
  dsm_fetch_add_relaxed_u64(&journal->moved_objects, objects);
  if (self->move.published && !before) dsm_fetch_add_relaxed_u64(&journal->moved_stripes, 1);
  if (status != DSM_OK) {
    self->moving = false;
    if (status == DSM_RETRY)
      self->unfinished++;
    else
      note_blocked(call, self, self->move.stripe, status);
  } else if (done) {
    self->moving = false;
  }
  return pace(call->space, self, bytes, objects);
}

static uint32_t end_walk(dsm_call *call, dsm_balancer *self) {
  dsm_balance_shm *journal = dsm_space_balance(call->space);
  uint64_t epoch = self->epoch;
  uint32_t unfinished = self->unfinished, blocked = self->blocked;
  dsm_store_release_u64(&journal->blocked, blocked);
  begin_walk(self, epoch);
  if (unfinished) return unfinished > blocked ? 0 : BLOCKED_US;
  if (dsm_load_relaxed_u64(&journal->planned) == epoch)
    dsm_store_release_u64(&journal->done, epoch);
  DSM_CRASH_POINT("balance.done");
  tell(call, epoch, true, dsm_load_relaxed_u64(&journal->moved_stripes),
       dsm_load_relaxed_u64(&journal->moved_bytes));
  return 0;
}

static uint32_t walk(dsm_call *call, dsm_balancer *self) {
  if (self->moving) return move_on(call, self);
  for (; self->next < call->space->stripe_count; self->next++) {
    dsm_route target;
    if (!wants_work(call, self->next, &target)) continue;
    take_up(call, self, self->next++, &target);
    return move_on(call, self);
  }
  return end_walk(call, self);
}

/* Everything is in its place: nodes that drain may leave, those that have left may go. */
static uint32_t part(dsm_call *call, dsm_balancer *self) {
  dsm_node_state state;
  unsigned node = parting_node(call, &state);
  if (node == DSM_NODES_MAX) return DSM_BALANCE_IDLE;
  dsm_status status =
      state == DSM_NODE_DRAINING ? dsm_node_leave(call, node) : dsm_node_remove(call, node);
  /* A stripe's lock that is not to be had holds the node up, though nothing is left to move. */
  self->blocked = 0;
  if (status != DSM_OK && status != DSM_RETRY)
    note_blocked(call, self, (uint32_t)call->fault.stripe, status);
  else
    dsm_store_release_u64(&dsm_space_balance(call->space)->blocked, 0);
  self->blocked = self->unfinished = 0;
  /* Who runs its process looks at once. */
  if (status == DSM_OK) dsm_doorbell_ring_second(&dsm_space_mailboxes(call->space)->bell);
  return status == DSM_OK ? 0 : LEAVING_US;
}

static uint32_t step(dsm_call *call, dsm_balancer *self) {
  dsm_balance_shm *journal = dsm_space_balance(call->space);
  uint64_t epoch = dsm_nodes_epoch(call->space);
  if (dsm_load_acquire_u64(&journal->done) == epoch) return part(call, self);
  dsm_nodes_catch_up(call);
  if (dsm_load_acquire_u64(&journal->planned) != epoch) {
    if (plan(call, epoch) != DSM_OK) return BLOCKED_US;
    begin_walk(self, epoch);
  }
  if (self->epoch != epoch) begin_walk(self, epoch);
  return walk(call, self);
}

uint32_t dsm_balancer_step(dsm_call *call, dsm_balancer *self) {
  dsm_lock_shm *lock = &dsm_space_balance(call->space)->lock;
  bool must_repair;
  if (!dsm_balance_due(call->space)) return DSM_BALANCE_IDLE;
  dsm_call quick = dsm_call_make(call->space, 0);
  if (dsm_lock_take(&quick, lock, &must_repair) != DSM_OK) return BUSY_US;
  /* What the one before had in hand is found by the walk, from the beginning. */
  if (must_repair) {
    dsm_lock_repaired(lock, DSM_OK);
    begin_walk(self, 0);
  }
  uint32_t pause = pace(call->space, self, 0, 0);
  if (pause == 0) pause = step(call, self);
  dsm_lock_drop(lock);
  return pause;
}

void dsm_balance_read(const dsm_space *space, dsm_balance_report *out) {
  const dsm_balance_shm *journal = dsm_space_balance(space);
  uint64_t epoch = dsm_nodes_epoch(space);
  *out = (dsm_balance_report){
      .done = dsm_load_acquire_u64(&journal->done) == epoch,
      .epoch = epoch,
      .copies = dsm_load_relaxed_u64(&journal->planned_copies),
      .moved_stripes = dsm_load_relaxed_u64(&journal->moved_stripes),
      .moved_objects = dsm_load_relaxed_u64(&journal->moved_objects),
      .moved_bytes = dsm_load_relaxed_u64(&journal->moved_bytes),
      .blocked = dsm_load_acquire_u64(&journal->blocked),
      .blocked_stripe = dsm_load_relaxed_u64(&journal->blocked_stripe),
      .blocked_by = {.pid = (uint32_t)dsm_load_relaxed_u64(&journal->blocked_pid),
                     .start_ticks = dsm_load_relaxed_u64(&journal->blocked_ticks)},
  };
  uint64_t status = dsm_load_relaxed_u64(&journal->blocked_status);
  out->blocked_status = status < DSM_STATUS_COUNT ? (dsm_status)status : DSM_OK;
  bool planned = dsm_load_acquire_u64(&journal->planned) == epoch;
  for (uint32_t stripe = 0; stripe < space->stripe_count && !out->done; stripe++) {
    dsm_route now, target;
    uint64_t word = dsm_load_acquire_u64(dsm_space_route(space, stripe));
    out->stripes_left += !planned || !dsm_route_decode(word, stripe, &now) ||
                         !read_target(space, stripe, &target) || !same_nodes(&now, &target);
  }
}

void dsm_balance_pace(const dsm_space *space, uint64_t bytes_per_s) {
  dsm_store_release_u64(&dsm_space_balance(space)->bytes_per_s, bytes_per_s);
}
