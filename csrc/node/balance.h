/* Rebalancing: a plan of where each stripe is to be, and going on with it wherever it stands.
 *
 * Whenever the epoch of the node table is not the one that `done` in the journal names, somebody
 * with the journal's lock makes a plan (proto/placement.h) and keeps it as a target per stripe;
 * then moves stripes, one bounded piece at a time, until all routes are their targets and no node
 * holds more than its place says. A draining node that no route names any more is told to leave,
 * and one that has left is removed. All of it lies in shared memory: whoever takes the lock next,
 * because the one before was killed, goes on at once, and whoever is behind sees what there is to
 * do.
 *
 * A stripe that somebody holds, that has no room to go to or that is damaged is left, noted in the
 * journal, and tried again. What is copied is paced by the journal's bytes_per_s; small objects
 * count for more than their bytes, since they cost more.
 *
 * dsm_balancer_* are for one thread; any number of processes may each have one.
 */
#ifndef DSM_NODE_BALANCE_H
#define DSM_NODE_BALANCE_H

#include "../store/move.h"

#define DSM_BALANCE_BYTES_PER_S (100ull << 20)
#define DSM_BALANCE_IDLE UINT32_MAX

typedef struct dsm_balancer {
  dsm_move move;
  bool moving;
  uint32_t next;       /* stripe */
  uint32_t unfinished; /* stripes that another walk has to visit */
  uint32_t blocked;    /* … because they could not be moved now */
  uint64_t epoch;      /* that this walk is for */
  uint64_t paid_ns;    /* when what is owed to the pace was last reckoned */
  double owed;         /* bytes copied ahead of it */
} dsm_balancer;

/* True if the node table has changed since everything was in its place, or a node is leaving. */
bool dsm_balance_due(const dsm_space *space);
/* One piece of work, at most about a millisecond beside one large value; how long to pause before
 * the next, in microseconds, or DSM_BALANCE_IDLE. Waits for a stripe's lock at most call->wait_ms.
 */
uint32_t dsm_balancer_step(dsm_call *call, dsm_balancer *self);

/* Routes of a new cluster. */
dsm_status dsm_balance_first_routes(const dsm_space *space);

/* Where things stand, as of about now. */
typedef struct dsm_balance_report {
  bool done;
  uint64_t epoch, copies, stripes_left; /* stripes whose route is not yet their target */
  uint64_t moved_stripes, moved_objects, moved_bytes;
  uint64_t blocked, blocked_stripe;
  dsm_status blocked_status;
  dsm_os_process blocked_by;
} dsm_balance_report;
void dsm_balance_read(const dsm_space *space, dsm_balance_report *out);
/* At most so many bytes a second; 0: DSM_BALANCE_BYTES_PER_S. */
void dsm_balance_pace(const dsm_space *space, uint64_t bytes_per_s);

#endif
