/* The survivor's checks. */
#include "survivor.h"

#include <stdio.h>
#include <string.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/mem/pin.h"
#include "../../csrc/store/check.h"
#include "../../csrc/store/stripe.h"

#define TRY(expression)                                                                            \
  do {                                                                                             \
    const char *wrong = (expression);                                                              \
    if (wrong) return wrong;                                                                       \
  } while (0)

static const char *status_text(const dsm_call *call, dsm_status status, const char *what) {
  fprintf(stderr, "  %s: %s, %s (%llx, %llx)\n", what, dsm_status_name(status),
          call->fault.what ? call->fault.what : "-", (unsigned long long)call->fault.left,
          (unsigned long long)call->fault.right);
  return what;
}

/* Reads the changed key: 0 old, 1 new. */
static const char *read_changed(const world *before, dsm_call *call, const change *change,
                                survivor_outcome *outcome) {
  item candidates[2] = {before->items[change->target], change->after};
  int which;
  dsm_status status = world_read(before, call, change->target, candidates, 2, &which);
  if (status != DSM_OK) return status_text(call, status, "the changed key cannot be read");
  if (which < 0) return "the changed key is neither old nor new";
  *outcome = which == 0 ? SAW_OLD : SAW_NEW;
  return NULL;
}

static const char *read_all(const world *now, dsm_call *call) {
  for (uint32_t i = 0; i < now->key_count; i++) {
    int which;
    if (!now->items[i].present && i > 4) continue; /* a few absent ones are enough */
    dsm_status status = world_read(now, call, i, &now->items[i], 1, &which);
    if (status != DSM_OK) return status_text(call, status, "a key cannot be read");
    if (which < 0) return "a key has another value";
  }
  return NULL;
}

/* The value at one replica, compared with the model; the stripe is held. */
static const char *replica_holds(const world *now, dsm_call *call, unsigned node, uint32_t index) {
  uint8_t wanted[WORLD_VALUE_BYTES_MAX];
  const item *it = &now->items[index];
  dsm_key key = world_key(now, call->space, index);
  dsm_found found;
  dsm_status status = dsm_table_find(call, node, now->stripe, &key, &found);
  if (status != DSM_OK) return status_text(call, status, "a replica cannot be searched");
  if ((found.offset != 0) != it->present) return "a replica differs in what is present";
  if (!it->present) return NULL;
  world_value(index, it, wanted);
  const uint8_t *object = (const uint8_t *)dsm_object_at(call->space, node, found.offset);
  if (found.header.value_bytes != it->length ||
      memcmp(object + found.header.value_offset, wanted, it->length) != 0)
    return "a replica holds another value";
  return NULL;
}

static const char *take_and_compare(const world *before, const change *change, dsm_call *call,
                                    survivor_outcome *outcome, world *now) {
  dsm_route route;
  survivor_outcome repaired = SAW_OLD;
  dsm_status status = dsm_stripe_take(call, before->stripe, &route);
  if (status != DSM_OK) return status_text(call, status, "the stripe cannot be taken");
  const char *wrong = read_changed(before, call, change, &repaired);
  if (!wrong && *outcome == SAW_NEW && repaired == SAW_OLD) wrong = "a value was un-read";
  *outcome = repaired;
  *now = *before;
  if (wrong == NULL && repaired == SAW_NEW) now->items[change->target] = change->after;
  for (uint32_t i = 0; i < route.count && i < before->replicas && !wrong; i++)
    for (uint32_t k = 0; k < now->key_count && !wrong; k++)
      if (now->items[k].present || k <= change->target)
        wrong = replica_holds(now, call, route.nodes[i], k);
  dsm_stripe_drop(call, before->stripe, &route);
  return wrong;
}

static void tell(void *context, const dsm_fault *problem) {
  (void)context;
  fprintf(stderr, "  check: %s, node %d stripe %lld (%llx, %llx)\n", problem->what, problem->node,
          (long long)problem->stripe, (unsigned long long)problem->left,
          (unsigned long long)problem->right);
}

