/* The contract with the kernel, on Linux: robust mutexes, words, events, waiting, threads.
 *
 * The mutexes are pthread's process-shared robust ones. The kernel itself walks the robust list of
 * a thread that ends, before it tears down the memory of the process, so that the next locker
 * learns of the death at once, without a service thread and without false positives (I-4, I-6).
 */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../base/check.h"
#include "../base/copy.h"
#include "../base/limits.h"

#define POLLED_MAX 64

_Static_assert(sizeof(pthread_mutex_t) <= DSM_OS_MUTEX_BYTES, "the mutex fits its room");

static pthread_mutex_t *as_mutex(dsm_os_mutex_shm *mutex) {
  return (pthread_mutex_t *)(void *)mutex;
}

dsm_status dsm_os_mutex_init(dsm_os_mutex_shm *mutex) {
  pthread_mutexattr_t attributes;
  if (pthread_mutexattr_init(&attributes) != 0) return DSM_OS;
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  int result = pthread_mutex_init(as_mutex(mutex), &attributes);
  pthread_mutexattr_destroy(&attributes);
  return result == 0 ? DSM_OK : DSM_OS;
}

static dsm_os_lock outcome(int result) {
  if (result == 0) return DSM_OS_LOCK_TAKEN;
  if (result == EOWNERDEAD) return DSM_OS_LOCK_OWNER_DIED;
  return DSM_OS_LOCK_BUSY;
}

dsm_os_lock dsm_os_mutex_try(dsm_os_mutex_shm *mutex) {
  return outcome(pthread_mutex_trylock(as_mutex(mutex)));
}

/* ThreadSanitizer does not know pthread_mutex_clocklock, so that it would take every lock after a
 * wait for one that is not held; it knows the call with the adjustable clock. */
#ifdef DSM_COPY_ATOMIC
#define WAIT_CLOCK CLOCK_REALTIME
#define LOCK_UNTIL(mutex, until) pthread_mutex_timedlock(mutex, until)
#else
#define WAIT_CLOCK CLOCK_MONOTONIC
#define LOCK_UNTIL(mutex, until) pthread_mutex_clocklock(mutex, WAIT_CLOCK, until)
#endif

dsm_os_lock dsm_os_mutex_wait(dsm_os_mutex_shm *mutex, uint32_t wait_ms) {
  struct timespec until;
  clock_gettime(WAIT_CLOCK, &until);
  until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
  until.tv_sec += wait_ms / 1000 + until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  return outcome(LOCK_UNTIL(as_mutex(mutex), &until));
}

void dsm_os_mutex_consistent(dsm_os_mutex_shm *mutex) {
  pthread_mutex_consistent(as_mutex(mutex));
}

void dsm_os_mutex_unlock(dsm_os_mutex_shm *mutex) {
  int result = pthread_mutex_unlock(as_mutex(mutex));
  DSM_ASSERT(result == 0);
}

/* Since the kernel marks the locks of a thread before its number becomes free, the number of no
 * thread in a lock means damage. glibc's layout; with another library nothing is mended. */
bool dsm_os_mutex_mend(dsm_os_mutex_shm *mutex) {
#ifdef __GLIBC__
  dsm_os_mutex_shm whole = {0};
  pthread_mutex_t *real = as_mutex(mutex);
  dsm_atomic_u32 *word = (dsm_atomic_u32 *)(void *)&real->__data.__lock;
  uint32_t seen = dsm_load_acquire_u32(word);
  if (dsm_os_mutex_init(&whole) != DSM_OK) return false;
  int kind = as_mutex(&whole)->__data.__kind;
  bool sound = real->__data.__kind == kind;
  /* A mutex of another kind has no number in its word, but beside it. */
  uint32_t holder = sound ? seen & FUTEX_TID_MASK : (uint32_t)real->__data.__owner & FUTEX_TID_MASK;
  bool idle = sound ? seen == 0 || seen & FUTEX_OWNER_DIED : seen != 0;
  if (holder ? dsm_os_thread_exists(holder) : idle) return false;
  real->__data.__kind = kind;
  return dsm_cas_acq_rel_u32(word, &seen, (seen & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
#else
  (void)mutex;
  return false;
#endif
}

void dsm_os_word_wait(const dsm_atomic_u32 *word, uint32_t expected, uint32_t wait_us) {
  struct timespec limit = {.tv_sec = wait_us / 1000000,
                           .tv_nsec = (long)(wait_us % 1000000) * 1000};
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0);
}

void dsm_os_word_wake(const dsm_atomic_u32 *word, uint32_t waiters) {
  int count = waiters > INT_MAX ? INT_MAX : (int)waiters;
  syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

int dsm_os_poller_open(void) {
  return epoll_create1(EPOLL_CLOEXEC);
}

bool dsm_os_poller_add(int poller, int descriptor, uint32_t tag) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = tag}};
  return epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void dsm_os_poller_remove(int poller, int descriptor) {
  if (descriptor >= 0) epoll_ctl(poller, EPOLL_CTL_DEL, descriptor, NULL);
}

unsigned dsm_os_poller_wait(int poller, uint32_t *tags, unsigned room, uint32_t wait_ms) {
  struct epoll_event events[POLLED_MAX];
  int limit = room < POLLED_MAX ? (int)room : POLLED_MAX;
  int found = epoll_wait(poller, events, limit, (int)wait_ms);
  for (int i = 0; i < found; i++) tags[i] = events[i].data.u32;
  return found > 0 ? (unsigned)found : 0;
}

void dsm_os_poller_close(int poller) {
  if (poller >= 0) close(poller);
}

int dsm_os_event_open(void) {
  return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void dsm_os_event_set(int event) {
  uint64_t one = 1;
  ssize_t written = write(event, &one, sizeof one);
  (void)written; /* a full counter is already readable */
}

void dsm_os_event_close(int event) {
  if (event >= 0) close(event);
}

struct dsm_os_thread {
  pthread_t thread;
  void (*run)(void *);
  void *argument;
};

static void *thread_main(void *self) {
  struct dsm_os_thread *thread = self;
  thread->run(thread->argument);
  return NULL;
}

dsm_status dsm_os_thread_start(void (*run)(void *), void *argument, dsm_os_thread **out) {
  struct dsm_os_thread *thread = malloc(sizeof *thread);
  if (!thread) return DSM_OS;
  *thread = (struct dsm_os_thread){.run = run, .argument = argument};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = pthread_create(&thread->thread, NULL, thread_main, thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (result != 0) {
    free(thread);
    return DSM_OS;
  }
  *out = thread;
  return DSM_OK;
}

void dsm_os_thread_join(dsm_os_thread *thread) {
  if (!thread) return;
  pthread_join(thread->thread, NULL);
  free(thread);
}

void dsm_os_pause(uint32_t wait_us) {
  dsm_atomic_u32 never = 0;
  dsm_os_word_wait(&never, 0, wait_us);
}
