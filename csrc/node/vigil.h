/* The control segment's header as this process knows it, which it writes back where it is damaged.
 *
 * The configuration never changes, and this process has a copy from when it was verified. Of the
 * words beside it, and of its own participant's slot, it keeps what it last saw whole. The service
 * thread looks every heartbeat_ms; who meets a damaged state does not wait for that.
 *
 *   I  what is whole is never written: a word is swapped with its damaged value only
 *   I  a slot is written under the registry's lock, and only while nobody else has taken it
 *   I  a word that nobody knows is taken for the one that keeps the data: running, detached
 *
 * dsm_vigil_look is for the service thread alone, the others for any thread.
 */
#ifndef DSM_NODE_VIGIL_H
#define DSM_NODE_VIGIL_H

#include "../mem/space.h"

typedef struct dsm_vigil {
  dsm_atomic_u32 revealed; /* 1: the header was seen whole, so that it is not one being made */
  dsm_atomic_u32 stopped;  /* 1: this process has asked the cluster to end */
  dsm_atomic_u32 detached; /* the word, as it was last seen whole; 0: never */
  dsm_atomic_u64 epoch;
  uint32_t kind, incarnation, node; /* of our slot; kind 0: not yet known */
  dsm_os_process self;
} dsm_vigil;

/* Compares all, and writes back what is damaged. Takes no lock but for a damaged slot. */
void dsm_vigil_look(dsm_vigil *vigil, dsm_space *space);

/* The state of the cluster, whole again. */
dsm_cluster_state dsm_vigil_state(const dsm_vigil *vigil, const dsm_space *space);

/* Whether the cluster outlives its owner. */
bool dsm_vigil_detached(const dsm_vigil *vigil, const dsm_space *space);

#endif
