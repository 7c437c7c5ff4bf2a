# Waiting for a key to change, and knowing whether a process is alive.
#
# A wait sleeps on the bell of the key's stripe, without the GIL, in slices after which signals,
# the cluster's end and the object are looked at again.
from cpython.exc cimport PyErr_CheckSignals
from dsm_native._native.codec cimport encode_key
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, DSM_NOT_FOUND, DSM_OK, dsm_call, dsm_call_make, dsm_cluster,
    dsm_cluster_drop, dsm_cluster_hold, dsm_key, dsm_key_stripe, dsm_os_monotonic_ns,
    dsm_os_process, dsm_os_process_alive, dsm_os_process_state, dsm_read_version,
    dsm_space, dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready


cdef extern from "store/bell.h" nogil:
    uint32_t dsm_bell_arm(dsm_space *space, uint32_t stripe) noexcept
    void dsm_bell_wait(dsm_space *space, uint32_t stripe, uint32_t armed,
                       uint32_t wait_us) noexcept


cdef extern from "os/os.h" nogil:
    void dsm_os_process_self(dsm_os_process *out) noexcept


def version_of(region, key):
    """The version of the key, 0 if it is absent."""
    cdef Handle handle = region.handle
    cdef dsm_key encoded
    cdef unsigned char scratch[8]
    handle_ready(handle)
    _keep = encode_key(key, scratch, handle.space, region.index, &encoded)
    cdef dsm_call call = dsm_call_make(handle.space, 0)
    cdef uint64_t version = 0
    cdef dsm_status status = dsm_read_version(&call, &encoded, &version)
    if status == DSM_NOT_FOUND:
        return 0
    if status != DSM_OK:
        raise fault_error(status, &call.fault, key, 0)
    return version


def wait_version(region, key, uint64_t newer_than, double seconds, bint once=False):
    """Waits at most so long for a version above; it, 0 if the key is gone, None if neither.

    A key that is absent is "gone" if newer_than is above 0, and else waited for. once: returns
    None at any ring too, for who waits for a death as well.
    """
    cdef Handle handle = region.handle
    cdef dsm_key encoded
    cdef unsigned char scratch[8]
    cdef dsm_status status
    cdef dsm_cluster *cluster
    cdef dsm_call call
    cdef uint32_t stripe, armed, wait_us
    cdef uint64_t version, start = dsm_os_monotonic_ns()
    cdef double left
    cdef bint slept = False
    handle_ready(handle)
    _keep = encode_key(key, scratch, handle.space, region.index, &encoded)
    stripe = dsm_key_stripe(handle.space, encoded.hash)
    while True:
        handle_ready(handle)
        call = dsm_call_make(handle.space, 0)
        armed = dsm_bell_arm(handle.space, stripe)
        version = 0
        status = dsm_read_version(&call, &encoded, &version)
        if status != DSM_OK and status != DSM_NOT_FOUND:
            raise fault_error(status, &call.fault, key, 0)
        if version > newer_than:
            return version
        if version == 0 and newer_than > 0:
            return 0
        if once and slept:
            return None
        left = seconds - (dsm_os_monotonic_ns() - start) * 1e-9
        if left <= 0:
            return None
        wait_us = DSM_LOCK_SLICE_MS * 1000
        if left * 1e6 < wait_us:
            wait_us = <uint32_t>(left * 1e6) + 1
        cluster = handle.cluster
        dsm_cluster_hold(cluster)
        with nogil:
            dsm_bell_wait(&cluster.space, stripe, armed, wait_us)
            dsm_cluster_drop(cluster)
        slept = True
        PyErr_CheckSignals()


def process_self():
    """(pid, start time in clock ticks since boot) of this process."""
    cdef dsm_os_process process
    dsm_os_process_self(&process)
    return process.pid, process.start_ticks


def process_alive(uint32_t pid, uint64_t start_ticks):
    """Whether the process of that pid that started then is alive."""
    cdef dsm_os_process process
    process.pid = pid
    process.start_ticks = start_ticks
    return bool(dsm_os_process_alive(&process))


def process_state(uint32_t pid, uint64_t start_ticks):
    """The kernel's letter for the state of that process: R, S, D, T (stopped), Z; '?' if none."""
    cdef dsm_os_process process
    process.pid = pid
    process.start_ticks = start_ticks
    return chr(dsm_os_process_state(&process))
