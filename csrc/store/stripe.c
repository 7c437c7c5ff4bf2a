/* Taking, repairing, reserving for and settling a stripe. */
#include "stripe.h"

#include "../base/crash.h"
#include "../mem/lock.h"
#include "../mem/nodes.h"
#include "bell.h"
#include "heal.h"
#include "hold.h"
#include "route.h"
#include "route_restore.h"

#define SETTLED (DSM_PENDING_SETTLE | DSM_PENDING_HOLDS)
#define TURN_US 300u                      /* longer than it takes to wake a sleeper */
#define OWED (SETTLED | DSM_PENDING_MEND) /* what the next holder must do first */

void dsm_stripe_init(dsm_space *space, unsigned node, uint32_t stripe) {
  dsm_sub_shm *sub = dsm_space_sub(space, node, stripe);
  dsm_atomic_u64 *words = (dsm_atomic_u64 *)(void *)sub;
  for (size_t i = 0; i < sizeof *sub / sizeof *words; i++)
    dsm_store_relaxed_u64(&words[i], dsm_seal(0, dsm_space_locator(space, node + 1, &words[i])));
  for (size_t i = 0; i < DSM_INLINE_SLOTS; i++) dsm_store_relaxed_u64(&sub->inline_slots[i], 0);
}

dsm_status dsm_stripe_settle(dsm_call *call, uint32_t stripe, unsigned node) {
  dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  if (dsm_log_get_sealed(&log, node + 1, &sub->reserved) != 0)
    DSM_TRY(dsm_arena_give(call, node, stripe, &sub->reserved));
  for (unsigned i = 0; i < DSM_RETIRE_MAX && log.status == DSM_OK; i++)
    if (dsm_log_get_sealed(&log, node + 1, &sub->retire[i]) != 0)
      DSM_TRY(dsm_arena_give(call, node, stripe, &sub->retire[i]));
  return log.status;
}

static dsm_status settle_all(dsm_call *call, uint32_t stripe, const dsm_route *route) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  if (DSM_UNLIKELY(dsm_load_relaxed_u32(&lock->pending) & DSM_PENDING_HOLDS)) {
    DSM_TRY(dsm_holds_release(call, stripe));
    dsm_fetch_and_acq_rel_u32(&lock->pending, ~DSM_PENDING_HOLDS);
  }
  for (uint32_t i = 0; i < route->count; i++)
    DSM_TRY(dsm_stripe_settle(call, stripe, route->nodes[i]));
  dsm_fetch_and_acq_rel_u32(&lock->pending, ~DSM_PENDING_SETTLE);
  return DSM_OK;
}

/* The nodes of the route, and those at which a move may have been at work. */
static uint64_t touched_nodes(const dsm_space *space, uint32_t stripe, const dsm_route *route) {
  uint64_t nodes = dsm_strays_read(space, stripe) & dsm_load_relaxed_u64(&space->nodes_present);
  for (uint32_t i = 0; i < route->count; i++) nodes |= 1ull << route->nodes[i];
  return nodes;
}

static dsm_status repair(dsm_call *call, uint32_t stripe, const dsm_route *route) {
  const dsm_space *space = call->space;
  uint64_t touched = touched_nodes(space, stripe, route);
  /* First the arenas: their intents may hold words of our subs, and must not be stored later. */
  for (uint64_t left = touched; left; left &= left - 1)
    DSM_TRY(dsm_arena_repair(call, (unsigned)__builtin_ctzll(left)));
  DSM_TRY(dsm_intent_recover(call, dsm_space_intent(space, stripe), stripe));
  DSM_CRASH_POINT("stripe.recovered");
  dsm_route_copy(space, stripe, route->word);
  for (uint32_t i = 0; i < route->count; i++) dsm_stripe_unsettled(space, route->nodes[i], stripe);
  /* What the dead one took for a transaction and what it unlinked goes back. */
  dsm_fetch_or_acq_rel_u32(&dsm_space_lock(space, stripe)->pending, DSM_PENDING_HOLDS);
  DSM_TRY(settle_all(call, stripe, route));
  for (uint64_t left = touched; left; left &= left - 1) {
    DSM_TRY(dsm_stripe_settle(call, stripe, (unsigned)__builtin_ctzll(left)));
    DSM_TRY(dsm_hold_tidy(call, stripe, (unsigned)__builtin_ctzll(left)));
  }
  return DSM_OK;
}

static bool behind(const dsm_space *space) {
  return !dsm_space_current(space, dsm_space_epoch(space));
}

/* With the lock in hand but mappings that are behind: the lock, with mappings that have every node
 * that the route names. */
static dsm_status take_current(dsm_call *call, dsm_lock_shm *lock, bool *must_repair) {
  do {
    /* Not under the lock: it takes system calls. What must be repaired stays marked. */
    dsm_lock_drop(lock);
    dsm_nodes_follow(call);
    DSM_TRY(dsm_lock_take(call, lock, must_repair));
  } while (behind(call->space));
  return DSM_OK;
}

