/* Making, adding, draining and removing nodes. */
#define _GNU_SOURCE
#include "birth.h"

#include "../base/copy.h"
#include "../base/crash.h"
#include "../mem/arena.h"
#include "../mem/headers.h"
#include "../mem/lock.h"
#include "../mem/mailbox.h"
#include "../mem/pin.h"
#include "../store/route.h"
#include "../store/stripe.h"
#include "event.h"
#include "report.h"

static dsm_status store_full(dsm_call *call, dsm_status status, unsigned node, uint64_t bytes) {
  return status == DSM_STORE_FULL
             ? dsm_fail(call, status, "no room for the node's tables", (int)node, -1, bytes, 0)
             : status;
}

static dsm_status fill(dsm_call *call, unsigned node, uint32_t build) {
  const dsm_space *space = call->space;
  dsm_node_shm *header = dsm_space_node(space, node);
  header->layout_version = DSM_LAYOUT_VERSION;
  header->node = node;
  header->config = space->config;
  header->config_check = dsm_config_checksum(&header->config);
  header->build = dsm_headers_build(build);
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
    dsm_stripe_init(call->space, node, stripe);
    /* A copy, sealed like the original, so that the control segment is no single point (I-7). */
    dsm_store_relaxed_u64(dsm_space_node_route(space, node, stripe),
                          dsm_load_relaxed_u64(dsm_space_route(space, stripe)));
  }
  for (uint32_t region = 0; region < DSM_REGIONS_MAX; region++)
    dsm_copy_in(dsm_space_node_region(space, node, region), dsm_space_region(space, region),
                sizeof(dsm_region_shm));
  dsm_nodes_copy(space, node);
  DSM_TRY(store_full(call, dsm_arena_init(call, node), node, DSM_PAGE_BYTES));
  header->magic = DSM_NODE_MAGIC;
  return DSM_OK;
}

dsm_status dsm_node_make(dsm_call *call, unsigned node, uint32_t build) {
  dsm_space *space = call->space;
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_segment_name(name, space->config.name, (int)node);
  DSM_TRY(dsm_os_segment_create(name, space->layout.node_bytes, &space->nodes[node]));
  space->builds[node] = build;
  DSM_CRASH_POINT("create.node");
  dsm_status status = dsm_os_segment_back(&space->nodes[node], 0, space->layout.pages);
  DSM_TRY(store_full(call, status, node, space->layout.pages));
  return fill(call, node, build);
}

/* Memory for the mailbox, and nothing in it: the id may have had a node before. */
static dsm_status make_mailbox(dsm_call *call, unsigned node) {
  dsm_space *space = call->space;
  dsm_mailbox_shm *box = &dsm_space_mailboxes(space)->nodes[node];
  uint64_t offset = (uint64_t)((const uint8_t *)box - space->control.base);
  DSM_TRY(store_full(call, dsm_os_segment_back(&space->control, offset, sizeof *box), node,
                     sizeof *box));
  dsm_mailbox_reset(box);
  return DSM_OK;
}

static dsm_status find_free(dsm_call *call, unsigned *node, dsm_node_entry *entry) {
  for (*node = 0; *node < DSM_NODES_MAX; ++*node) {
    DSM_TRY(dsm_nodes_read(call, *node, entry));
    if (entry->state == DSM_NODE_FREE && entry->build < DSM_NODE_BUILDS_MAX) return DSM_OK;
  }
  return dsm_fail(call, DSM_TOO_MANY, "nodes of a cluster", -1, -1, DSM_NODES_MAX, 0);
}

/* The id's next segment, made whole before the table names it by `entry`. In a space of its own:
 * threads of ours may still look at the former one. It is held until our mappings have followed, so
 * that no sweep finds it without a holder. */
