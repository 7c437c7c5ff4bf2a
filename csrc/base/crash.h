/* Planned crash points: a name at every place where a kill would leave a distinct state.
 *
 * In a release they are nothing. With -DDSM_CRASH_POINTS the test's hook is called with the name
 * and may end the process with SIGKILL, or jump out of it in the simulated system.
 */
#ifndef DSM_BASE_CRASH_H
#define DSM_BASE_CRASH_H

#ifdef DSM_CRASH_POINTS
extern void (*dsm_crash_hook)(const char *name);
#define DSM_CRASH_POINT(name)                                                                      \
  do {                                                                                             \
    if (dsm_crash_hook) dsm_crash_hook(name);                                                      \
  } while (0)
#else
#define DSM_CRASH_POINT(name) ((void)0)
#endif

#endif