/* The route without the nodes that are not to be touched. */
static dsm_route without(const dsm_route *route, uint64_t lost) {
  dsm_route kept = {.word = route->word};
  for (uint32_t i = 0; i < route->count; i++)
    if (!(lost >> route->nodes[i] & 1)) kept.nodes[kept.count++] = route->nodes[i];
  return kept;
}

static inline dsm_status read_route(dsm_call *call, uint32_t stripe, uint64_t lost,
                                    dsm_route *route) {
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, stripe));
  if (DSM_LIKELY(dsm_route_unseal(call->space, word, stripe, route))) return DSM_OK;
  if (dsm_route_restore(call->space, stripe))
    word = dsm_load_acquire_u64(dsm_space_route(call->space, stripe));
  return dsm_route_refuse(call, stripe, word, lost, route);
}

/* A stripe whose repair failed: its intent is finished or, if it does not verify, given up; then
 * what the replicas tell counts. */
static dsm_status take_quarantined(dsm_call *call, uint32_t stripe, dsm_route *route) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  dsm_intent_shm *intent = dsm_space_intent(call->space, stripe);
  bool must_repair;
  DSM_TRY(dsm_lock_take_any(call, lock, &must_repair));
  dsm_status status = read_route(call, stripe, 0, route);
  if (status == DSM_OK) {
    if (dsm_intent_recover(call, intent, stripe) != DSM_OK) dsm_intent_give_up(intent);
    DSM_CRASH_POINT("stripe.given up");
    status = dsm_heal_locked(call, stripe, route);
  }
  if (status == DSM_OK) {
    dsm_store_release_u32(&lock->quarantined, 0);
    dsm_lock_repaired(lock, DSM_OK);
    return DSM_OK;
  }
  dsm_lock_drop(lock);
  return status;
}

/* The same for who leaves lost nodes aside: the rest is mended when the route names them no more.
 */
static dsm_status take_quarantined_despite(dsm_call *call, uint32_t stripe, uint64_t lost,
                                           dsm_route *route) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  dsm_intent_shm *intent = dsm_space_intent(call->space, stripe);
  bool must_repair;
  DSM_TRY(dsm_lock_take_any(call, lock, &must_repair));
  dsm_status status = read_route(call, stripe, lost, route);
  if (status != DSM_OK) {
    dsm_lock_drop(lock);
    return status;
  }
  if (dsm_intent_recover(call, intent, stripe) != DSM_OK) dsm_intent_give_up(intent);
  dsm_fetch_or_acq_rel_u32(&lock->pending, DSM_PENDING_MEND | DSM_PENDING_HOLDS);
  DSM_CRASH_POINT("stripe.despite");
  dsm_store_release_u32(&lock->quarantined, 0);
  dsm_lock_repaired(lock, DSM_OK);
  return DSM_OK;
}

/* With the lock held: what the word `pending` asks for before anything else. Who leaves lost nodes
 * aside mends nothing: that is for when the route names them no longer. */
static dsm_status attend(dsm_call *call, uint32_t stripe, uint64_t lost, dsm_route *route,
                         bool must_repair) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  dsm_intent_shm *intent = dsm_space_intent(call->space, stripe);
  dsm_route kept = without(route, lost);
  dsm_status status = must_repair ? repair(call, stripe, &kept) : settle_all(call, stripe, &kept);
  uint32_t pending = dsm_load_relaxed_u32(&lock->pending);
  if (lost || (status != DSM_CORRUPT && (status != DSM_OK || !(pending & DSM_PENDING_MEND))))
    return status;
  if (status == DSM_CORRUPT && dsm_intent_recover(call, intent, stripe) != DSM_OK)
    dsm_intent_give_up(intent);
  status = dsm_heal_locked(call, stripe, route);
  /* What cannot be mended but was marked by a reader only is refused where it is met. */
  return status == DSM_CORRUPT && !must_repair ? DSM_OK : status;
}

/* Inlined, so that the usual take knows of no lost nodes. */
__attribute__((always_inline)) static inline dsm_status take(dsm_call *call, uint32_t stripe,
                                                             uint64_t lost, dsm_route *route) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  bool must_repair;
  dsm_status status = dsm_lock_take(call, lock, &must_repair);
  if (DSM_LIKELY(status == DSM_OK) && DSM_UNLIKELY(behind(call->space)))
    status = take_current(call, lock, &must_repair);
  if (DSM_UNLIKELY(status != DSM_OK)) {
    if (status == DSM_CORRUPT)
      status = lost ? take_quarantined_despite(call, stripe, lost, route)
                    : take_quarantined(call, stripe, route);
    if (status != DSM_OK) call->fault.stripe = stripe;
    return status;
  }
  status = read_route(call, stripe, lost, route);
  if (DSM_UNLIKELY(must_repair)) {
    if (status == DSM_OK) status = attend(call, stripe, lost, route, true);
    dsm_lock_repaired(lock, status);
  } else if (DSM_UNLIKELY(dsm_load_relaxed_u32(&lock->pending) & OWED) && status == DSM_OK) {
    status = attend(call, stripe, lost, route, false);
  }
  if (DSM_UNLIKELY(status != DSM_OK)) {
    if (call->fault.stripe < 0) call->fault.stripe = stripe;
    dsm_lock_drop(lock);
  }
  return status;
}

