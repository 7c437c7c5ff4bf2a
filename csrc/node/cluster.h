/* A cluster in this process: its segments created or attached, its participant, its close.
 *
 *   creation   all segments are made and filled first, the control segment's magic is stored last:
 *              who attaches sees a whole cluster or none; a killed creator leaves segments without
 *              a presence lock, which the next start under that name and every sweep remove (I-11)
 *   lifetime   a handle is freed by its last reference; views hold references, so that closing a
 *              cluster never unmaps what somebody still looks at
 *
 * dsm_cluster_create and dsm_cluster_attach may run in any number of processes at once.
 */
#ifndef DSM_NODE_CLUSTER_H
#define DSM_NODE_CLUSTER_H

#include "../mem/nodes.h"
#include "vigil.h"

struct dsm_service;
struct dsm_starter;

typedef struct dsm_cluster {
  dsm_space space;
  char name[DSM_CLUSTER_NAME_BYTES];
  const volatile uint32_t *fork_flag;
  struct dsm_service *service;
  struct dsm_starter *starter; /* how this process starts nodes, if it is the one to */
  dsm_atomic_u32 references;
  dsm_atomic_u32 closed;
  dsm_vigil vigil;
} dsm_cluster;

typedef struct dsm_options {
  const char *name;
  uint32_t node_count, replicas, stripe_count;
  uint64_t node_segment_bytes; /* reserved, not taken; 0: as much as the file system holds */
  dsm_detection_shm detection; /* zeros: 100 ms between beats, suspected after 1 s, hung after 3 */
  uint32_t scrub_kib_per_s;    /* of each node's scrubber; 0: none */
  uint64_t hash_seed;          /* of an earlier cluster that is to be filled again; 0: random */
} dsm_options;

/* DSM_EXISTS, DSM_STORE_FULL, DSM_USAGE. The caller becomes the owner, with one reference. */
dsm_status dsm_cluster_create(const dsm_options *options, dsm_cluster **out, dsm_fault *fault);

/* With a seed given, nobody can attach until this is called: who is filled again appears whole. */
void dsm_cluster_reveal(dsm_cluster *cluster);

/* Attaches as a client (node < 0) or as the process of a node. DSM_NO_CLUSTER, DSM_CORRUPT,
 * DSM_LAYOUT, DSM_TOO_MANY. */
dsm_status dsm_cluster_attach(const char *name, int node, dsm_cluster **out, dsm_fault *fault);

/* After a fork: gives the child its own participant on the mappings it inherited; `slot` is what
 * dsm_cluster_fork_prepare returned in the parent, or DSM_NOBODY. */
dsm_status dsm_cluster_fork_adopt(dsm_cluster *cluster, uint32_t slot, dsm_fault *fault);
/* Before a fork: a participant that holds copies of our pins for the child; DSM_NOBODY if none. */
uint32_t dsm_cluster_fork_prepare(dsm_cluster *cluster);

void dsm_cluster_hold(dsm_cluster *cluster);
/* Drops a reference. The last one retires the participant and unmaps. */
void dsm_cluster_drop(dsm_cluster *cluster);

/* Removes the names of all segments. Mappings stay valid until they are closed. */
void dsm_cluster_unlink(const char *name);
/* The same for a cluster that we are attached to, as often and from as many processes as may be: a
 * name that means another segment by now, since the cluster was ended and started anew, is kept. */
void dsm_cluster_unlink_own(dsm_cluster *cluster);

static inline dsm_cluster_state dsm_cluster_state_read(const dsm_cluster *cluster) {
  return (dsm_cluster_state)dsm_load_relaxed_u32(&dsm_space_control(&cluster->space)->state);
}

/* True if the cluster was asked to end. */
static inline bool dsm_cluster_stopping(const dsm_cluster *cluster) {
  return dsm_cluster_state_read(cluster) == DSM_STATE_STOPPING;
}

/* Whose word is damaged is told by what this process knows, and runs. */
static inline bool dsm_cluster_running(const dsm_cluster *cluster) {
  return DSM_LIKELY(dsm_cluster_state_read(cluster) == DSM_STATE_RUNNING) ||
         dsm_vigil_state(&cluster->vigil, &cluster->space) == DSM_STATE_RUNNING;
}

/* Asks every participant to leave: operations end in "closed" from here on. */
void dsm_cluster_stop(dsm_cluster *cluster);
/* From now on the cluster outlives its owner, until dsm_cluster_stop. */
void dsm_cluster_detach(dsm_cluster *cluster);
/* Tells that this participant's process has started up; a node's later ones verify its segment
 * before (adopt.h), which takes some milliseconds, and at most about DSM_ADOPT_NS. */
void dsm_cluster_ready(dsm_cluster *cluster);

static inline bool dsm_cluster_forked(const dsm_cluster *cluster) {
  return *cluster->fork_flag == 0;
}

#endif
