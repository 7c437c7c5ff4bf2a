/* The node table: which nodes there are, and how the mappings of each process follow it.
 *
 * A word per node id says its state, its weight on the ring and its build: how many segments the
 * id has had. A change of the table grows control->epoch by one; who meets another epoch than the
 * one its mappings follow maps what is new before it goes on. Writers compare under the lock of
 * their stripe, readers when they validate. So no process, however long it was stopped, returns or
 * stores anything by a mapping that is out of date. Old mappings stay until the close (views,
 * pins).
 *
 *   I  a node's segment is whole before the table names it, and gone only when the table does not
 *   I  the build of an id changes only while no route names the id and its arena's lock is free:
 *      what a locked route names stays what it is for as long as the lock is held
 *   I  a change is the word, then the epoch, under the registry lock; whoever takes that lock after
 *      a death in between raises the epoch (dsm_registry_take)
 *
 * operation          blocks                        may be killed
 * dsm_nodes_read     no                            –
 * dsm_nodes_write    no; the registry lock is held anywhere
 * dsm_nodes_follow   for another thread of ours    leaves nothing
 */
#ifndef DSM_MEM_NODES_H
#define DSM_MEM_NODES_H

#include "space.h"

typedef enum dsm_node_state {
  DSM_NODE_FREE = 0,     /* no node; the build is that of the latest one */
  DSM_NODE_UP = 1,       /* on the ring */
  DSM_NODE_DRAINING = 2, /* off the ring; routes that still name it are moved away */
  DSM_NODE_LEAVING = 3,  /* no route names it; its process ends, then its segment goes */
  DSM_NODE_LOST = 4,     /* its segment is not to be used; routes that name it are mended */
} dsm_node_state;

#define DSM_NODE_WEIGHT_ONE 1000u
#define DSM_NODE_WEIGHT_MAX 65535u
#define DSM_NODE_BUILDS_MAX ((1u << 24) - 1)

typedef struct dsm_node_entry {
  dsm_node_state state;
  uint32_t weight; /* thousandths */
  uint32_t build;
  bool lent; /* made for the time being, since no other node was whole (node/rebuild.h) */
} dsm_node_entry;

#define DSM_SEGMENT_NAME_BYTES 112
/* "/dsm-<uid>-<name>" for control (node < 0), "…-n<k>" for node k. */
void dsm_segment_name(char *out, const char *cluster, int node);

/* DSM_CORRUPT if the word does not verify. */
dsm_status dsm_nodes_read(dsm_call *call, unsigned node, dsm_node_entry *out);
/* Changes the word, the epoch, and the copies in the segments of all nodes that we have. */
void dsm_nodes_write(dsm_space *space, unsigned node, const dsm_node_entry *entry);
/* Writes the first table, of so many nodes; for the making of a cluster. */
void dsm_nodes_init(const dsm_space *space, uint32_t count);
/* Writes the copy of the table into a node's segment. */
void dsm_nodes_copy(const dsm_space *space, unsigned node);

/* Maps what the table has and we have not, until the epoch stands still. The first failure to map a
 * node (DSM_RETRY: its segment has no name, and may be about to be replaced), after all others were
 * mapped: routes that name the node are refused meanwhile. */
dsm_status dsm_nodes_follow(dsm_call *call);
/* After a fork: no other thread of the parent is at work here. */
void dsm_nodes_forked(dsm_space *space);
/* Unmaps everything but control. */
void dsm_nodes_close(dsm_space *space);

/* The epoch of the table, as of now. */
static inline uint64_t dsm_nodes_epoch(const dsm_space *space) {
  return dsm_load_acquire_u64(&dsm_space_control(space)->epoch);
}

/* The registry lock: participants, regions, arrays' names, the node table. */
dsm_status dsm_registry_take(dsm_call *call);
void dsm_registry_drop(dsm_call *call);

/* Follows if the mappings are behind. True: look again at what was read before. */
static inline bool dsm_nodes_catch_up(dsm_call *call) {
  dsm_space *space = call->space;
  if (DSM_LIKELY(dsm_space_current(space, dsm_load_relaxed_u64(&space->epoch)))) return false;
  dsm_nodes_follow(call);
  return true;
}

#endif
