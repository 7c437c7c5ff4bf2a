/* Where a failed assertion ends: one line on standard error, then abort(), which leaves a core for
 * gdb. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

void dsm__assert_failed(const char *file, int line, const char *expression) {
  fprintf(stderr, "dsm_native: %s:%d: assertion failed: %s\n", file, line, expression);
  abort();
}
