/* Transactions killed with SIGKILL, for real, at every planned crash point. The parent commits to
 * the same stripes at once, not even waiting for the child's end.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_main.h"
#include "crash_hook.h"
#include "leaks_ignored.h"
#include "tale.h"

static char cluster_name[32];
static dsm_atomic_u64 *died_ns;
static workspace work;
static unsigned deaths;

static pid_t start_victim(const tale *tale, unsigned at) {
  dsm_store_release_u64(died_ns, 0);
  fflush(NULL);
  pid_t child = fork();
  fixture_require(child >= 0, "fork");
  if (child) return child;
  fixture self = fixture_attach(cluster_name);
  crash_kill_at(at, died_ns);
  _exit(tale_bring(&self, &work, tale->after) == DSM_OK ? 0 : 1);
}

/* True if the child was killed, false if it finished. */
static bool was_killed(pid_t child) {
  int status;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return true;
  fixture_require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child was killed or is done");
  return false;
}

static bool try_death(const tale *tale, fixture *by, unsigned at) {
  pid_t child = start_victim(tale, at);
  for (siginfo_t info = {0}; dsm_load_acquire_u64(died_ns) == 0 && !info.si_pid; sched_yield())
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT);
  if (at % 2) fixture_retire_dead(by);
  tale_judge(tale, by, &work);
  bool killed = was_killed(child);
  fixture_retire_dead(by);
  fixture_require(tale_bring(by, &work, tale->before) == DSM_OK, "go back");
  deaths += killed;
  return killed;
}

int main(void) {
  snprintf(cluster_name, sizeof cluster_name, "ctest.tkill.%d", (int)getpid());
  died_ns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (unsigned i = 0; i < tale_count; i++)
    for (uint32_t replicas = 1; replicas <= 3; replicas++) {
      fixture_shape shape = {cluster_name, 3, replicas, 2, 4ull << 20};
      fixture owner = fixture_create(&shape);
      tale_begin(&tales[i], &owner, &work);
      bool killed = true;
      for (unsigned at = 1; killed; at += rounds_all() ? 1 : 7) {
        snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, kill at point %u",
                 tales[i].name, replicas, at);
        killed = try_death(&tales[i], &owner, at);
      }
      tale_judge_empty(&tales[i], &owner);
      fixture_close(&owner, true);
    }
  CHECK(deaths > 100);
  printf("%u deaths\n", deaths);
  return check_result("crash_transaction");
}
