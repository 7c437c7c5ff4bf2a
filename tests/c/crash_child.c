/* Children that are killed. */
#define _GNU_SOURCE
#include "crash_child.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash_hook.h"

static dsm_atomic_u64 *died_ns; /* shared with the children */

pid_t crash_child_start(unsigned at, const char *cluster, void (*act)(void *context, fixture *self),
                        void *context) {
  if (!died_ns)
    died_ns =
        mmap(NULL, sizeof *died_ns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fixture_require(died_ns != MAP_FAILED, "shared memory");
  dsm_store_release_u64(died_ns, 0);
  fflush(NULL);
  pid_t child = fork();
  fixture_require(child >= 0, "fork");
  if (child) return child;
  fixture self = {0};
  if (cluster) self = fixture_attach(cluster);
  crash_kill_at(at, died_ns);
  act(context, &self);
  _exit(0);
}

uint64_t crash_child_dies(pid_t child) {
  siginfo_t info = {0};
  while (dsm_load_acquire_u64(died_ns) == 0 && !info.si_pid) {
    sched_yield();
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT);
  }
  return dsm_load_acquire_u64(died_ns);
}

bool crash_child_killed(pid_t child) {
  int status;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return true;
  fixture_require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child was killed or is done");
  return false;
}