dsm_status dsm_stripe_take(dsm_call *call, uint32_t stripe, dsm_route *route) {
  return take(call, stripe, 0, route);
}

dsm_status dsm_stripe_take_despite(dsm_call *call, uint32_t stripe, uint64_t lost,
                                   dsm_route *route) {
  return take(call, stripe, lost, route);
}

/* Who changes a stripe without a pause would take its lock again before who sleeps on it is awake.
 * One pause per request; one that a dead mover left costs no more than that. */
static void give_way(dsm_lock_shm *lock) {
  uint32_t seen = dsm_load_relaxed_u32(&lock->pending);
  if (seen & DSM_PENDING_TURN) dsm_os_word_wait(&lock->pending, seen, TURN_US);
  dsm_fetch_and_acq_rel_u32(&lock->pending, ~DSM_PENDING_TURN);
}

dsm_status dsm_stripe_take_turn(dsm_call *call, uint32_t stripe, uint64_t lost, dsm_route *route) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  dsm_call quick = *call;
  quick.wait_ms = 0;
  dsm_status status = take(&quick, stripe, lost, route);
  if (status == DSM_LOCK_TIMEOUT) {
    dsm_fetch_or_acq_rel_u32(&lock->pending, DSM_PENDING_TURN);
    DSM_CRASH_POINT("stripe.turn");
    quick.wait_ms = call->wait_ms;
    status = take(&quick, stripe, lost, route);
    dsm_fetch_and_acq_rel_u32(&lock->pending, ~DSM_PENDING_TURN);
  }
  call->fault = quick.fault;
  return status;
}

void dsm_stripe_drop(dsm_call *call, uint32_t stripe, const dsm_route *route) {
  dsm_lock_shm *lock = dsm_space_lock(call->space, stripe);
  /* Who begins to wait at this very moment may be missed, and looks again after a slice. */
  uint32_t pending = dsm_load_relaxed_u32(&lock->pending);
  if (DSM_UNLIKELY(pending & SETTLED)) {
    /* The change is done and published whatever comes of this; what stays is settled by the next.
     */
    dsm_call own = *call;
    settle_all(&own, stripe, route);
  }
  dsm_lock_drop(lock);
  if (DSM_UNLIKELY(pending & DSM_PENDING_BELL)) dsm_bell_ring(call->space, stripe);
  if (DSM_UNLIKELY(pending & DSM_PENDING_TURN)) give_way(lock);
}

void dsm_stripe_drop_despite(dsm_call *call, uint32_t stripe, uint64_t lost,
                             const dsm_route *route) {
  dsm_route kept = without(route, lost);
  dsm_stripe_drop(call, stripe, &kept);
}

static void owe_settling(dsm_call *call, uint32_t stripe) {
  dsm_fetch_or_acq_rel_u32(&dsm_space_lock(call->space, stripe)->pending, DSM_PENDING_SETTLE);
}

dsm_status dsm_stripe_reserve_extent(dsm_call *call, unsigned node, uint32_t stripe, uint64_t bytes,
                                     uint64_t *slab) {
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  bool needed = dsm_slab_needs_page(&log, node, stripe, bytes, slab);
  if (log.status != DSM_OK || !needed) return log.status;
  return dsm_arena_take(call, node, stripe, DSM_RUN_SLAB, 1,
                        &dsm_space_sub(call->space, node, stripe)->spare);
}

dsm_status dsm_stripe_reserve_run(dsm_call *call, unsigned node, uint32_t stripe, dsm_run_kind kind,
                                  uint64_t pages) {
  dsm_sub_shm *sub = dsm_space_sub(call->space, node, stripe);
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  uint64_t held = dsm_log_get_sealed(&log, node + 1, &sub->reserved);
  if (log.status != DSM_OK) return log.status;
  if (held) {
    dsm_run run;
    DSM_TRY(dsm_run_read(call, node, held, &run));
    if (run.pages == pages && run.kind == kind) return DSM_OK;
    DSM_TRY(dsm_arena_give(call, node, stripe, &sub->reserved));
  }
  owe_settling(call, stripe);
  return dsm_arena_take(call, node, stripe, kind, pages, &sub->reserved);
}
