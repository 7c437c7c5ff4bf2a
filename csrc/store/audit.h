/* The state of one check, shared by its parts: check.c (the walk), audit_sub.c (one stripe at one
 * node), audit_replicas.c (replicas against each other), mend.c (repairs). Not for other callers.
 */
#ifndef DSM_STORE_AUDIT_H
#define DSM_STORE_AUDIT_H

#include "check.h"

typedef struct dsm_audit_extent {
  uint64_t offset, bytes;
} dsm_audit_extent;

typedef struct dsm_audit {
  dsm_call *call;
  dsm_check_tell *tell;
  void *context;
  dsm_check_report *report;
  bool repair;
  bool shallow;                     /* objects were verified: headers and keys are enough */
  uint64_t *claimed[DSM_NODES_MAX]; /* bit per page: some sub refers to its run; NULL: not asked */
  dsm_audit_extent *extents;        /* small extents that the sub refers to, sorted */
  uint64_t extent_count, extent_room;
  uint32_t region_replicas[DSM_REGIONS_MAX];
  uint32_t region_count;
  /* of the stripe under examination */
  uint32_t stripe;
  dsm_route route;
  uint32_t region_objects[DSM_REGIONS_MAX];
} dsm_audit;

/* Reports a problem; the fault is made from the arguments. Returns false for `return dsm_audit_…`.
 */
bool dsm_audit_problem(dsm_audit *audit, const char *what, unsigned node, uint64_t left,
                       uint64_t right);
/* Counts and tells what was put right. */
void dsm_audit_repaired(dsm_audit *audit, const char *what, int node, int64_t stripe);
/* Reports the fault that the audit's call carries. */
bool dsm_audit_fault(dsm_audit *audit);

/* Verifies header, key and value of the object in a slot. */
bool dsm_audit_object(dsm_audit *audit, unsigned node, uint64_t slot, dsm_header *header,
                      dsm_key *key);

/* Examines one sub; the stripe's lock is held. Returns whether everything holds. Claims the pages
 * that the sub refers to. */
bool dsm_audit_sub(dsm_audit *audit, unsigned node);
/* Examines what nodes hold of the stripe that its route does not name: parts of moves, whole in
 * themselves, where the strays say so, and nothing anywhere else. */
bool dsm_audit_strays(dsm_audit *audit);

/* Bits of the extents in the slab of extents[*first]; *first moves past them. *apart: no overlap.
 */
uint64_t dsm_audit_slab_bits(const dsm_audit *audit, uint64_t *first, bool *apart);

/* Compares the backups with the primary, and the region counters with the primary. */
bool dsm_audit_replicas(dsm_audit *audit);

/* Both for the whole stripe, with the settings of regions read anew; *unsound has a bit per replica
 * whose sub does not hold. */
bool dsm_audit_stripe(dsm_audit *audit, uint32_t *unsound);
/* Mends and examines again: true if everything holds afterwards. PENDING_MEND is set meanwhile, and
 * stays if not. */
bool dsm_audit_mended(dsm_audit *audit, uint32_t unsound);

/* Small extents that the sub refers to, as they are met; then in the order of their offsets. */
bool dsm_audit_remember(dsm_audit *audit, uint64_t offset, uint64_t bytes);
void dsm_audit_sort(dsm_audit *audit);

/* Repairs, all under the stripe's lock; each returns whether it mended something. `unsound` has a
 * bit per replica whose sub did not hold. */
bool dsm_mend_stripe(dsm_audit *audit, uint32_t unsound);
/* A sub that the route does not name and that does not hold: it is given up, or left to a move. */
void dsm_mend_stray(dsm_audit *audit, unsigned node);
bool dsm_mend_leak(dsm_audit *audit, unsigned node, uint64_t page);

static inline bool dsm_audit_claimed(const dsm_audit *audit, unsigned node, uint64_t page) {
  /* A node that came while the check runs has no map, and is left to the next one. */
  return !audit->claimed[node] || (audit->claimed[node][page / 64] >> (page % 64) & 1);
}

static inline void dsm_audit_claim(dsm_audit *audit, unsigned node, uint64_t page) {
  if (audit->claimed[node]) audit->claimed[node][page / 64] |= 1ull << (page % 64);
}

#endif
