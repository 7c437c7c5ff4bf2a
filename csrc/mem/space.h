/* The mapped segments of one cluster in one process, and what a call carries through the layers.
 *
 * A dsm_space is filled by node/cluster.c and read by everything below it. While calls run only
 * mem/nodes.c changes it, as nodes come and go; see there why no call is misled. A dsm_call belongs
 * to one thread and lives for one operation: how long it may wait, and, after a failure, the two
 * sides of the broken relation for the message.
 */
#ifndef DSM_MEM_SPACE_H
#define DSM_MEM_SPACE_H

#include "../base/check.h"
#include "layout.h"
#include "mailbox.h"

#define DSM_NOBODY UINT32_MAX

typedef struct dsm_space {
  union { /* numbered as in locators: 0 is the control segment, 1 + n that of node n */
    dsm_os_segment segments[1 + DSM_NODES_MAX];
    struct {
      dsm_os_segment control;
      dsm_os_segment nodes[DSM_NODES_MAX];
    };
  };
  dsm_layout layout;
  uint64_t hash_seed;
  uint32_t stripe_count;
  uint32_t stripe_shift; /* a hash shifted right by this is its stripe; 64 - log2(stripes) */
  uint32_t node_count;   /* one more than the highest node id that was ever mapped here */
  uint32_t replicas;
  uint32_t participant;         /* our index, or DSM_NOBODY */
  dsm_atomic_u64 epoch;         /* of the node table that the mappings follow (mem/nodes.h) */
  dsm_atomic_u64 nodes_present; /* bit per node of that table whose segment is mapped */
  dsm_atomic_u32 following;     /* 1: a thread changes the mappings */
  uint32_t parted_count;
  uint32_t builds[DSM_NODES_MAX]; /* of the segments in `nodes` */
  /* Copied once it was verified: what is damaged in the segments afterwards misleads nobody. */
  dsm_config_shm config;
  dsm_os_segment *parted; /* segments whose node is gone or has another; mapped until the close */
} dsm_space;

_Static_assert(offsetof(dsm_space, nodes) == offsetof(dsm_space, segments[1]), "no gap between");

typedef struct dsm_fault {
  const char *what; /* static text: which relation is broken */
  int32_t node;     /* or -1 */
  int64_t stripe;   /* or -1 */
  uint64_t left, right;
  dsm_os_process process; /* whom we waited for, if pid is not 0 */
  bool mended;            /* told by a check: not what is wrong, but what was put right */
} dsm_fault;

typedef struct dsm_call {
  dsm_space *space;
  uint32_t wait_ms; /* how long a lock may be waited for; 0: a brief spin only */
  bool prefetched;  /* the caller has asked for the lines of this change (store/prefetch.h) */
  dsm_fault fault;
} dsm_call;

static inline dsm_call dsm_call_make(dsm_space *space, uint32_t wait_ms) {
  return (dsm_call){.space = space, .wait_ms = wait_ms, .fault = {.node = -1, .stripe = -1}};
}

/* Notes why a call fails and returns the status, for `return dsm_fail(...)`. */
static inline dsm_status dsm_fail(dsm_call *call, dsm_status status, const char *what, int node,
                                  int64_t stripe, uint64_t left, uint64_t right) {
  call->fault =
      (dsm_fault){.what = what, .node = node, .stripe = stripe, .left = left, .right = right};
  return status;
}

static inline dsm_control_shm *dsm_space_control(const dsm_space *space) {
  return (dsm_control_shm *)(void *)space->control.base;
}

static inline dsm_node_shm *dsm_space_node(const dsm_space *space, unsigned node) {
  return (dsm_node_shm *)(void *)space->nodes[node].base;
}

static inline dsm_node_table_shm *dsm_space_node_table(const dsm_space *space) {
  return (dsm_node_table_shm *)(void *)(space->control.base + space->layout.node_table);
}

/* True if routes may name the node: it is in the table that we follow, and mapped. */
static inline bool dsm_space_present(const dsm_space *space, unsigned node) {
  return dsm_load_relaxed_u64(&space->nodes_present) >> node & 1;
}

/* The epoch that a read begins in; it is compared when the read is validated. */
static inline uint64_t dsm_space_epoch(const dsm_space *space) {
  return dsm_load_acquire_u64(&space->epoch);
}

/* True while the mappings that were used since `epoch` was read are those of all routes. */
static inline bool dsm_space_current(const dsm_space *space, uint64_t epoch) {
  return dsm_load_relaxed_u64(&dsm_space_control(space)->epoch) == epoch;
}

static inline dsm_atomic_u64 *dsm_space_strays(const dsm_space *space, uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.strays) + stripe;
}

