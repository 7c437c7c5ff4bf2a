/* A process stepped through an operation, one instruction at a time.
 *
 * The child attaches to the cluster and runs the operation between two breakpoints of its own;
 * trace_step executes one instruction of it, trace_changed compares all backed bytes of the
 * segments with their state at the last call. The child never outlives the tracer.
 *
 * One call is a single step: dsm_os_segment_back, which reads small files of the kernel through
 * the C library and asks for memory. Whatever it did to a segment is seen when it returns.
 * To come back to an instruction in another child, the run goes freely to the landmark, the last
 * instruction before it that was not executed often, and is stepped from there.
 */
#ifndef DSM_TESTS_KILL_TRACE_H
#define DSM_TESTS_KILL_TRACE_H

#include <sys/types.h>

#include "../../csrc/node/cluster.h"
#include "picture.h"

typedef dsm_status trace_operation(dsm_call *call, const void *context);

/* Where a run is: the n-th execution of an instruction, then so many steps. */
typedef struct trace_place {
  uint64_t landmark, execution, steps_after;
} trace_place;

typedef struct trace_visits {
  uint64_t address, count;
} trace_visits;

typedef struct trace {
  const outside *segments;
  picture shadow; /* the segments' bytes at the last comparison */
  uint64_t blocks;
  pid_t child;
  uint32_t participant;
  uint64_t steps;
  trace_place place;
  trace_visits *visits; /* per address, open addressing */
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
/* Runs a child that was just started to a place that another one had reached. */
void trace_run_to(trace *self, const trace_place *place);
/* Pages that hold data and were never compared: 0 unless a store went where nobody looked. */
uint64_t trace_unwatched(const trace *self);
/* SIGKILL, and waits for the end. */
void trace_kill(trace *self);
/* Lets the child end the operation; its status. */
dsm_status trace_finish(trace *self);
void trace_close(trace *self);

#endif
