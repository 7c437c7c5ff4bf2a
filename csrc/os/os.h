/* The one contract with the kernel. Nothing else in csrc/ makes a system call.
 *
 * Two implementations, chosen at link time: os_linux.c, and os_sim.c, in which segments are plain
 * memory, the clock is virtual, the room is a budget and processes die when the test says so.
 *
 *   segments    named shared memory of full reserved size; backed before use (I-9); mode 0600
 *   presence    a shared file lock on a segment, held for life; the exclusive one is the sweeper's
 *   mutex       process-shared and robust: the death of the owner is reported to the next one
 *   words       waiting for a word of a segment to change; a wake can be lost, so waits are sliced
 *   processes   identity is (pid, start time), so that a reused pid is told from the old one
 *   fork        a flag that is 1 in the process that opened it and 0 in its forked children
 */
#ifndef DSM_OS_OS_H
#define DSM_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/atomic.h"
#include "../base/status.h"

typedef struct dsm_os_process {
  uint32_t pid;
  uint64_t start_ticks; /* clock ticks since boot at which the process started */
} dsm_os_process;

typedef struct dsm_os_segment {
  uint8_t *base;
  uint64_t bytes;
  int handle;
} dsm_os_segment;

/* Creates a segment of zero bytes, maps it, and takes the shared presence lock. DSM_EXISTS. */
dsm_status dsm_os_segment_create(const char *name, uint64_t bytes, dsm_os_segment *out);
/* Maps an existing segment and takes the shared presence lock. DSM_NO_CLUSTER, DSM_CORRUPT. */
dsm_status dsm_os_segment_open(const char *name, dsm_os_segment *out);
void dsm_os_segment_close(dsm_os_segment *segment);
dsm_status dsm_os_segment_unlink(const char *name);
/* Gives the segment one more name. DSM_NO_CLUSTER if it has none any more, DSM_EXISTS. */
dsm_status dsm_os_segment_link(const dsm_os_segment *segment, const char *name);
/* Maps the segment that bore the name before it was unlinked, if that process still has it open:
 * DSM_NOT_FOUND if it has not, DSM_OS if we may not look. */
dsm_status dsm_os_segment_borrow(const char *name, const dsm_os_process *process,
                                 dsm_os_segment *out);
/* A file that was cut gets this size again, with memory; what was cut is zero. Who has it mapped no
 * longer ends by touching it. DSM_STORE_FULL. */
dsm_status dsm_os_segment_regrow(const char *name, uint64_t bytes);
/* Size of the named segment's file; 0 if there is none. */
uint64_t dsm_os_segment_size(const char *name);
/* The same, but only if the name still means this segment, and not a later one. */
dsm_status dsm_os_segment_unlink_own(const char *name, const dsm_os_segment *segment);
/* Takes memory for the range from the kernel, or fails with DSM_STORE_FULL and takes nothing. */
dsm_status dsm_os_segment_back(const dsm_os_segment *segment, uint64_t offset, uint64_t bytes);
/* Gives the whole pages inside the range back to the kernel and zeroes what the range holds of its
 * first and last page. */
void dsm_os_segment_discard(const dsm_os_segment *segment, uint64_t offset, uint64_t bytes);
/* True if the file was cut below the mapped size: touching the rest would raise SIGBUS. */
bool dsm_os_segment_truncated(const dsm_os_segment *segment);
/* True if the name still means this segment: false once it was unlinked or replaced. */
bool dsm_os_segment_named(const char *name, const dsm_os_segment *segment);
/* DSM_OK and *alone if no other process holds the presence lock of the named segment. */
dsm_status dsm_os_segment_alone(const char *name, bool *alone);
/* Unlinks the named segment if no process holds its presence lock; *removed tells. */
dsm_status dsm_os_segment_sweep(const char *name, bool *removed);
/* Room that the file system of the segments has left, in bytes. */
uint64_t dsm_os_room_bytes(void);
/* Size of that file system, or of the machine's memory if that is less. */
uint64_t dsm_os_capacity_bytes(void);
/* Number of the user, part of every segment's name. */
unsigned dsm_os_user(void);

#define DSM_OS_MUTEX_BYTES 48
typedef struct dsm_os_mutex_shm {
  uint64_t words[DSM_OS_MUTEX_BYTES / 8];
} dsm_os_mutex_shm;

typedef enum dsm_os_lock {
  DSM_OS_LOCK_TAKEN,      /* ours */
  DSM_OS_LOCK_OWNER_DIED, /* ours, and what it protects must be repaired first */
  DSM_OS_LOCK_BUSY,       /* another thread's, still after the wait */
} dsm_os_lock;

dsm_status dsm_os_mutex_init(dsm_os_mutex_shm *mutex);
dsm_os_lock dsm_os_mutex_try(dsm_os_mutex_shm *mutex);
dsm_os_lock dsm_os_mutex_wait(dsm_os_mutex_shm *mutex, uint32_t wait_ms);
/* After a repair: the mutex is an ordinary one again. Must precede the unlock. */
void dsm_os_mutex_consistent(dsm_os_mutex_shm *mutex);
void dsm_os_mutex_unlock(dsm_os_mutex_shm *mutex);
/* Whether its bytes were damaged: nobody holds it, or it is of no kind. Then it is made what it
 * was, with an owner that died. One that a living thread may hold is left as it is. */
