/* Included by a test that kills: what a killed process held privately is freed by nobody, so that
 * the address sanitizer does not look for leaks in it.
 */
#ifndef DSM_TESTS_LEAKS_IGNORED_H
#define DSM_TESTS_LEAKS_IGNORED_H

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0";
}

#endif
