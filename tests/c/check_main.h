/* What the C tests share: CHECK macros that print both sides of a broken relation and count. Each
 * test is one small program that returns check_result(), and runs under the sanitizers as it is.
 */
#ifndef DSM_TESTS_CHECK_MAIN_H
#define DSM_TESTS_CHECK_MAIN_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

static int check_failures, check_count;

#define CHECK(expression)                                                                          \
  do {                                                                                             \
    check_count++;                                                                                 \
    if (!(expression)) {                                                                           \
      check_failures++;                                                                            \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #expression);                     \
    }                                                                                              \
  } while (0)

#define CHECK_EQUAL(actual, expected)                                                              \
  do {                                                                                             \
    uint64_t check_actual = (uint64_t)(actual), check_expected = (uint64_t)(expected);             \
    check_count++;                                                                                 \
    if (check_actual != check_expected) {                                                          \
      check_failures++;                                                                            \
      fprintf(stderr,                                                                              \
              "%s:%d: %s is %" PRIu64 " (%#" PRIx64 "), expected %" PRIu64 " (%#" PRIx64 ")\n",    \
              __FILE__, __LINE__, #actual, check_actual, check_actual, check_expected,             \
              check_expected);                                                                     \
    }                                                                                              \
  } while (0)

static int check_result(const char *name) {
  printf("%s: %d checks, %d failed\n", name, check_count, check_failures);
  return check_failures != 0;
}

#endif
