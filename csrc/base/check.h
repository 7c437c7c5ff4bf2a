/* Assertions at three prices. assert() is not used: Python builds with -DNDEBUG, which would
 * silently remove it.
 *
 * DSM_ASSERT    programmer errors, in every build: one predictable branch, aborts with file, line
 * and expression. DSM_DEBUG     the same in builds with -DDSM_DEBUG_CHECKS (C tests, sanitizers),
 * nothing in a release. DSM_PARANOID  whole-structure checks that cost more than the operation,
 * only with -DDSM_PARANOID_CHECKS.
 *
 * None of them may be used on bytes that come from a segment: those are input (I-10) and end in
 * DSM_CORRUPT.
 */
#ifndef DSM_BASE_CHECK_H
#define DSM_BASE_CHECK_H

_Noreturn void dsm__assert_failed(const char *file, int line, const char *expression);

#define DSM_ASSERT(expression)                                                                     \
  ((expression) ? (void)0 : dsm__assert_failed(__FILE__, __LINE__, #expression))

#ifdef DSM_DEBUG_CHECKS
#define DSM_DEBUG(expression) DSM_ASSERT(expression)
#else
#define DSM_DEBUG(expression) ((void)0)
#endif

#ifdef DSM_PARANOID_CHECKS
#define DSM_PARANOID(expression) DSM_ASSERT(expression)
#else
#define DSM_PARANOID(expression) ((void)0)
#endif

#define DSM_LIKELY(expression) __builtin_expect(!!(expression), 1)
#define DSM_UNLIKELY(expression) __builtin_expect(!!(expression), 0)

#endif