static inline dsm_balance_shm *dsm_space_balance(const dsm_space *space) {
  return (dsm_balance_shm *)(void *)(space->control.base + space->layout.balance);
}

static inline dsm_atomic_u64 *dsm_space_target(const dsm_space *space, uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.targets) + stripe;
}

static inline dsm_node_table_shm *dsm_space_node_table_copy(const dsm_space *space, unsigned node) {
  return (dsm_node_table_shm *)(void *)(space->nodes[node].base + space->layout.node_table_copy);
}

static inline dsm_atomic_u64 *dsm_space_route(const dsm_space *space, uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.routes) + stripe;
}

static inline dsm_lock_shm *dsm_space_lock(const dsm_space *space, uint32_t stripe) {
  return (dsm_lock_shm *)(void *)(space->control.base + space->layout.locks) + stripe;
}

static inline dsm_lock_shm *dsm_space_node_lock(const dsm_space *space, unsigned node) {
  return (dsm_lock_shm *)(void *)(space->control.base + space->layout.node_locks) + node;
}

static inline dsm_intent_shm *dsm_space_intent(const dsm_space *space, uint32_t stripe) {
  return (dsm_intent_shm *)(void *)(space->control.base + space->layout.intents) + stripe;
}

static inline dsm_intent_shm *dsm_space_arena_intent(const dsm_space *space, unsigned node) {
  return (dsm_intent_shm *)(void *)(space->control.base + space->layout.arena_intents) + node;
}

static inline dsm_decision_shm *dsm_space_decision(const dsm_space *space, uint32_t index) {
  return (dsm_decision_shm *)(void *)(space->control.base + space->layout.decisions) + index;
}

static inline dsm_hold_shm *dsm_space_holds(const dsm_space *space, uint32_t decision) {
  return (dsm_hold_shm *)(void *)(space->control.base + space->layout.holds) +
         (uint64_t)decision * DSM_HOLDS_MAX;
}

static inline dsm_intent_entry_shm *dsm_space_decision_log(const dsm_space *space,
                                                           uint32_t decision) {
  return (dsm_intent_entry_shm *)(void *)(space->control.base + space->layout.decision_logs) +
         (uint64_t)decision * DSM_HOLDS_MAX * DSM_HOLD_ENTRIES;
}

static inline dsm_atomic_u32 *dsm_space_bell(const dsm_space *space, uint32_t stripe) {
  return (dsm_atomic_u32 *)(void *)(space->control.base + space->layout.bells) + stripe;
}

static inline dsm_recovery_shm *dsm_space_recovery(const dsm_space *space) {
  return (dsm_recovery_shm *)(void *)(space->control.base + space->layout.recovery);
}

/* How many objects of the stripe were lost with their keys; sealed, or 0 for none. */
static inline dsm_atomic_u64 *dsm_space_losses(const dsm_space *space, uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.losses) + stripe;
}

static inline dsm_events_shm *dsm_space_events(const dsm_space *space) {
  return (dsm_events_shm *)(void *)(space->control.base + space->layout.events);
}

static inline dsm_participant_shm *dsm_space_participant(const dsm_space *space, uint32_t index) {
  return (dsm_participant_shm *)(void *)(space->control.base + space->layout.participants) + index;
}

static inline dsm_region_shm *dsm_space_region(const dsm_space *space, uint32_t index) {
  return (dsm_region_shm *)(void *)(space->control.base + space->layout.regions) + index;
}

static inline dsm_array_directory_shm *dsm_space_arrays(const dsm_space *space) {
  return (dsm_array_directory_shm *)(void *)(space->control.base + space->layout.arrays);
}

static inline dsm_sync_shm *dsm_space_sync(const dsm_space *space, uint32_t index) {
  return (dsm_sync_shm *)(void *)(space->control.base + space->layout.syncs) + index;
}

static inline dsm_atomic_u64 *dsm_space_region_count(const dsm_space *space, uint32_t region,
                                                     uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.region_counts) +
         (uint64_t)region * space->stripe_count + stripe;
}

static inline dsm_atomic_u64 *dsm_space_pins(const dsm_space *space, uint32_t participant) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.pins) +
         (uint64_t)participant * DSM_PINS_MAX;
}

static inline dsm_mailboxes_shm *dsm_space_mailboxes(const dsm_space *space) {
  return (dsm_mailboxes_shm *)(void *)(space->control.base + space->layout.mailboxes);
}

static inline dsm_cut_shm *dsm_space_cut(const dsm_space *space) {
  return (dsm_cut_shm *)(void *)(space->control.base + space->layout.cut);
}

static inline dsm_cut_stripe_shm *dsm_space_cut_stripe(const dsm_space *space, uint32_t stripe) {
  return (dsm_cut_stripe_shm *)(void *)(space->control.base + space->layout.cut_stripes) + stripe;
}

