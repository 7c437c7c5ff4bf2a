/* The contract with the kernel, on Linux: signalling, starting and reaping processes.
 *
 * Signals go through pidfds, so that they never reach a later process of the same number.
 */
#define _GNU_SOURCE
#include "os.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

bool dsm_os_process_signal(int descriptor, dsm_os_signal signal) {
  static const int numbers[] = {[DSM_OS_SIGNAL_KILL] = SIGKILL,
                                [DSM_OS_SIGNAL_STOP] = SIGSTOP,
                                [DSM_OS_SIGNAL_CONTINUE] = SIGCONT};
  return syscall(SYS_pidfd_send_signal, descriptor, numbers[signal], NULL, 0u) == 0;
}

/* Our service thread has all signals blocked, and Python ignores some: neither is inherited. */
static int prepare(posix_spawnattr_t *attributes, posix_spawn_file_actions_t *actions) {
  sigset_t none, usual;
  sigemptyset(&none);
  sigfillset(&usual);
  int failed = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETPGROUP);
  failed |= posix_spawnattr_setsigmask(attributes, &none);
  failed |= posix_spawnattr_setsigdefault(attributes, &usual);
  failed |= posix_spawnattr_setpgroup(attributes, 0);
  failed |= posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  failed |= posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  failed |= posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
  return failed;
}

dsm_status dsm_os_process_start(char *const *command, char *const *environment,
                                dsm_os_process *out) {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  pid_t pid = 0;
  if (posix_spawnattr_init(&attributes) != 0) return DSM_OS;
  if (posix_spawn_file_actions_init(&actions) != 0) {
    posix_spawnattr_destroy(&attributes);
    return DSM_OS;
  }
  int failed = prepare(&attributes, &actions);
  if (!failed) failed = posix_spawn(&pid, command[0], &actions, &attributes, command, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed) return DSM_OS;
  dsm_os_process_of((uint32_t)pid, out);
  return DSM_OK;
}

bool dsm_os_process_reap(const dsm_os_process *process, int32_t *status) {
  int code = 0;
  pid_t ended = waitpid((pid_t)process->pid, &code, WNOHANG);
  if (ended == 0) return false;
  *status = INT32_MIN;
  if (ended > 0) *status = WIFSIGNALED(code) ? -WTERMSIG(code) : WEXITSTATUS(code);
  return true; /* somebody else may have reaped it: it has ended, and nobody knows how */
}
