/* Drafts: an object as it will be, the same at every replica, before it has a place.
 *
 * A draft is made outside any lock; it is written into an extent that nothing refers to, once its
 * version is known. The version word stays 0 until a change publishes it.
 */
#ifndef DSM_STORE_DRAFT_H
#define DSM_STORE_DRAFT_H

#include "table.h"

typedef struct dsm_draft {
  uint64_t bytes, shape, binding;
  uint64_t value_offset;
  uint64_t value_hash; /* 0: not known, or settled later */
  uint32_t key_offset;
  uint8_t flags;
} dsm_draft;

/* DSM_KEY_TOO_LONG, DSM_STORE_FULL if it can fit no node. */
dsm_status dsm_draft_make(dsm_call *call, const dsm_key *key, const dsm_value *value,
                          dsm_draft *out);
/* Writes the object; *draft learns the value's hash if it was not known. */
void dsm_draft_write(dsm_draft *draft, const dsm_key *key, const dsm_value *value, uint64_t version,
                     dsm_object_shm *object);

/* The draft of an object that is copied as it is, and the copying: flags, checksum and whatever its
 * header holds stay, so that damage is found in the copy as in the source. */
dsm_draft dsm_draft_of(const dsm_header *header);
void dsm_draft_copy(const dsm_draft *draft, const dsm_object_shm *source, dsm_object_shm *object);

#endif
