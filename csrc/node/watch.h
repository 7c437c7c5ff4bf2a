/* The ends of processes: pidfds of the participants, and a door for those who join.
 *
 * The kernel wakes the service thread at the end of any participant, at once and without false
 * alarms (I-6). Descriptors belong to one incarnation, whose end is told once; a slot that was
 * taken anew gets others.
 *
 * An end has two steps. When SIGKILL (or whatever ends it) reaches a process, all its threads are
 * doomed; they end one by one, and the last one first frees the memory, which takes a millisecond
 * for every few MiB. So nodes and the owner have two more descriptors, for the two threads that no
 * node lives without; only one of them can be the last one. The first to end tells that the end has
 * begun, however much there is to free. That is for knowing; whoever takes something over waits for
 * the descriptor of the process.
 *   I  a service thread that is stopped in good order takes its number out of the slot before
 *
 * Private to one service thread; the calls back happen in it, without any lock.
 */
#ifndef DSM_NODE_WATCH_H
#define DSM_NODE_WATCH_H

#include "../mem/space.h"

typedef struct dsm_watched {
  uint32_t incarnation;
  int descriptor;      /* of the process; -1: none */
  int threads[2];      /* descriptors of its service threads; -1: none */
  uint32_t numbers[2]; /* of those threads; 0: not known yet */
  bool over;           /* that incarnation's end was told */
} dsm_watched;

typedef struct dsm_watch {
  dsm_watched participants[DSM_PARTICIPANTS_MAX];
  int poller, door, stop;
} dsm_watch;

typedef enum dsm_ending {
  DSM_ENDING_BEGUN, /* it is bound to end; perhaps never told */
  DSM_ENDING_OVER,  /* there is nothing left that could run */
} dsm_ending;

/* The process of that incarnation ends; `noticed_ns` is when we heard of it. */
typedef void dsm_watch_death(void *context, uint32_t participant, uint32_t incarnation,
                             dsm_ending ending, uint64_t noticed_ns);

dsm_status dsm_watch_open(dsm_watch *watch, const dsm_space *space);
void dsm_watch_close(dsm_watch *watch);
/* Begins to watch who has joined since, and tells of who is dead by then. */
void dsm_watch_refresh(dsm_watch *watch, const dsm_space *space, dsm_watch_death *tell,
                       void *context);
/* Waits for an end or a knock, at most wait_ms. False once the event `stop` is set. */
bool dsm_watch_wait(dsm_watch *watch, const dsm_space *space, uint32_t wait_ms,
                    dsm_watch_death *tell, void *context);

#endif
