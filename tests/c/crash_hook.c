/* The hook that base/crash.h calls at every planned crash point. */
#define _GNU_SOURCE
#include "crash_hook.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/os/os.h"

static jmp_buf way_out;
static unsigned met, wanted;
static const char *latest = "none";

static void jump(const char *name) {
  met++;
  latest = name;
  if (met == wanted) longjmp(way_out, 1);
}

bool crash_jump(unsigned at, void (*action)(void *), void *context) {
  met = 0;
  wanted = at;
  latest = "none";
  volatile bool left = true;
  if (setjmp(way_out) == 0) {
    dsm_crash_hook = jump;
    action(context);
    left = false;
  }
  dsm_crash_hook = NULL;
  return left;
}

static crash_death *death_noted;

static void end_process(const char *name) {
  if (++met != wanted) return;
  strncpy(death_noted->point, name, sizeof death_noted->point - 1);
  dsm_store_release_u64(&death_noted->at_ns, dsm_os_monotonic_ns());
  kill(getpid(), SIGKILL);
}

void crash_kill_at(unsigned at, crash_death *death) {
  met = 0;
  wanted = at;
  death_noted = death;
  dsm_crash_hook = end_process;
}

unsigned crash_points(void) {
  return met;
}

const char *crash_point_name(void) {
  return latest;
}
