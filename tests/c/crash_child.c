/* Children that are killed. */
#define _GNU_SOURCE
#include "crash_child.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash_hook.h"

#define POINTS_MAX 256u

static crash_death *death; /* shared with the children */
static struct {
  char name[sizeof death->point];
  unsigned deaths;
} points[POINTS_MAX];
static unsigned point_count;

static pid_t start(void) {
  if (!death)
    death = mmap(NULL, sizeof *death, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fixture_require(death != MAP_FAILED, "shared memory");
  memset(death->point, 0, sizeof death->point);
  dsm_store_release_u64(&death->at_ns, 0);
  fflush(NULL);
  pid_t child = fork();
  fixture_require(child >= 0, "fork");
  return child;
}

pid_t crash_child_start(unsigned at, const char *cluster, void (*act)(void *context, fixture *self),
                        void *context) {
  pid_t child = start();
  if (child) return child;
  fixture self = {0};
  if (cluster) self = fixture_attach(cluster);
  crash_kill_at(at, death);
  act(context, &self);
  _exit(0);
}

pid_t crash_child_fork(unsigned at, const fixture *parent,
                       void (*act)(void *context, fixture *self), void *context) {
  pid_t child = start();
  if (child) return child;
  fixture self = *parent;
  fixture_require(dsm_cluster_fork_adopt(self.cluster, DSM_NOBODY, &self.call.fault) == DSM_OK,
                  "the child joins");
  crash_kill_at(at, death);
  act(context, &self);
  _exit(0);
}

uint64_t crash_child_dies(pid_t child) {
  siginfo_t info = {0};
  while (dsm_load_acquire_u64(&death->at_ns) == 0 && !info.si_pid) {
    sched_yield();
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT);
  }
  return dsm_load_acquire_u64(&death->at_ns);
}

static void count_death(void) {
  unsigned i = 0;
  while (i < point_count && strcmp(points[i].name, death->point) != 0) i++;
  fixture_require(i < POINTS_MAX, "there is room for the point");
  if (i == point_count) memcpy(points[point_count++].name, death->point, sizeof death->point);
  points[i].deaths++;
}

bool crash_child_killed(pid_t child) {
  int status;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
    count_death();
    return true;
  }
  fixture_require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child was killed or is done");
  return false;
}

void crash_child_tell(unsigned second) {
  const char *point = death->point[0] ? death->point : "its end";
  size_t told = strlen(fixture_story);
  char *end = fixture_story + told;
  if (second)
    snprintf(end, sizeof fixture_story - told, ", then at point %u, %s", second, point);
  else
    snprintf(end, sizeof fixture_story - told, ", %s", point);
}

void crash_child_require_nothing_left(const char *cluster) {
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_segment_name(name, cluster, -1);
  size_t length = strlen(name + 1);
  DIR *folder = opendir("/dev/shm");
  fixture_require(folder != NULL, "/dev/shm can be read");
  for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
    fixture_require(strncmp(entry->d_name, name + 1, length) != 0, "no segment is left");
  closedir(folder);
}

unsigned crash_child_deaths(const char *prefix) {
  unsigned deaths = 0;
  for (unsigned i = 0; i < point_count; i++)
    if (strncmp(points[i].name, prefix, strlen(prefix)) == 0) deaths += points[i].deaths;
  return deaths;
}
