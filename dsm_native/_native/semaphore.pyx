# The semaphore: permits are taken and returned under the record's own mutex, which is held for a
# few stores.
from dsm_native._native.core cimport DSM_OK, dsm_call, dsm_call_make, dsm_status, uint32_t
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.sync cimport (
    DSM_SYNC_PERMITS_MAX, DSM_SYNC_SEMAPHORE, DSM_SYNC_SEMAPHORE_HEAP_BYTES, Attempt, SyncCore,
    dsm_sync_semaphore_release, dsm_sync_semaphore_try, dsm_sync_semaphore_value, dsm_sync_wake,
    seconds_of,
)

from dsm_native.exceptions import UsageError

PERMITS_MAX = DSM_SYNC_PERMITS_MAX

cdef enum:
    TAKE = 0
    GIVE = 1


cdef class SemaphoreCore(SyncCore):
    """Permits, without `await`."""

    def __init__(self, Handle handle, str name, uint32_t value, bint bounded):
        self.open(handle, DSM_SYNC_SEMAPHORE, name, (value, bounded),
                  DSM_SYNC_SEMAPHORE_HEAP_BYTES)

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        if what.action == GIVE:
            return dsm_sync_semaphore_release(call, &self.sync, what.number)
        return dsm_sync_semaphore_try(call, &self.sync, &what.number)

    def acquire(self, bint blocking=True, timeout=None):
        """Takes a permit; whether there was one. As threading.Semaphore.acquire."""
        cdef Attempt what
        if not blocking and timeout is not None:
            raise UsageError("can't specify timeout for non-blocking acquire")
        what.action = TAKE
        if self.tries(&what):
            return True
        if not blocking or not self.waits(&what, 0, seconds_of(timeout)):
            return False
        if what.number:  # releases while we were being woken did not wake others
            dsm_sync_wake(&self.sync, 0, 1)
        return True

    def release(self, n=1):
        """Returns n permits: those that this process holds first; the rest are added.

        A bounded semaphore refuses what the process does not hold (UsageError, a ValueError).
        """
        cdef Attempt what
        if n < 1:
            raise UsageError("n must be one or more")
        if n > DSM_SYNC_PERMITS_MAX:
            raise UsageError(f"n must be at most {DSM_SYNC_PERMITS_MAX}")
        what.action = GIVE
        what.number = n
        self.does(&what)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exception):
        self.release()

    @property
    def value(self):
        """Permits that can be taken, as of about now."""
        cdef uint32_t value = 0
        handle_ready(self.handle)
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_status status = dsm_sync_semaphore_value(&call, &self.sync, &value)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, self.name, 0)
        return value