static dsm_status bring_next(dsm_call *call, unsigned node, const dsm_node_entry *entry,
                             bool *named) {
  dsm_space *space = call->space;
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_segment_name(name, space->config.name, (int)node);
  dsm_os_segment_unlink(name); /* of the former one, or of what a killed call has left */
  DSM_CRASH_POINT("birth.unlinked");
  dsm_space draft = *space;
  draft.nodes[node] = (dsm_os_segment){.handle = -1};
  dsm_call making = dsm_call_make(&draft, call->wait_ms);
  dsm_status status = dsm_node_make(&making, node, entry->build);
  DSM_CRASH_POINT("birth.made");
  *named = status == DSM_OK;
  if (*named) {
    for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++)
      dsm_strays_remove(space, stripe, 1ull << node);
    dsm_nodes_write(space, node, entry);
    DSM_CRASH_POINT("birth.named");
    status = dsm_nodes_follow(call);
    if (dsm_space_present(space, node)) dsm_nodes_copy(space, node);
  } else {
    call->fault = making.fault;
    if (draft.nodes[node].base) dsm_os_segment_unlink_own(name, &draft.nodes[node]);
  }
  dsm_os_segment_close(&draft.nodes[node]);
  return status;
}

static dsm_status add_locked(dsm_call *call, uint32_t weight, bool lent, unsigned *node) {
  dsm_node_entry entry;
  bool named;
  dsm_nodes_catch_up(call);
  DSM_TRY(find_free(call, node, &entry));
  DSM_TRY(make_mailbox(call, *node));
  dsm_participant_shm *slot = dsm_space_participant(call->space, 1 + *node);
  dsm_store_relaxed_u64(&slot->died_ns, 0);
  dsm_store_relaxed_u32(&slot->ready, 0); /* of a former node of this id */
  entry = (dsm_node_entry){DSM_NODE_UP, weight, entry.build + 1, lent};
  return bring_next(call, *node, &entry, &named);
}

static dsm_status check_weight(dsm_call *call, uint32_t weight) {
  if (weight >= 1 && weight <= DSM_NODE_WEIGHT_MAX) return DSM_OK;
  return dsm_fail(call, DSM_USAGE, "weight of a node", -1, -1, weight, DSM_NODE_WEIGHT_MAX);
}

static dsm_status add(dsm_call *call, uint32_t weight, bool lent, unsigned *node) {
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = add_locked(call, weight, lent, node);
  dsm_registry_drop(call);
  return status;
}

dsm_status dsm_node_add(dsm_call *call, uint32_t weight, unsigned *node) {
  DSM_TRY(check_weight(call, weight));
  return add(call, weight, false, node);
}

dsm_status dsm_node_lend(dsm_call *call, unsigned *node) {
  return add(call, DSM_NODE_WEIGHT_ONE, true, node);
}

static dsm_status no_such_node(dsm_call *call, unsigned node) {
  return dsm_fail(call, DSM_USAGE, "there is no such node", (int)node, -1, 0, 0);
}

static dsm_status read_entry(dsm_call *call, unsigned node, dsm_node_entry *entry) {
  if (node >= DSM_NODES_MAX) return no_such_node(call, node);
  dsm_nodes_catch_up(call);
  return dsm_nodes_read(call, node, entry);
}

/* Nodes on the ring. */
static dsm_status count_up(dsm_call *call, uint32_t *count) {
  *count = 0;
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    DSM_TRY(dsm_nodes_read(call, node, &entry));
    *count += entry.state == DSM_NODE_UP;
  }
  return DSM_OK;
}

static dsm_status drain_locked(dsm_call *call, unsigned node) {
  dsm_node_entry entry;
  uint32_t up;
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state == DSM_NODE_DRAINING || entry.state == DSM_NODE_LEAVING) return DSM_OK;
  if (entry.state != DSM_NODE_UP) return no_such_node(call, node);
  DSM_TRY(count_up(call, &up));
  if (up <= call->space->replicas)
    return dsm_fail(call, DSM_USAGE, "too few nodes would be left", (int)node, -1, up - 1,
                    call->space->replicas);
  entry.state = DSM_NODE_DRAINING;
  dsm_nodes_write(call->space, node, &entry);
  return DSM_OK;
}

static dsm_status return_locked(dsm_call *call, unsigned node) {
  dsm_node_entry entry;
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state != DSM_NODE_UP || !entry.lent) return DSM_OK;
  dsm_status status = drain_locked(call, node);
  if (status == DSM_USAGE) {
    entry.lent = false;
    dsm_nodes_write(call->space, node, &entry);
  }
  return status;
}

