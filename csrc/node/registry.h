/* Participants and regions: the tables of the control segment, under the registry lock.
 *
 *   I  slot 0 is the owner's, slot 1 + n is node n's, those from 64 on are for who attaches
 *   I  a slot's kind is stored last when it is taken and first changed when it is left, so a kill
 *      between leaves a slot that is free or one whose process is dead: retiring it is idempotent
 *   I  a region exists once the count of regions says so; that is the last store of its creation
 *
 * All functions block for the registry lock, at most call->wait_ms.
 */
#ifndef DSM_NODE_REGISTRY_H
#define DSM_NODE_REGISTRY_H

#include "../mem/space.h"

/* Takes a slot for this process; `node` < 0 for a client, and the owner is made at creation. */
dsm_status dsm_registry_join(dsm_call *call, dsm_participant_kind kind, int node,
                             uint32_t *participant);
/* Fills a slot that fork preparation took with this process's identity. */
void dsm_registry_adopt(dsm_space *space, uint32_t participant);
/* Leaves: pins and slot are free afterwards. For this process only. */
dsm_status dsm_registry_leave(dsm_call *call);

/* By each of this process's two service threads: from here on its end is the process's end, which
 * others may learn from it; and, before it ends in good order: not any more. */
void dsm_registry_lives(const dsm_space *space, unsigned thread);
void dsm_registry_rests(const dsm_space *space, unsigned thread);
/* Whether the process that the slot names has ended, to its last thread. */
bool dsm_registry_ended(const dsm_space *space, uint32_t participant);
/* If the participant's process is dead: repairs the stripes and arenas that it held, drops its
 * pins, frees its slot (a node's slot stays, as dead). *retired tells. Safe from many processes. */
dsm_status dsm_registry_retire(dsm_call *call, uint32_t participant, bool *retired);

/* The number of the door at which a service thread listens (os.h). */
uint64_t dsm_registry_door(const dsm_space *space, uint32_t participant);
/* Wakes the service threads of all others: somebody has joined, or the cluster stops. */
void dsm_registry_knock(const dsm_space *space);

/* What a participant's slot says, for listings; every field may be stale by the time it is read. */
typedef struct dsm_participant_info {
  uint32_t kind, incarnation, pid, node, ready, pins;
  uint64_t start_ticks, beat_ns;
  uint64_t died_ns; /* of the latest process that served; 0: none of this node has died */
} dsm_participant_info;

/* False if the slot is free or the index is out of range. */
bool dsm_participant_read(const dsm_space *space, uint32_t index, dsm_participant_info *out);
/* Objects at a node: live slots of its subs, without a lock, as of about now. */
uint64_t dsm_node_objects(const dsm_space *space, unsigned node);

typedef struct dsm_region_settings {
  uint32_t replicas, allow_pickle;
} dsm_region_settings;

/* Opens or creates the region. DSM_USAGE with the other setting in the fault if they conflict. */
dsm_status dsm_region_open(dsm_call *call, const char *name, uint32_t name_bytes,
                           const dsm_region_settings *settings, bool match, uint32_t *region,
                           dsm_region_settings *actual);
/* Name of a region in use; false if the slot is empty or damaged. */
bool dsm_region_name(const dsm_space *space, uint32_t region, char *name, uint32_t *name_bytes);
/* Number of objects of a region. DSM_CORRUPT if a counter does not verify. */
dsm_status dsm_region_length(dsm_call *call, uint32_t region, uint64_t *length);

#endif
