/* Names, exception classes and messages of the outcomes, each expanded from DSM_STATUS_LIST. */
#include "status.h"

static const struct {
  const char *name, *exception, *message;
} rows[DSM_STATUS_COUNT] = {
#define DSM_STATUS_ROW(name, exception, message) {#name, exception, message},
    DSM_STATUS_LIST(DSM_STATUS_ROW)
#undef DSM_STATUS_ROW
};

static int known(dsm_status status) {
  return (int)status >= 0 && status < DSM_STATUS_COUNT;
}

const char *dsm_status_name(dsm_status status) {
  return known(status) ? rows[status].name : "UNKNOWN";
}

const char *dsm_status_exception(dsm_status status) {
  return known(status) ? rows[status].exception : "DSMError";
}

const char *dsm_status_message(dsm_status status) {
  return known(status) ? rows[status].message : "unknown status";
}
