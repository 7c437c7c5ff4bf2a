/* The hook of the planned crash points; the one piece of file-scope state, in test builds only. */
#include "crash.h"

#ifdef DSM_CRASH_POINTS
void (*dsm_crash_hook)(const char *name);
#else
typedef int dsm__crash_points_are_off;
#endif
