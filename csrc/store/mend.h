/* What one mending of a stripe carries from step to step; for mend.c, mend_sub.c and mend_attach.c.
 */
#ifndef DSM_STORE_MEND_H
#define DSM_STORE_MEND_H

#include "audit.h"

/* A key whose object was dropped: its bytes held, its value did not. */
typedef struct dsm_mend_key {
  uint8_t *bytes;
  uint32_t length;
  uint16_t region;
  uint8_t kind;
} dsm_mend_key;

/* A valid object that no slot names. */
typedef struct dsm_mend_orphan {
  uint64_t offset, bytes, hash;
} dsm_mend_orphan;

#define DSM_MEND_PAGES 64u /* more of them are left to the walk over the arena */

typedef struct dsm_mend {
  dsm_audit *audit;
  dsm_mend_key *keys;
  uint32_t key_count, key_room;
  uint64_t pages[DSM_MEND_PAGES]; /* slabs of objects that were dropped from the present sub */
  uint32_t page_count;
  uint64_t unknown; /* slots that were dropped without a key */
  bool resumed;     /* somebody may have begun before us, and have been killed */
} dsm_mend;

/* Makes the sub of a replica whole around the valid objects that it has. */
bool dsm_mend_sub(dsm_mend *mend, uint32_t replica);

/* Verifies what lies at an offset as an object of the stripe, whatever its slot may say. */
bool dsm_mend_object(dsm_audit *audit, unsigned node, uint64_t offset, dsm_header *header,
                     uint64_t *hash);

/* The valid objects in the stripe's memory at the node that its table does not have: allocates
 * *found, to be freed. Walks the arena under its lock. */
uint64_t dsm_mend_orphans(dsm_audit *audit, unsigned node, dsm_mend_orphan **found);
/* Gives an orphan a slot, if its key has none. */
bool dsm_mend_attach(dsm_audit *audit, unsigned node, const dsm_mend_orphan *orphan);

#endif
