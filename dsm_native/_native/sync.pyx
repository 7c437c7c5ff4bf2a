# Objects of synchronisation by name: what all kinds have in common, and how their users wait.
#
# An attempt is one call of the core that never blocks for longer than a slice. It runs with the GIL
# at first; whoever must wait sleeps without it, in slices of 50 ms at most, in which signals, the
# time-out, the end of the cluster and the death of holders are looked at (I-4). dsm_native.sync
# adds what Python does as well: `with`, `await`, pickling.
from cpython.exc cimport PyErr_CheckSignals
from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_OK, DSM_RETRY,
    dsm_call_make, dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_os_monotonic_ns,
)
from dsm_native._native.faults cimport fault_error, fault_text
from dsm_native._native.handle cimport handle_ready

from dsm_native.exceptions import UsageError

cdef double seconds_of(object timeout) except? -1:
    # -1 for None; a time-out below zero has passed already, as in the standard library.
    if timeout is None:
        return -1
    cdef double seconds = timeout
    if seconds != seconds:
        raise UsageError("timeout must be a number of seconds, not nan")
    return seconds if seconds > 0 else 0


cdef class SyncCore:
    """A named object of a cluster's control segment, as seen by one process."""

    cdef int open(self, Handle handle, dsm_sync_kind kind, str name, settings,
                  uint64_t heap_bytes) except -1:
        handle_ready(handle)
        cdef dsm_call call = dsm_call_make(handle.space, <uint32_t>(handle.lock_timeout * 1000))
        cdef dsm_sync_request request
        cdef dsm_status status
        cdef int i
        encoded = name.encode()
        request.kind = kind
        request.name = encoded
        request.name_bytes = <uint32_t>len(encoded)
        for i in range(6):
            request.settings[i] = settings[i] if i < len(settings) else 0
        request.heap_bytes = heap_bytes
        with nogil:
            status = dsm_sync_open(&call, &request, &self.sync)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, name, handle.lock_timeout)
        self.handle = handle
        self.name = name
        return 0

    @property
    def index(self):
        """Number of the record in the control segment."""
        return self.sync.index

    @property
    def settings(self):
        """What the record was made with, as numbers."""
        return tuple(self.sync.settings[i] for i in range(6))

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        return DSM_RETRY

    cdef dsm_status attempt_freely(self, dsm_call *call, Attempt *what) except *:
        # For when somebody is inside the record: waits a slice for it, without the GIL.
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status
        call.wait_ms = DSM_LOCK_SLICE_MS
        dsm_cluster_hold(cluster)
        with nogil:
            status = self.attempt(call, what)
            dsm_cluster_drop(cluster)
        return status

    cdef bint tries(self, Attempt *what) except -1:
        # One attempt; whether it succeeded.
        cdef dsm_call call
        cdef dsm_status status
        handle_ready(self.handle)
        call = dsm_call_make(self.handle.space, 0)
        status = self.attempt(&call, what)
        if status == DSM_LOCK_TIMEOUT:
            status = self.attempt_freely(&call, what)
        if status == DSM_OK:
            return True
        if status == DSM_RETRY or status == DSM_LOCK_TIMEOUT:
            return False
        raise fault_error(status, &call.fault, self.name, 0)

    cdef int does(self, Attempt *what) except -1:
        # Something that waits for nobody but who is inside the record: 0, or 1 for DSM_RETRY.
        cdef dsm_call call
        cdef dsm_status status
        cdef uint64_t start
        handle_ready(self.handle)
        call = dsm_call_make(self.handle.space, 0)
        status = self.attempt(&call, what)
        if status == DSM_LOCK_TIMEOUT:
            start = dsm_os_monotonic_ns()
            while status == DSM_LOCK_TIMEOUT:
                status = self.attempt_freely(&call, what)
                if (dsm_os_monotonic_ns() - start) * 1e-9 >= self.handle.lock_timeout:
                    break
                PyErr_CheckSignals()
                handle_ready(self.handle)
        if status == DSM_OK:
            return 0
        if status == DSM_RETRY:
            return 1
        raise fault_error(status, &call.fault, self.name, self.handle.lock_timeout)

    cdef int sleeps(self, unsigned which, uint32_t prepared, double seconds) except -1:
        # A slice at most; then looks at signals, and at who might have died.
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef uint32_t limit = DSM_LOCK_SLICE_MS * 1000
        cdef uint64_t start = dsm_os_monotonic_ns()
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        if 0 <= seconds * 1e6 < limit:
            limit = <uint32_t>(seconds * 1e6) + 1
        dsm_cluster_hold(cluster)
        with nogil:
            dsm_sync_sleep(&self.sync, which, prepared, limit)
            if dsm_os_monotonic_ns() - start >= DSM_LOCK_SLICE_MS * 900000:
                # What cannot be looked at now is looked at after the next slice.
                dsm_sync_watch(&call, &self.sync)
            dsm_cluster_drop(cluster)
        try:
            PyErr_CheckSignals()
        except BaseException:
            # The wake may have been meant for us alone: it goes to the next one.
            if self.handle.cluster != NULL:
                dsm_sync_wake(&self.sync, which, 1)
            raise
        handle_ready(self.handle)
        return 0

    cdef bint waits(self, Attempt *what, unsigned which, double seconds) except -1:
        # Attempts until one succeeds or the seconds are over (below 0: never); whether one did.
        cdef uint64_t start = dsm_os_monotonic_ns()
        cdef uint32_t prepared
        cdef double left = seconds
        while True:
            prepared = dsm_sync_prepare(&self.sync, which)
            if self.tries(what):
                return True
            if seconds >= 0:
                left = seconds - (dsm_os_monotonic_ns() - start) * 1e-9
                if left <= 0:
                    return False
            self.sleeps(which, prepared, left)

    # ---- for those who wait in an event loop --------------------------------------------------

    def prepare(self, unsigned which):
        """Says that somebody is about to wait; returns what to pass to `slumber`."""
        handle_ready(self.handle)
        return dsm_sync_prepare(&self.sync, which & 1)

    def slumber(self, unsigned which, uint32_t prepared, double seconds):
        """Sleeps until something changed since `prepare`, for 50 ms at most. For any thread."""
        handle_ready(self.handle)
        self.sleeps(which & 1, prepared, seconds)

    def pass_on(self, unsigned which):
        """Wakes another one, for who was woken and does not go on."""
        handle_ready(self.handle)
        dsm_sync_wake(&self.sync, which & 1, 1)