static const char *check_clean(dsm_call *call) {
  dsm_check_report report;
  dsm_status status = dsm_check(call, false, tell, NULL, &report);
  if (status != DSM_OK) return status_text(call, status, "check did not run");
  return report.problems ? "check found problems" : NULL;
}

static const char *length_is(const world *now, dsm_call *call) {
  uint64_t length, expected = 0;
  for (uint32_t i = 0; i < now->key_count; i++) expected += now->items[i].present;
  dsm_status status = dsm_region_length(call, now->region, &length);
  if (status != DSM_OK) return status_text(call, status, "length cannot be read");
  return length == expected ? NULL : "the region has another length";
}

/* Puts over the changed key and next to it, then deletes every key. */
static const char *work_on(world *now, dsm_call *call, const change *last) {
  change next = {CHANGE_PUT, last->target, {true, false, 200, 77}};
  for (int round = 0; round < 2; round++) {
    dsm_status status = world_change(now, call, &next);
    if (status != DSM_OK) return status_text(call, status, "a further put failed");
    now->items[next.target] = next.after;
    next = (change){CHANGE_ADD, now->key_count - 1, {true, true, 8, 5}};
    next.kind = round == 0 ? CHANGE_ADD : next.kind;
  }
  TRY(read_all(now, call));
  TRY(length_is(now, call));
  for (uint32_t i = 0; i < now->key_count; i++) {
    if (!now->items[i].present) continue;
    change gone = {.kind = CHANGE_DELETE, .target = i};
    dsm_status status = world_change(now, call, &gone);
    if (status != DSM_OK) return status_text(call, status, "a further delete failed");
    now->items[i].present = false;
  }
  return length_is(now, call);
}

static const char *nothing_leaked(dsm_call *call) {
  for (uint32_t node = 0; node < call->space->node_count; node++) {
    dsm_arena_usage usage;
    dsm_status status = dsm_arena_usage_read(call, node, &usage);
    if (status != DSM_OK) return status_text(call, status, "usage cannot be read");
    uint64_t used = usage.total_pages - usage.free_pages - usage.unbacked_pages;
    /* One spare slab page per stripe may stay with its sub. */
    if (usage.limbo_pages || used > call->space->stripe_count) {
      fprintf(stderr, "  node %u: %llu pages in use, %llu in limbo\n", node,
              (unsigned long long)used, (unsigned long long)usage.limbo_pages);
      return "pages leaked";
    }
  }
  return NULL;
}

static const char *retire(dsm_call *call, uint32_t dead) {
  bool retired;
  if (dead == DSM_NOBODY) return NULL;
  dsm_status status = dsm_registry_retire(call, dead, &retired);
  if (status != DSM_OK) return status_text(call, status, "the dead cannot be retired");
  if (dsm_pin_count(call->space, dead)) return "pins of the dead are still there";
  return retired ? NULL : "the dead was not retired";
}

static const char *verify(dsm_call *call, const world *before, const change *change, uint32_t dead,
                          survivor_outcome *outcome) {
  world now;
  TRY(read_changed(before, call, change, outcome));
  if (dead % 2) TRY(retire(call, dead)); /* before or after the repair by the next taker */
  TRY(take_and_compare(before, change, call, outcome, &now));
  if (dead % 2 == 0) TRY(retire(call, dead));
  TRY(read_all(&now, call));
  TRY(length_is(&now, call));
  TRY(check_clean(call));
  TRY(work_on(&now, call, change));
  TRY(check_clean(call));
  return nothing_leaked(call);
}

const char *survivor_verify(const char *cluster, const world *before, const change *change,
                            uint32_t dead, survivor_outcome *outcome) {
  dsm_cluster *self;
  dsm_fault fault;
  dsm_status status = dsm_cluster_attach(cluster, -1, &self, &fault);
  if (status != DSM_OK) {
    fprintf(stderr, "  attach: %s %s\n", dsm_status_name(status), fault.what ? fault.what : "-");
    return "a survivor cannot attach";
  }
  dsm_call call = dsm_call_make(&self->space, 1000);
  const char *wrong = verify(&call, before, change, dead, outcome);
  dsm_cluster_drop(self);
  return wrong;
}