static inline dsm_atomic_u64 *dsm_space_cut_pins(const dsm_space *space) {
  return (dsm_atomic_u64 *)(void *)(space->control.base + space->layout.cut_pins);
}

static inline dsm_sub_shm *dsm_space_sub(const dsm_space *space, unsigned node, uint32_t stripe) {
  return (dsm_sub_shm *)(void *)(space->nodes[node].base + space->layout.subs) + stripe;
}

static inline dsm_page_shm *dsm_space_page(const dsm_space *space, unsigned node, uint64_t page) {
  return (dsm_page_shm *)(void *)(space->nodes[node].base + space->layout.pages) + page;
}

/* Copies of what the control segment says, so that it is no single point (I-7). */
static inline dsm_atomic_u64 *dsm_space_node_route(const dsm_space *space, unsigned node,
                                                   uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->nodes[node].base + space->layout.node_routes) + stripe;
}

static inline dsm_region_shm *dsm_space_node_region(const dsm_space *space, unsigned node,
                                                    uint32_t region) {
  return (dsm_region_shm *)(void *)(space->nodes[node].base + space->layout.node_regions) + region;
}

static inline dsm_atomic_u64 *dsm_space_unsettled(const dsm_space *space, unsigned node,
                                                  uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)(space->nodes[node].base + space->layout.node_unsettled) +
         stripe / 64;
}

static inline uint8_t *dsm_space_base(const dsm_space *space, unsigned segment) {
  return space->segments[segment].base;
}

static inline dsm_locator dsm_space_locator(const dsm_space *space, unsigned segment,
                                            const void *word) {
  return dsm_locator_make(segment,
                          (uint64_t)((const uint8_t *)word - dsm_space_base(space, segment)));
}

/* Routes: five node ids of 6 bits, count of 3 bits, low 11 bits of the epoch; sealed by stripe. */
typedef struct dsm_route {
  uint64_t word; /* as read, to be compared after the copy */
  uint32_t count;
  uint8_t nodes[DSM_REPLICAS_MAX]; /* primary first */
} dsm_route;

#define DSM_ROUTE_SALT 0x524F555445ull
#define DSM_ROUTE_EPOCH_MASK 2047u

static inline uint64_t dsm_route_seal(const uint8_t *nodes, uint32_t count, uint64_t epoch,
                                      uint32_t stripe) {
  uint64_t value = (uint64_t)count << 30 | (epoch & DSM_ROUTE_EPOCH_MASK) << 33;
  for (uint32_t i = 0; i < count; i++) value |= (uint64_t)nodes[i] << (6 * i);
  return dsm_seal(value, DSM_ROUTE_SALT + stripe);
}

/* The primary of a route word, or -1 if the word is damaged, or names a node that we do not have:
 * then dsm_nodes_follow, and look again. */
static inline int dsm_route_primary(const dsm_space *space, uint64_t word, uint32_t stripe) {
  bool ok;
  uint64_t value = dsm_unseal(word, DSM_ROUTE_SALT + stripe, &ok);
  uint32_t node = value & 63;
  return DSM_LIKELY(ok && dsm_space_present(space, node)) ? (int)node : -1;
}

/* What the word says, whether we have these nodes or not; false if it is damaged. */
static inline bool dsm_route_decode(uint64_t word, uint32_t stripe, dsm_route *out) {
  bool ok;
  uint64_t value = dsm_unseal(word, DSM_ROUTE_SALT + stripe, &ok);
  *out = (dsm_route){.word = word, .count = (value >> 30) & 7};
  if (!ok || out->count == 0 || out->count > DSM_REPLICAS_MAX) return false;
  for (uint32_t i = 0; i < out->count; i++) out->nodes[i] = (value >> (6 * i)) & 63;
  return true;
}

static inline bool dsm_route_unseal(const dsm_space *space, uint64_t word, uint32_t stripe,
                                    dsm_route *out) {
  if (!dsm_route_decode(word, stripe, out)) return false;
  for (uint32_t i = 0; i < out->count; i++)
    if (!dsm_space_present(space, out->nodes[i])) return false;
  return true;
}

/* Place of a node in a route; DSM_REPLICAS_MAX, beyond every place, if it is not there. */
static inline uint32_t dsm_route_place(const dsm_route *route, unsigned node) {
  for (uint32_t place = 0; place < route->count; place++)
    if (route->nodes[place] == node) return place;
  return DSM_REPLICAS_MAX;
}

static inline bool dsm_route_names(const dsm_route *route, unsigned node) {
  return dsm_route_place(route, node) < DSM_REPLICAS_MAX;
}

#endif