cdef extern from "mem/sync_valid.h" nogil:
    dsm_status dsm_sync_valid(dsm_call *call, const dsm_sync *sync) noexcept
    dsm_status dsm_sync_mend(dsm_call *call, const dsm_sync *sync) noexcept


KINDS = ("", "lock", "semaphore", "barrier", "event", "condition", "queue", "counter", "atomic")


def check_named(Handle handle, bint repair):
    """(texts of problems, texts of repairs) of all objects of synchronisation, by kind and name."""
    handle_ready(handle)
    cdef dsm_call call = dsm_call_make(handle.space, <uint32_t>(handle.lock_timeout * 1000))
    cdef dsm_sync sync
    cdef dsm_status status
    cdef uint32_t count = 0, index
    problems, repairs = [], []
    with nogil:
        status = dsm_sync_count(&call, &count)
    if status != DSM_OK:
        raise fault_error(status, &call.fault, handle.name, handle.lock_timeout)
    for index in range(count):
        whom = f"object {index} of synchronisation"
        with nogil:
            status = dsm_sync_at(&call, index, &sync)
        if status == DSM_OK:
            name = sync.record.name[:sync.record.name_bytes].decode(errors="replace")
            whom = f"{KINDS[sync.kind]} {name!r}"
            with nogil:
                status = dsm_sync_valid(&call, &sync)
            if status == DSM_CORRUPT and repair:
                problems.append(f"{whom}: {fault_text(&call.fault)}")
                with nogil:
                    status = dsm_sync_mend(&call, &sync)
                if status == DSM_OK:
                    repairs.append(f"{whom}: what follows from the rest was computed anew")
                if status == DSM_CORRUPT:  # told already
                    continue
        if status == DSM_CORRUPT:
            problems.append(f"{whom}: {fault_text(&call.fault)}")
        elif status != DSM_OK:
            raise fault_error(status, &call.fault, whom, handle.lock_timeout)
    return problems, repairs
