/* The walk over stripes and arenas. */
#include "check.h"

#include <stdlib.h>

#include "audit.h"
#include "heal.h"
#include "region_record.h"
#include "stripe.h"

static dsm_status check_stripe(dsm_audit *audit, uint32_t stripe) {
  audit->stripe = stripe;
  dsm_status status = dsm_stripe_take(audit->call, stripe, &audit->route);
  if (status == DSM_CORRUPT) {
    dsm_audit_fault(audit);
    return DSM_OK;
  }
  DSM_TRY(status);
  uint32_t unsound;
  audit->report->stripes++;
  uint64_t objects = audit->report->objects, value_bytes = audit->report->value_bytes;
  if (!dsm_audit_stripe(audit, &unsound) && audit->repair) {
    /* Once more: what the mending moved must be claimed, and the counts must be the new ones. */
    audit->report->objects = objects;
    audit->report->value_bytes = value_bytes;
    dsm_audit_mended(audit, unsound);
  }
  dsm_stripe_drop(audit->call, stripe, &audit->route);
  return DSM_OK;
}

/* Runs in use that no sub claimed. They may have changed hands since, so each is looked at again.
 */
typedef struct suspects {
  dsm_audit *audit;
  unsigned node;
  uint64_t *pages;
  uint32_t *stripes;
  uint64_t count, room;
  bool out_of_memory;
} suspects;

static void suspect(void *context, uint64_t page, const dsm_run *run) {
  suspects *self = context;
  if (run->kind < DSM_RUN_SLAB || run->kind > DSM_RUN_COLD ||
      dsm_audit_claimed(self->audit, self->node, page))
    return;
  if (self->count == self->room) {
    uint64_t room = self->room ? self->room * 2 : 64;
    uint64_t *pages = realloc(self->pages, room * sizeof *pages);
    if (pages) self->pages = pages;
    uint32_t *stripes = realloc(self->stripes, room * sizeof *stripes);
    if (stripes) self->stripes = stripes;
    self->out_of_memory |= !pages || !stripes;
    if (!pages || !stripes) return;
    self->room = room;
  }
  self->pages[self->count] = page;
  self->stripes[self->count++] = run->stripe;
}

static dsm_status check_suspect(dsm_audit *audit, unsigned node, uint64_t page, uint32_t stripe) {
  audit->stripe = stripe;
  if (stripe >= audit->call->space->stripe_count) {
    dsm_audit_problem(audit, "run belongs to no stripe", node, page, stripe);
    return DSM_OK;
  }
  dsm_status status = dsm_stripe_take(audit->call, stripe, &audit->route);
  if (status == DSM_CORRUPT) return DSM_OK; /* reported by the walk over the stripes */
  DSM_TRY(status);
  dsm_check_tell *tell = audit->tell;
  dsm_check_report before = *audit->report;
  uint32_t unsound;
  audit->tell = NULL;
  dsm_audit_stripe(audit, &unsound);
  audit->tell = tell;
  *audit->report = before;
  dsm_run run;
  if (!dsm_audit_claimed(audit, node, page) &&
      dsm_arena_look(audit->call, node, page, &run) == DSM_OK && run.stripe == stripe &&
      run.kind >= DSM_RUN_SLAB && run.kind <= DSM_RUN_COLD) {
    dsm_audit_problem(audit, "run is in use but nothing refers to it", node, page, run.pages);
    if (audit->repair && dsm_mend_leak(audit, node, page))
      dsm_audit_repaired(audit, "unclaimed memory was given back", (int)node, stripe);
  }
  dsm_stripe_drop(audit->call, stripe, &audit->route);
  return DSM_OK;
}

static dsm_status check_node(dsm_audit *audit, unsigned node) {
  suspects found = {.audit = audit, .node = node};
  audit->stripe = 0;
  dsm_status status = DSM_OK;
  bool broken = false;
  if (dsm_os_segment_truncated(&audit->call->space->nodes[node])) {
    dsm_audit_problem(audit, "segment was truncated", node, 0, 0);
    broken = true;
  } else {
    status = dsm_arena_valid(audit->call, node, suspect, &found);
    if (status == DSM_CORRUPT) {
      dsm_audit_fault(audit);
      status = DSM_OK;
      broken = true;
      if (audit->repair && dsm_arena_rebuild(audit->call, node) == DSM_OK) {
        dsm_audit_repaired(audit, "lists and counters of the arena were made anew", (int)node, -1);
        found.count = 0;
        status = dsm_arena_valid(audit->call, node, suspect, &found);
        broken = status == DSM_CORRUPT;
        if (broken) status = DSM_OK;
      }
    }
  }
  if (broken) {
    audit->report->broken++;
    dsm_heal_ask_arenas(audit->call->space);
  }
  for (uint64_t i = 0; i < found.count && status == DSM_OK; i++)
    status = check_suspect(audit, node, found.pages[i], found.stripes[i]);
  if (found.out_of_memory && status == DSM_OK) status = DSM_OS;
  free(found.pages);
  free(found.stripes);
  return status;
}

static dsm_status check_regions(dsm_audit *audit) {
  uint64_t count;
  if (dsm_region_count(audit->call, &count) != DSM_OK) dsm_audit_fault(audit);
  return DSM_OK;
}

dsm_status dsm_check(dsm_call *call, bool repair, dsm_check_tell *tell, void *context,
                     dsm_check_report *report) {
  dsm_space *space = call->space;
  dsm_audit *audit = calloc(1, sizeof *audit);
  *report = (dsm_check_report){0};
  if (!audit) return DSM_OS;
  audit->call = call;
  audit->tell = tell;
  audit->context = context;
  audit->report = report;
  audit->repair = repair;
  dsm_status status = check_regions(audit);
  for (uint32_t node = 0; node < space->node_count && status == DSM_OK; node++) {
    if (!dsm_space_present(space, node)) continue;
    audit->claimed[node] = calloc(space->layout.page_count / 64 + 1, 8);
    if (!audit->claimed[node]) status = DSM_OS;
  }
  for (uint32_t stripe = 0; stripe < space->stripe_count && status == DSM_OK; stripe++)
    status = check_stripe(audit, stripe);
  for (uint32_t node = 0; node < space->node_count && status == DSM_OK; node++)
    if (audit->claimed[node] && dsm_space_present(space, node)) status = check_node(audit, node);
  for (uint32_t node = 0; node < space->node_count; node++) free(audit->claimed[node]);
  free(audit->extents);
  free(audit);
  return status;
}
