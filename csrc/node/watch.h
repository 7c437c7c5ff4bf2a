/* The ends of processes: one pidfd per participant, and a door for those who join.
 *
 * The kernel wakes the service thread at the end of any participant, at once and without false
 * alarms (I-6). A descriptor belongs to one incarnation, whose end is told once; a slot that was
 * taken anew gets another.
 * Private to one service thread; the calls back happen in it, without any lock.
 */
#ifndef DSM_NODE_WATCH_H
#define DSM_NODE_WATCH_H

#include "../mem/space.h"

typedef struct dsm_watched {
  uint32_t incarnation;
  int descriptor; /* -1: none */
  bool over;      /* that incarnation's end was told */
} dsm_watched;

typedef struct dsm_watch {
  dsm_watched participants[DSM_PARTICIPANTS_MAX];
  int poller, door, stop;
} dsm_watch;

/* The process of that incarnation has ended; `noticed_ns` is when we heard of it. */
typedef void dsm_watch_death(void *context, uint32_t participant, uint32_t incarnation,
                             uint64_t noticed_ns);

dsm_status dsm_watch_open(dsm_watch *watch, const dsm_space *space);
void dsm_watch_close(dsm_watch *watch);
/* Begins to watch who has joined since, and tells of who is dead by then. */
void dsm_watch_refresh(dsm_watch *watch, const dsm_space *space, dsm_watch_death *tell,
                       void *context);
/* Waits for an end or a knock, at most wait_ms. False once the event `stop` is set. */
bool dsm_watch_wait(dsm_watch *watch, uint32_t wait_ms, dsm_watch_death *tell, void *context);

#endif
