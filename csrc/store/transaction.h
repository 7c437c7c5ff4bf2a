/* Transactions: many keys of many stripes, read and written as one.
 *
 * The caller reads without locks, remembers the version of what it saw (0: absent), and collects
 * what it will write. The commit then
 *
 *   1 claims a decision record           2 takes the locks of all stripes, in ascending order
 *   3 compares the versions read         4 takes an extent for every copy of every new object
 *   5 writes the objects                 6 lists, arms every stripe, DECIDES, carries out
 *   7 gives the old extents back         8 drops stripes and record
 *
 * Steps 1 to 5 can fail and change nothing that is seen. A kill before the decision leaves nothing
 * changed, a kill after it leaves everything changed, whoever repairs whichever stripe first.
 * Since all locks are held at step 3, the transaction happens at that instant: transactions are
 * strictly serialisable among each other and with single puts, deletes and additions. Who reads
 * without a transaction may see one key of a commit before another.
 *
 * A transaction that writes nothing takes no record, and only steps 2, 3 and 8.
 */
#ifndef DSM_STORE_TRANSACTION_H
#define DSM_STORE_TRANSACTION_H

#include "../mem/decision.h"
#include "claim.h"
#include "draft.h"
#include "prefetch.h"
#include "write.h"

typedef enum dsm_access_kind {
  DSM_ACCESS_READ,
  DSM_ACCESS_PUT,
  DSM_ACCESS_DELETE, /* of a key that may be absent */
} dsm_access_kind;

/* What the accesses of one stripe share; kept in the first of them. */
typedef struct dsm_access_group {
  dsm_route route;
  uint32_t members;
  bool writes, deletes;
  uint64_t gen; /* of the stripe afterwards, and the version of what is written */
  dsm_decision_part part;
} dsm_access_group;

/* One key of the transaction; every key has one access. The caller fills the first part. */
typedef struct dsm_access {
  dsm_key key;
  dsm_value value; /* of a put */
  dsm_access_kind kind;
  uint32_t replicas; /* wanted, at most those of the route */
  uint64_t expected; /* version read; 0: absent; DSM_ANY_VERSION: not read */
  uint64_t version;  /* out: of the object put or deleted; after DSM_ABORTED, what was found */

  uint32_t stripe, first_hold;
  dsm_ahead ahead;
  dsm_draft draft;
  dsm_found found[DSM_REPLICAS_MAX];
  uint64_t offset[DSM_REPLICAS_MAX]; /* of the new object */
  dsm_access_group group;
} dsm_access;

/* Commits. `accesses` is sorted in place. DSM_ABORTED (*culprit: whose version differs; its
 * `version` is what was found), DSM_LOCK_TIMEOUT, DSM_STORE_FULL, DSM_TOO_MANY, DSM_KEY_TOO_LONG,
 * DSM_CORRUPT: nothing was changed; *culprit is whose doing it was, if one's. Blocks for each lock
 * at most call->wait_ms. */
dsm_status dsm_transaction_commit(dsm_call *call, dsm_access **accesses, uint32_t count,
                                  dsm_access **culprit);

#endif
