/* The one list of outcomes.
 *
 * Every fallible function of the core returns a dsm_status. The list below is expanded into the
 * enum, the names, the messages and (in dsm_native/_native) the table of Python exceptions; a test
 * proves that all four agree. Columns: NAME, Python exception class, message for a reader who has
 * nothing else to go by.
 */
#ifndef DSM_BASE_STATUS_H
#define DSM_BASE_STATUS_H

#define DSM_STATUS_LIST(X)                                                                         \
  X(OK, "", "success")                                                                             \
  X(NOT_FOUND, "KeyNotFoundError", "no such key")                                                  \
  X(RETRY, "DSMError", "a concurrent change was met; the caller repeats the call")                 \
  X(CLOSED, "ClosedError", "the handle or its cluster is closed")                                  \
  X(FORKED, "ForkedError", "the handle belongs to the parent process")                             \
  X(USAGE, "UsageError", "an argument is outside its documented range")                            \
  X(EXISTS, "ClusterExistsError", "a cluster of that name is already running")                     \
  X(NO_CLUSTER, "ClusterNotFoundError", "no cluster of that name is running")                      \
  X(LOCK_TIMEOUT, "LockTimeoutError", "a lock was not granted in time")                            \
  X(VERSION_CONFLICT, "VersionConflictError", "the object has another version than asked for")     \
  X(ABORTED, "TransactionAbortedError", "an object that the transaction rests on was changed")     \
  X(KEY_TOO_LONG, "KeyTooLongError", "the encoded key is longer than a segment allows")            \
  X(WRONG_TYPE, "ValueTypeError", "the stored value is not of the type the operation needs")       \
  X(OVERFLOW, "CounterOverflowError", "the counter would leave the 64-bit signed range")           \
  X(CLOCK_OFFSET, "ClockOffsetError", "a timestamp is further ahead of the clock than allowed")    \
  X(CLOCK_OVERFLOW, "ClockOverflowError", "the clock has reached the end of its range")            \
  X(STORE_FULL, "StoreFullError", "the kernel or the segment has no room for the value")           \
  X(TOO_MANY, "LimitError", "a fixed table of the control segment is full")                        \
  X(TORN, "TornWriteError", "a writer was killed in tiles that keep no undo image")                \
  X(CORRUPT, "CorruptError", "bytes in a segment are damaged")                                     \
  X(NO_REPLICAS, "NoReplicasAvailableError", "no replica of the object validates")                 \
  X(LAYOUT, "CorruptError", "the segment was written by an incompatible layout")                   \
  X(NOT_OWNER, "NotOwnerError", "the caller does not hold what it wants to give back")             \
  X(BROKEN, "BrokenBarrierError", "the barrier is broken")                                         \
  X(OS, "SystemCallError", "a system call failed")

typedef enum dsm_status {
#define DSM_STATUS_ENUM(name, exception, message) DSM_##name,
  DSM_STATUS_LIST(DSM_STATUS_ENUM)
#undef DSM_STATUS_ENUM
      DSM_STATUS_COUNT
} dsm_status;

const char *dsm_status_name(dsm_status status);
const char *dsm_status_exception(dsm_status status);
const char *dsm_status_message(dsm_status status);

#define DSM_TRY(expression)                                                                        \
  do {                                                                                             \
    dsm_status dsm_try_status = (expression);                                                      \
    if (__builtin_expect(dsm_try_status != DSM_OK, 0)) return dsm_try_status;                      \
  } while (0)

#endif
