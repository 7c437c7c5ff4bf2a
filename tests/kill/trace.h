/* A process stepped through an operation, one instruction at a time.
 *
 * The child attaches to the cluster and runs the operation between two breakpoints of its own;
 * trace_step executes one instruction of it, trace_changed compares all backed bytes of the
 * segments with their state at the last call. The child never outlives the tracer.
 */
#ifndef DSM_TESTS_KILL_TRACE_H
#define DSM_TESTS_KILL_TRACE_H

#include <sys/types.h>

#include "../../csrc/node/cluster.h"
#include "picture.h"

typedef dsm_status trace_operation(dsm_call *call, const void *context);

typedef struct trace {
  const outside *segments;
  picture shadow; /* the segments' bytes at the last comparison */
  uint64_t blocks;
  pid_t child;
  uint32_t participant;
  uint64_t steps;
  bool after_syscall;
  bool touched_unbacked; /* a page got memory by a store instead of by a request (I-9) */
  uint32_t *shared;      /* the child's participant, then its status + 1 */
} trace;

/* Starts a child and lets it run up to the first breakpoint. */
void trace_start(trace *self, const outside *segments, trace_operation *operation,
                 const void *context);
/* One instruction; false at the second breakpoint. */
bool trace_step(trace *self);
bool trace_changed(trace *self);
/* Pages that hold data and were never compared: 0 unless a store went where nobody looked. */
uint64_t trace_unwatched(const trace *self);
/* SIGKILL, and waits for the end. */
void trace_kill(trace *self);
/* Lets the child end the operation; its status. */
dsm_status trace_finish(trace *self);
void trace_close(trace *self);

#endif
