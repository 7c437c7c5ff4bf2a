/* The one list of outcomes: names, exception classes and messages are complete and distinct. */
#include <string.h>

#include "../../csrc/base/status.h"
#include "check_main.h"

static void test_every_status_has_its_row(void) {
  for (int i = 0; i < DSM_STATUS_COUNT; i++) {
    const char *name = dsm_status_name((dsm_status)i);
    CHECK(name[0] != 0 && strcmp(name, "UNKNOWN") != 0);
    CHECK(dsm_status_message((dsm_status)i)[0] != 0);
    for (int j = 0; j < i; j++) {
      CHECK(strcmp(name, dsm_status_name((dsm_status)j)) != 0);
      CHECK(strcmp(dsm_status_message((dsm_status)i), dsm_status_message((dsm_status)j)) != 0);
    }
  }
}

static void test_exceptions_end_in_error(void) {
  CHECK_EQUAL(DSM_OK, 0);
  CHECK(dsm_status_exception(DSM_OK)[0] == 0);
  for (int i = 1; i < DSM_STATUS_COUNT; i++) {
    const char *exception = dsm_status_exception((dsm_status)i);
    size_t length = strlen(exception);
    CHECK(length > 5 && strcmp(exception + length - 5, "Error") == 0);
  }
}

static void test_rows_stand_where_the_enum_says(void) {
#define CHECK_ROW(name, exception, message)                                                        \
  CHECK(strcmp(dsm_status_name(DSM_##name), #name) == 0);                                          \
  CHECK(strcmp(dsm_status_exception(DSM_##name), exception) == 0);                                 \
  CHECK(strcmp(dsm_status_message(DSM_##name), message) == 0);
  DSM_STATUS_LIST(CHECK_ROW)
#undef CHECK_ROW
}

static void test_numbers_outside_the_list(void) {
  CHECK(strcmp(dsm_status_name(DSM_STATUS_COUNT), "UNKNOWN") == 0);
  CHECK(strcmp(dsm_status_name((dsm_status)-1), "UNKNOWN") == 0);
  CHECK(strcmp(dsm_status_exception(DSM_STATUS_COUNT), "DSMError") == 0);
  CHECK(dsm_status_message((dsm_status)-1)[0] != 0);
}

int main(void) {
  test_every_status_has_its_row();
  test_exceptions_end_in_error();
  test_rows_stand_where_the_enum_says();
  test_numbers_outside_the_list();
  return check_result("status");
}
