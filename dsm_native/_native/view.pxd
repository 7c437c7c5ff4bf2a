from dsm_native._native.core cimport dsm_cluster, dsm_read


cdef class PinnedBuffer:
    cdef dsm_cluster *cluster
    cdef dsm_read read
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    @staticmethod
    cdef PinnedBuffer adopt(dsm_cluster *cluster, const dsm_read *read)
