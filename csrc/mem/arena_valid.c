/* Walking an arena: every run from the first page on, and what must agree with them. */
#include "arena.h"
#include "run.h"

dsm_status dsm_arena_valid(dsm_call *call, unsigned node,
                           void (*visit)(void *context, uint64_t page, const dsm_run *run),
                           void *context) {
  DSM_TRY(dsm__arena_lock(call, node));
  const dsm_layout *layout = &call->space->layout;
  dsm_arena_usage usage, seen = {0};
  dsm_status status = dsm_arena_usage_read(call, node, &usage);
  dsm_run run = {.kind = DSM_RUN_NONE};
  for (uint64_t page = layout->data_page; status == DSM_OK && page < layout->page_count;
       page += run.pages) {
    status = dsm_run_read(call, node, page, &run);
    if (status == DSM_OK && run.kind == DSM_RUN_TAIL)
      status = dsm_fail(call, DSM_CORRUPT, "run begins with a tail", (int)node, -1, page, 0);
    if (status != DSM_OK) break;
    if (run.pages > 1) {
      dsm_run tail;
      status = dsm_run_read(call, node, page + run.pages - 1, &tail);
      if (status == DSM_OK && (tail.kind != DSM_RUN_TAIL || tail.pages != run.pages))
        status = dsm_fail(call, DSM_CORRUPT, "head and tail differ", (int)node, -1, run.pages,
                          tail.pages);
      if (status != DSM_OK) break;
    }
    if (run.kind == DSM_RUN_FREE) seen.free_pages += run.pages;
    if (run.kind == DSM_RUN_UNBACKED) seen.unbacked_pages += run.pages;
    if (run.kind == DSM_RUN_LIMBO) seen.limbo_pages += run.pages;
    if (visit) visit(context, page, &run);
  }
  if (status == DSM_OK &&
      (seen.free_pages != usage.free_pages || seen.unbacked_pages != usage.unbacked_pages ||
       seen.limbo_pages != usage.limbo_pages))
    status = dsm_fail(call, DSM_CORRUPT, "page counters differ from the map", (int)node, -1,
                      seen.free_pages, usage.free_pages);
  dsm__arena_unlock(call, node);
  return status;
}