static dsm_status drain(dsm_call *call, unsigned node,
                        dsm_status (*locked)(dsm_call *call, unsigned node)) {
  DSM_TRY(dsm_registry_take(call));
  uint64_t epoch = dsm_load_relaxed_u64(&dsm_space_control(call->space)->epoch);
  dsm_status status = locked(call, node);
  bool begun = dsm_load_relaxed_u64(&dsm_space_control(call->space)->epoch) != epoch;
  dsm_registry_drop(call);
  if (status == DSM_OK && begun) {
    dsm_event event = {
        .kind = DSM_EVENT_DRAINING, .node = (int32_t)node, .status = DSM_STATUS_UNKNOWN};
    dsm_event_post(call, &event); /* told or not, it drains */
  }
  return status;
}

dsm_status dsm_node_drain(dsm_call *call, unsigned node) {
  return drain(call, node, drain_locked);
}

dsm_status dsm_node_return(dsm_call *call, unsigned node) {
  return drain(call, node, return_locked);
}

static dsm_status weigh_locked(dsm_call *call, unsigned node, uint32_t weight) {
  dsm_node_entry entry;
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state != DSM_NODE_UP) return no_such_node(call, node);
  if (entry.weight == weight) return DSM_OK;
  entry.weight = weight;
  dsm_nodes_write(call->space, node, &entry);
  return DSM_OK;
}

dsm_status dsm_node_weigh(dsm_call *call, unsigned node, uint32_t weight) {
  DSM_TRY(check_weight(call, weight));
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = weigh_locked(call, node, weight);
  dsm_registry_drop(call);
  return status;
}

/* Every stripe's lock once: who moves a stripe looks, under its lock, whether the nodes that it
 * will name are on the ring, so what does not name a draining node now never will. */
static dsm_status unnamed(dsm_call *call, unsigned node) {
  for (uint32_t stripe = 0; stripe < call->space->stripe_count; stripe++) {
    dsm_route route;
    DSM_TRY(dsm_stripe_take(call, stripe, &route));
    dsm_stripe_drop(call, stripe, &route);
    if (dsm_route_names(&route, node))
      return dsm_fail(call, DSM_RETRY, "a route still names the node", (int)node, stripe,
                      route.word, 0);
  }
  return DSM_OK;
}

static dsm_status leave_locked(dsm_call *call, unsigned node) {
  dsm_node_entry entry;
  bool must_repair;
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state == DSM_NODE_LEAVING) return DSM_OK;
  if (entry.state != DSM_NODE_DRAINING) return no_such_node(call, node);
  /* Nobody works in its arena, and nothing is left to finish there. */
  DSM_TRY(dsm_arena_repair(call, node));
  dsm_lock_shm *lock = dsm_space_node_lock(call->space, node);
  DSM_TRY(dsm_lock_take(call, lock, &must_repair));
  if (!must_repair) {
    entry.state = DSM_NODE_LEAVING;
    dsm_nodes_write(call->space, node, &entry);
  }
  dsm_lock_drop(lock);
  return must_repair ? DSM_RETRY : DSM_OK;
}

dsm_status dsm_node_leave(dsm_call *call, unsigned node) {
  dsm_node_entry entry;
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state != DSM_NODE_DRAINING && entry.state != DSM_NODE_LEAVING)
    return no_such_node(call, node);
  DSM_TRY(unnamed(call, node));
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = leave_locked(call, node);
  dsm_registry_drop(call);
  return status;
}

/* Long-lived processes keep the mapping: what nobody looks at goes back to the kernel now. */
static void give_memory_back(dsm_call *call, unsigned node) {
  const dsm_space *space = call->space;
  dsm_run run;
  for (uint64_t page = space->layout.data_page; page < space->layout.page_count;
       page += run.pages) {
    if (dsm_run_read(call, node, page, &run) != DSM_OK || run.kind == DSM_RUN_TAIL) {
      /* Where the runs are is not known from here on, so it is all or nothing. */
      if (!dsm_pin_holds_any(space, node))
        dsm_os_segment_discard(&space->nodes[node], page * DSM_ARENA_PAGE_BYTES,
                               (space->layout.page_count - page) * DSM_ARENA_PAGE_BYTES);
      return;
    }
    bool values = run.kind == DSM_RUN_VALUE || run.kind == DSM_RUN_LIMBO;
    if (run.kind != DSM_RUN_UNBACKED && !(values && dsm_pin_holds(space, node, page)))
      dsm_os_segment_discard(&space->nodes[node], page * DSM_ARENA_PAGE_BYTES,
                             run.pages * DSM_ARENA_PAGE_BYTES);
  }
}

