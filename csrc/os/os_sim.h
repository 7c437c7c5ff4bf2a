/* The control side of the simulated kernel, for tests only.
 *
 * os_sim*.c implement os.h in one thread of one real process. Segments are private memory whose
 * pages are inaccessible until they are backed, so that a touch of memory that was never asked for
 * is a fault at the very instruction. The clock moves when somebody waits, the room is a budget,
 * and several simulated processes take turns: the test says who runs and who is dead. A kill in the
 * middle of a call is a jump out of it (base/crash.h), followed by dsm_sim_process_kill.
 *
 *   I  the same seed and the same calls give the same bytes
 *   I  all processes map a segment at the same address; closing it in one leaves the others theirs
 *   I  who waits or yields a million times in one turn is taken to wait for ever: that is an abort
 *   I  a lock whose owner is dead reports that once, and must be made consistent before the unlock
 *
 * A thread runs when it is joined: by then it has been asked to stop, so one round is what it does.
 * The world is the kernel's, not the engine's, hence the one object at file scope.
 */
#ifndef DSM_OS_OS_SIM_H
#define DSM_OS_OS_SIM_H

#include "os.h"

/* Begins an empty world with one living process, which runs. Ends the one before. */
void dsm_sim_start(uint64_t seed);
/* Unmaps everything. */
void dsm_sim_stop(void);

/* A new living process; its pid. */
uint32_t dsm_sim_process_new(void);
/* Pid of the process that runs. */
uint32_t dsm_sim_process_pid(void);
/* Calls are made by that process from now on. */
void dsm_sim_process_run(uint32_t pid);
/* The process is dead: its mappings and presence locks are gone, its mutexes report it. */
void dsm_sim_process_kill(uint32_t pid);
/* The kernel has begun to end the process: its service thread is gone, it is not. */
void dsm_sim_process_end(uint32_t pid);
/* As SIGSTOP and SIGCONT: the process is alive, and keeps what it holds. */
void dsm_sim_process_freeze(uint32_t pid, bool frozen);

void dsm_sim_clock_advance(uint64_t ns);
/* Where the process that runs now is; they begin on processors of their own. */
void dsm_sim_processor_set(uint32_t processor);
/* The next wait on a word calls this instead of letting all its time pass: what others do. */
void dsm_sim_while_waiting(void (*call)(void *argument), void *argument);

/* Bytes that can still be backed. */
void dsm_sim_room_set(uint64_t bytes);
/* Lets that many more calls for backing through and refuses the rest; UINT64_MAX: never. */
void dsm_sim_refuse_after(uint64_t calls);
/* Calls for backing so far. */
uint64_t dsm_sim_back_calls(void);
/* Bytes backed now, over all segments. */
uint64_t dsm_sim_backed_bytes(void);
/* Segments that still have a name. */
unsigned dsm_sim_named_segments(void);
/* Cuts a named segment, as truncate(2) would: dsm_os_segment_truncated is true from now on. */
void dsm_sim_truncate(const char *name);

/* Whether the page at the offset may be touched. */
bool dsm_sim_backed(const dsm_os_segment *segment, uint64_t offset);

/* The whole world as it is now, and back to it, any number of times. */
typedef struct dsm_sim_picture dsm_sim_picture;
dsm_sim_picture *dsm_sim_picture_take(void);
void dsm_sim_picture_restore(const dsm_sim_picture *picture);
void dsm_sim_picture_free(dsm_sim_picture *picture);

#endif
