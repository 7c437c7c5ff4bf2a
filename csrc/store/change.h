/* One change of one key under its stripe's lock: what put.c, delete.c and add have in common.
 *
 * A change begins with the lock taken and the key found at every replica of its region, and ends
 * with the lock dropped. In between it lists its stores in the stripe's intent; nothing here stores
 * anything that a reader could see.
 */
#ifndef DSM_STORE_CHANGE_H
#define DSM_STORE_CHANGE_H

#include "prefetch.h"
#include "write.h"

#define DSM_LIVE_ONE (1ull << 22) /* in a sub's `used`: one live slot */
#define DSM_USED_ONE 1ull         /* one slot that is not empty */

typedef struct dsm_change {
  dsm_call *call;
  const dsm_key *key;
  uint32_t stripe, replicas;
  dsm_route route;
  dsm_found found[DSM_REPLICAS_MAX];
  uint64_t gen;      /* the generation that the subs have afterwards */
  uint64_t version;  /* of the object that is put */
  uint64_t transfer; /* 0, or the version that a transferred object keeps */
  bool verified;     /* the primary's old object has been compared with its checksum */
  bool copies;       /* a copy for one replica: the number of the region's keys stays as it is */
  bool healed;       /* the stripe was mended, or could not be, within this change */
  bool finds; /* the key is one that the stripe had lost unknown: their number falls by one */
} dsm_change;

/* Asks for the lines of the stripe, if the caller has not: as early as can be. */
static inline void dsm_change_ahead(const dsm_call *call, const dsm_key *key) {
  dsm_ahead ahead;
  if (!call->prefetched) dsm_ahead_heads(&ahead, call->space, key->hash);
}

/* Takes the stripe and finds the key. On failure nothing is held. */
dsm_status dsm_change_begin(dsm_change *self, dsm_call *call, const dsm_key *key,
                            uint32_t replicas);
/* Drops the stripe; returns `status`. */
dsm_status dsm_change_end(dsm_change *self, dsm_status status);
/* Finds the key at every replica anew, after a table has grown. */
dsm_status dsm_change_find(dsm_change *self);

/* Once per change: mends the stripe and finds the key anew. False: nothing more can be done. */
bool dsm_change_heal(dsm_change *self);
/* DSM_NO_REPLICAS if the key's object, or perhaps it, was lost: nothing can be said of it. */
dsm_status dsm_change_known(dsm_change *self);

/* DSM_VERSION_CONFLICT, with what the key has in *version; DSM_NO_REPLICAS. */
dsm_status dsm_change_check(dsm_change *self, uint64_t if_version, uint64_t *version);
/* Compares the old object at a replica with its checksum: before an answer, or a change of what
 * lies around it, that rests on its header. */
dsm_status dsm_change_verify(dsm_change *self, uint32_t replica);
/* The same for the length alone, before its extent is freed: a flipped bit in it must not free the
 * neighbours. A backup whose header is that of the primary's object is true when that one is. */
dsm_status dsm_change_verify_length(dsm_change *self, uint32_t replica);
/* The next generation, above every replica's, and the version of the object that is put. */
dsm_status dsm_change_next(dsm_change *self);

/* Lists the freeing of the object that a replica held. After the generation, so that no reader who
 * still sees it validates. */
void dsm_change_free(dsm_change *self, dsm_log *log, uint32_t replica);
/* Lists the new count of the region's objects in this stripe. */
void dsm_change_count(const dsm_change *self, dsm_log *log, int difference);

static inline dsm_log dsm_change_log(const dsm_change *self) {
  return dsm_log_make(self->call, dsm_space_intent(self->call->space, self->stripe), self->stripe);
}

#endif
