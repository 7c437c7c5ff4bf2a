# Checking everything in the nodes' segments: csrc/store/check.h under Python.
from dsm_native._native.check cimport Faults, keep_fault
from dsm_native._native.core cimport (
    DSM_OK, dsm_call, dsm_call_make, dsm_check, dsm_check_report, dsm_cluster, dsm_cluster_drop,
    dsm_cluster_hold, dsm_status, uint32_t,
)
from dsm_native._native.faults cimport fault_error, fault_text
from dsm_native._native.handle cimport Handle, handle_ready


def check_segments(Handle handle, bint repair):
    """Checks all: (stripes, objects, value bytes, problems, repaired, texts, texts of repairs,
    broken arenas)."""
    handle_ready(handle)
    cdef dsm_call call = dsm_call_make(handle.space, <uint32_t>(handle.lock_timeout * 1000))
    cdef dsm_check_report report
    cdef dsm_cluster *cluster = handle.cluster
    cdef dsm_status status
    cdef Faults faults
    cdef uint32_t i
    faults.count = faults.repairs = 0
    dsm_cluster_hold(cluster)
    with nogil:
        status = dsm_check(&call, repair, keep_fault, &faults, &report)
        dsm_cluster_drop(cluster)
    if status != DSM_OK:
        raise fault_error(status, &call.fault, handle.name, handle.lock_timeout)
    texts = [fault_text(&faults.kept[i]) for i in range(faults.count)]
    repairs = [fault_text(&faults.repaired[i]) for i in range(faults.repairs)]
    return (report.stripes, report.objects, report.value_bytes, report.problems,
            report.repaired, texts, repairs, report.broken)
