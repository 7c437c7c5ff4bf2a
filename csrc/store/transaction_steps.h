/* The steps of a commit, for transaction.c alone. Each needs the locks of all stripes. */
#ifndef DSM_STORE_TRANSACTION_STEPS_H
#define DSM_STORE_TRANSACTION_STEPS_H

#include "transaction.h"

typedef struct dsm_commit {
  dsm_call *call;
  dsm_access **accesses;
  uint32_t count;
  uint32_t hold_count;
  dsm_claim claim;
  dsm_access *culprit;
} dsm_commit;

/* The accesses of one stripe: the first of them, and how many. */
static inline uint32_t dsm_commit_members(const dsm_commit *self, uint32_t first) {
  return self->accesses[first]->group.members;
}

static inline dsm_hold_shm *dsm_commit_hold(const dsm_commit *self, const dsm_access *access,
                                            uint32_t replica) {
  return dsm_space_holds(self->call->space, self->claim.record) + access->first_hold + replica;
}

/* Slots, extents, objects; on failure everything taken is given back. transaction_prepare.c */
dsm_status dsm_commit_prepare(dsm_commit *self);
/* Finds the access at every replica, around the slots that earlier ones of its stripe will take. */
dsm_status dsm_commit_find(dsm_commit *self, uint32_t first, uint32_t at);
/* Gives back what all holds contain; false if some could not be. transaction_prepare.c */
bool dsm_commit_give_back(dsm_commit *self);

/* Lists, arms, decides, carries out. transaction_publish.c */
dsm_status dsm_commit_publish(dsm_commit *self);

#endif
