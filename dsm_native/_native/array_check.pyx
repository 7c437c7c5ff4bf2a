# Checking arrays and giving them back what they have lost: csrc/store/array_check.h and
# csrc/store/array_heal.h under Python.
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from dsm_native._native.array cimport (
    ArrayMap, Patience, dsm_array_check, dsm_array_heal, dsm_array_healed,
    dsm_array_look,
)
from dsm_native._native.array_directory cimport look_up
from dsm_native._native.check cimport Faults, keep_fault
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_NO_REPLICAS, DSM_NOT_FOUND, DSM_OK, DSM_RETRY,
    dsm_call, dsm_call_make, dsm_check_report, dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error, fault_text, lost_error
from dsm_native._native.handle cimport Handle

from time import sleep


def check_mapping(ArrayMap seen, bint repair):
    """(problems, repaired, texts, texts of repairs) of what is mapped, whatever is lost of it."""
    cdef dsm_call call = dsm_call_make(&seen.cluster.space, 0)
    cdef dsm_check_report report
    cdef dsm_status status
    cdef Faults *faults = <Faults *>malloc(sizeof(Faults))
    cdef uint32_t i
    if faults == NULL:
        raise MemoryError
    faults.count = faults.repairs = 0
    memset(&report, 0, sizeof(report))
    try:
        with nogil:
            status = dsm_array_check(&call, &seen.array, repair, keep_fault, faults, &report)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, seen.name, 0)
        return (report.problems, report.repaired,
                [f"array {seen.name!r}: {fault_text(&faults.kept[i])}"
                 for i in range(faults.count)],
                [f"array {seen.name!r}: {fault_text(&faults.repaired[i])}"
                 for i in range(faults.repairs)])
    finally:
        free(faults)


def look_at_array(Handle handle, str name):
    """The mapping of an array for its check, whatever is lost of it; None if there is none by now.
    NoReplicasAvailableError if nothing is left."""
    cdef ArrayMap found = ArrayMap.make(handle, name)
    cdef dsm_call call = dsm_call_make(&found.cluster.space, DSM_LOCK_SLICE_MS)
    cdef uint32_t entry = 0
    cdef uint64_t build = 0
    cdef dsm_status status = look_up(found, &call, &entry, &build)
    if status == DSM_OK:
        with nogil:
            status = dsm_array_look(&call, entry, build, &found.array)
        found.mapped = status == DSM_OK
    if status == DSM_NO_REPLICAS:
        raise lost_error(name)
    if status != DSM_OK and status not in (DSM_NOT_FOUND, DSM_RETRY, DSM_LOCK_TIMEOUT):
        raise fault_error(status, &call.fault, name, 0)
    return found if found.mapped else None


def heal_array(Handle handle, str name):
    """Makes anew what the array has lost; how many copies, or words of tiles. It waits for open
    blocks: LockTimeoutError. NoReplicasAvailableError, StoreFullError."""
    cdef ArrayMap seen
    cdef Patience patience = Patience(handle, None)
    cdef dsm_array_healed done
    cdef dsm_call call
    cdef dsm_status status
    cdef uint32_t entry = 0
    cdef uint64_t build = 0
    while True:
        seen = ArrayMap.make(handle, name)
        call = dsm_call_make(&seen.cluster.space, DSM_LOCK_SLICE_MS)
        status = look_up(seen, &call, &entry, &build)
        if status == DSM_OK:
            with nogil:
                status = dsm_array_heal(&call, entry, build, &done)
        if status == DSM_OK:
            return done.copies
        if status == DSM_NOT_FOUND:
            return 0
        if status == DSM_NO_REPLICAS:
            raise lost_error(name)
        if status not in (DSM_RETRY, DSM_LOCK_TIMEOUT):
            raise fault_error(status, &call.fault, name, 0)
        patience.go_on(DSM_LOCK_TIMEOUT, &call.fault, name)
        sleep(0.001)
