/* The contract with the kernel, on Linux: identity and death of processes, clocks, randomness. */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../base/check.h"
#include "../base/limits.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#define PROMPT_TURN_NS 100000u /* the shortest that the kernel grants */

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

typedef struct process_stat {
  char state;
  uint64_t threads, start_ticks;
} process_stat;

/* Reads what the kernel says of a pid; false if there is no such process. */
static bool read_stat(uint32_t pid, process_stat *out) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%u/stat", pid);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  ssize_t length = read(descriptor, text, sizeof text - 1);
  close(descriptor);
  if (length <= 0) return false;
  text[length] = 0;
  char *at = strrchr(text, ')'); /* the command's name may hold blanks and brackets */
  if (!at || at[1] != ' ') return false;
  out->state = at[2];
  for (int field = 3; field < 22 && at; field++) {
    if (field == 20) out->threads = strtoull(at, NULL, 10);
    at = strchr(at + 2, ' ');
  }
  if (!at) return false;
  out->start_ticks = strtoull(at, NULL, 10);
  return true;
}

void dsm_os_process_of(uint32_t pid, dsm_os_process *out) {
  process_stat stat;
  *out = (dsm_os_process){.pid = pid};
  if (read_stat(pid, &stat)) out->start_ticks = stat.start_ticks;
}

void dsm_os_process_self(dsm_os_process *out) {
  dsm_os_process_of((uint32_t)getpid(), out);
}

char dsm_os_process_state(const dsm_os_process *process) {
  process_stat stat;
  bool found = read_stat(process->pid, &stat) && stat.start_ticks == process->start_ticks;
  return found ? stat.state : '?';
}

/* A zombie with threads is one whose first thread has ended before the others. */
bool dsm_os_process_alive(const dsm_os_process *process) {
  process_stat stat;
  if (!read_stat(process->pid, &stat) || stat.start_ticks != process->start_ticks) return false;
  return (stat.state != 'Z' && stat.state != 'X') || stat.threads > 1;
}

uint64_t dsm_os_pid_namespace(void) {
  struct stat info;
  return stat("/proc/self/ns/pid", &info) == 0 ? (uint64_t)info.st_ino : 0;
}

int dsm_os_process_watch(const dsm_os_process *process) {
  int descriptor = (int)syscall(SYS_pidfd_open, (pid_t)process->pid, 0u);
  if (descriptor < 0) return -1;
  /* The pid may have been reused before the open: what we hold must be whom we meant. */
  char state = dsm_os_process_state(process);
  if (state != '?') return descriptor;
  close(descriptor);
  return -1;
}

/* struct sched_attr of the kernel, in its first version. */
typedef struct schedule {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime_ns, deadline_ns, period_ns;
} schedule;

/* For a thread of the usual policy the run time is the length of its turns; who asks for a shorter
 * one than the running thread's may interrupt that. No privilege is needed. */
void dsm_os_thread_prompt(void) {
  schedule own = {.size = sizeof own};
  if (syscall(SYS_sched_getattr, 0, &own, sizeof own, 0u) != 0 || own.policy != SCHED_OTHER) return;
  own.size = sizeof own;
  own.flags = 0;
  own.runtime_ns = PROMPT_TURN_NS;
  (void)syscall(SYS_sched_setattr, 0, &own, 0u);
}

uint32_t dsm_os_thread_number(void) {
  return (uint32_t)syscall(SYS_gettid);
}

bool dsm_os_thread_exists(uint32_t number) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%u", number);
  return kill((pid_t)number, 0) == 0 || errno != ESRCH || access(path, F_OK) == 0;
}

int dsm_os_thread_watch(const dsm_os_process *process, uint32_t thread) {
  char path[48];
  int descriptor = (int)syscall(SYS_pidfd_open, (pid_t)thread, (unsigned)PIDFD_THREAD);
  if (descriptor < 0) return -1;
  /* As with processes: the number may be another's by now. */
  snprintf(path, sizeof path, "/proc/%u/task/%u", process->pid, thread);
  if (access(path, F_OK) == 0 && dsm_os_process_state(process) != '?') return descriptor;
  close(descriptor);
  return -1;
}

void dsm_os_process_unwatch(int descriptor) {
  if (descriptor >= 0) close(descriptor);
}

static uint64_t now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t dsm_os_monotonic_ns(void) {
  return now_ns(CLOCK_MONOTONIC);
}

uint64_t dsm_os_realtime_ns(void) {
  return now_ns(CLOCK_REALTIME);
}

uint64_t dsm_os_random_u64(void) {
  uint64_t value = 0;
  ssize_t length;
  do length = getrandom(&value, sizeof value, 0);
  while (length < 0 && errno == EINTR);
  DSM_ASSERT(length == sizeof value);
  return value;
}

void dsm_os_yield(void) {
  sched_yield();
}

uint32_t dsm_os_processor(void) {
  int processor = sched_getcpu();
  return processor < 0 ? UINT32_MAX : (uint32_t)processor;
}

void dsm_os_processor_leave(void) {
  cpu_set_t allowed, others;
  uint32_t here = dsm_os_processor();
  if (here >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed) < 0) return;
  others = allowed;
  CPU_CLR(here, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) < 0) return;
  sched_setaffinity(0, sizeof allowed, &allowed);
}

const volatile uint32_t *dsm_os_fork_flag_open(void) {
  uint32_t *page =
      mmap(NULL, DSM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, DSM_PAGE_BYTES, MADV_WIPEONFORK) < 0) {
    munmap(page, DSM_PAGE_BYTES);
    return NULL;
  }
  *page = 1;
  return page;
}

void dsm_os_fork_flag_close(const volatile uint32_t *flag) {
  if (flag) munmap((void *)(uintptr_t)flag, DSM_PAGE_BYTES);
}