static bool has_process(const dsm_space *space, unsigned node) {
  const dsm_participant_shm *slot = dsm_space_participant(space, 1 + node);
  uint32_t kind = dsm_load_acquire_u32(&slot->kind);
  dsm_os_process process = {.pid = dsm_load_relaxed_u32(&slot->pid),
                            .start_ticks = dsm_load_relaxed_u64(&slot->start_ticks)};
  return kind == DSM_PARTICIPANT_NODE && dsm_os_process_alive(&process);
}

static dsm_status remove_locked(dsm_call *call, unsigned node) {
  dsm_space *space = call->space;
  dsm_node_entry entry;
  char name[DSM_SEGMENT_NAME_BYTES];
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state == DSM_NODE_FREE) return DSM_OK;
  if (entry.state != DSM_NODE_LEAVING) return no_such_node(call, node);
  if (has_process(space, node))
    return dsm_fail(call, DSM_RETRY, "the node's process is alive", (int)node, -1, 0, 0);
  /* Its runs may be what writers keep for the checkpoint. */
  if (dsm_load_acquire_u64(&dsm_space_control(space)->cut))
    return dsm_fail(call, DSM_RETRY, "a checkpoint is being taken", (int)node, -1, 0, 0);
  dsm_segment_name(name, space->config.name, (int)node);
  dsm_os_segment_unlink(name);
  DSM_CRASH_POINT("remove.unlinked");
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++)
    dsm_strays_remove(space, stripe, 1ull << node);
  if (space->nodes[node].base && space->builds[node] == entry.build) give_memory_back(call, node);
  dsm_report_left(call, node, entry.build); /* told or not, it goes */
  entry.state = DSM_NODE_FREE;
  entry.weight = 0;
  entry.lent = false;
  dsm_nodes_write(space, node, &entry);
  return DSM_OK;
}

dsm_status dsm_node_remove(dsm_call *call, unsigned node) {
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = remove_locked(call, node);
  dsm_registry_drop(call);
  return status;
}

/* Nobody is in the arena, and what was begun there is of no use any more. */
static dsm_status clear_arena(dsm_call *call, unsigned node) {
  bool must_repair;
  dsm_lock_shm *lock = dsm_space_node_lock(call->space, node);
  DSM_TRY(dsm_lock_take_any(call, lock, &must_repair));
  dsm_intent_give_up(dsm_space_arena_intent(call->space, node));
  return DSM_OK;
}

/* Who still looks at the old segment is behind in its epoch, so that no lock is needed. */
void dsm_node_give_back(dsm_call *call, unsigned node, const dsm_os_segment *old) {
  dsm_space draft = *call->space;
  dsm_call own = dsm_call_make(&draft, call->wait_ms);
  if (!old->base || dsm_os_segment_truncated(old)) return;
  draft.nodes[node] = *old;
  give_memory_back(&own, node);
  DSM_CRASH_POINT("replace.given");
}

static dsm_status replace_locked(dsm_call *call, unsigned node, dsm_os_segment *old) {
  dsm_space *space = call->space;
  dsm_lock_shm *lock = dsm_space_node_lock(space, node);
  dsm_node_entry entry;
  bool named;
  DSM_TRY(read_entry(call, node, &entry));
  if (entry.state != DSM_NODE_UP || entry.build >= DSM_NODE_BUILDS_MAX)
    return no_such_node(call, node);
  if (dsm_load_acquire_u64(&dsm_space_control(space)->cut))
    return dsm_fail(call, DSM_RETRY, "a checkpoint is being taken", (int)node, -1, 0, 0);
  DSM_TRY(clear_arena(call, node));
  entry.build++;
  *old = space->nodes[node];
  dsm_status status = bring_next(call, node, &entry, &named);
  if (named) {
    dsm_store_release_u32(&lock->quarantined, 0);
    dsm_lock_repaired(lock, DSM_OK);
    DSM_CRASH_POINT("replace.repaired");
  }
  dsm_lock_drop(lock);
  return status;
}

dsm_status dsm_node_replace(dsm_call *call, unsigned node, dsm_os_segment *old) {
  DSM_TRY(unnamed(call, node));
  DSM_TRY(dsm_registry_take(call));
  dsm_status status = replace_locked(call, node, old);
  dsm_registry_drop(call);
  return status;
}
