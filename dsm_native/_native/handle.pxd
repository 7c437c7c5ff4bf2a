from dsm_native._native.core cimport (
    dsm_cluster, dsm_cluster_forked, dsm_cluster_running, dsm_space, uint32_t,
)


cdef class Handle:
    cdef dsm_cluster *cluster  # NULL once closed
    cdef dsm_space *space
    cdef readonly bint owner
    cdef readonly bint detached
    cdef readonly str name
    cdef public double lock_timeout
    cdef uint32_t fork_slot
    cdef object __weakref__

    cdef int refuse(self) except -1


cdef inline int handle_ready(Handle handle) except -1:
    # Open, running, and this process's own: three loads.
    if (handle.cluster != NULL and dsm_cluster_running(handle.cluster)
            and not dsm_cluster_forked(handle.cluster)):
        return 0
    return handle.refuse()
