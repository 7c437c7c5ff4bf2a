from dsm_native._native.core cimport (
    dsm_call, dsm_key, dsm_read, dsm_status, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.handle cimport Handle

cdef enum:
    BATCH = 16  # keys whose cache lines are fetched ahead together


cdef class RegionReader:
    cdef readonly Handle handle
    cdef readonly str name
    cdef readonly uint16_t index
    cdef readonly uint32_t replication_factor
    cdef readonly bint allow_pickle

    cdef object fetch(self, const dsm_key *encoded, object key, uint64_t *version)
    cdef object fetch_long(self, const dsm_key *encoded, object key, uint64_t *version)
    cdef int get_batch(self, list asked, list result, Py_ssize_t first, Py_ssize_t count) except -1
    cdef object fetch_large(self, dsm_call *call, dsm_read *found, dsm_status *outcome)
    cdef object fetch_small(self, dsm_call *call, dsm_read *found, dsm_status *outcome)
    cdef object decode_copy(self, dsm_read *found, bytearray copy)