bool dsm_os_mutex_mend(dsm_os_mutex_shm *mutex);

/* Sleeps while the word holds `expected`, until a wake, at most wait_us microseconds; may return
 * early. Who changes the word wakes afterwards; the word tells what happened, the wake only when to
 * look (I-4). */
void dsm_os_word_wait(const dsm_atomic_u32 *word, uint32_t expected, uint32_t wait_us);
/* Wakes up to `waiters` threads of any process that sleep on the word. */
void dsm_os_word_wake(const dsm_atomic_u32 *word, uint32_t waiters);

void dsm_os_process_self(dsm_os_process *out);
/* Identity of the process that has that pid now; start_ticks 0 if there is none. */
void dsm_os_process_of(uint32_t pid, dsm_os_process *out);
bool dsm_os_process_alive(const dsm_os_process *process);
/* The kernel's letter for its state: R, S, D, T (stopped), Z …; '?' if there is no such process. */
char dsm_os_process_state(const dsm_os_process *process);
/* Identity of the pid namespace, since pids of two namespaces must not be compared. */
uint64_t dsm_os_pid_namespace(void);
/* A descriptor that becomes readable when the process ends, or -1. */
int dsm_os_process_watch(const dsm_os_process *process);
void dsm_os_process_unwatch(int descriptor);
/* Asks the kernel to run this thread soon after it wakes, in exchange for short turns: for threads
 * that sleep, look and sleep again. A hint, which older kernels (before Linux 6.12) ignore. */
void dsm_os_thread_prompt(void);
/* The running thread's number, as the kernel counts threads. */
uint32_t dsm_os_thread_number(void);
/* Whether some thread of some process has that number; true if it cannot be told. */
bool dsm_os_thread_exists(uint32_t number);
/* A descriptor, closed by dsm_os_process_unwatch, that becomes readable when that thread of the
 * process ends; -1 if there is none, or where the kernel cannot tell (before Linux 6.9). */
int dsm_os_thread_watch(const dsm_os_process *process, uint32_t thread);

typedef enum dsm_os_signal {
  DSM_OS_SIGNAL_KILL,     /* ends it, whatever it does */
  DSM_OS_SIGNAL_STOP,     /* it does nothing until … */
  DSM_OS_SIGNAL_CONTINUE, /* … this */
} dsm_os_signal;

/* Signals the process that a descriptor watches, and never another that got its number. False if it
 * has ended or is not ours to signal. */
bool dsm_os_process_signal(int descriptor, dsm_os_signal signal);
/* Starts a program that shares nothing with us: no descriptor but the null device, no signal mask,
 * a process group of its own. Lists end with NULL. It is our child, to be reaped. */
dsm_status dsm_os_process_start(char *const *command, char *const *environment,
                                dsm_os_process *out);
/* True if our child has ended; *status is its exit status, or minus the signal. */
bool dsm_os_process_reap(const dsm_os_process *process, int32_t *status);

/* A door: others of this user knock, and who polls the descriptor looks. Nothing is left of it when
 * its process ends. -1 where there are none: then nobody is woken, and looks by himself. */
int dsm_os_door_open(uint64_t number);
void dsm_os_door_knock(const uint64_t *numbers, unsigned count);
/* Takes back the knocks that have come. */
void dsm_os_door_clear(int door);
void dsm_os_door_close(int door);

uint64_t dsm_os_monotonic_ns(void);
uint64_t dsm_os_realtime_ns(void);
uint64_t dsm_os_random_u64(void);
void dsm_os_yield(void);
/* Sleeps about that long. */
void dsm_os_pause(uint32_t wait_us);
/* The processor that the calling thread runs on; UINT32_MAX if that cannot be told. */
uint32_t dsm_os_processor(void);
/* Moves the calling thread to another processor, if it may run on one; where it may run stays. */
void dsm_os_processor_leave(void);
/* Waiting for many descriptors at once. The set is kept by the kernel, so a wait costs the same for
 * one as for hundreds. A descriptor is removed before it is closed: a forked child may hold a copy.
 */
int dsm_os_poller_open(void);
bool dsm_os_poller_add(int poller, int descriptor, uint32_t tag);
void dsm_os_poller_remove(int poller, int descriptor);
/* Waits until one is readable, at most wait_ms; the tags of up to `room` that are. Returns how
 * many.
 */
unsigned dsm_os_poller_wait(int poller, uint32_t *tags, unsigned room, uint32_t wait_ms);
void dsm_os_poller_close(int poller);

/* A counter that is readable while it is above zero; used to wake and to stop a service thread. */
int dsm_os_event_open(void);
void dsm_os_event_set(int event);
void dsm_os_event_close(int event);

/* A thread with all signals blocked. */
typedef struct dsm_os_thread dsm_os_thread;
dsm_status dsm_os_thread_start(void (*run)(void *), void *argument, dsm_os_thread **out);
void dsm_os_thread_join(dsm_os_thread *thread);

/* A word that reads 1 in this process and 0 in a child forked from it; NULL without memory. */
const volatile uint32_t *dsm_os_fork_flag_open(void);
void dsm_os_fork_flag_close(const volatile uint32_t *flag);

#endif
