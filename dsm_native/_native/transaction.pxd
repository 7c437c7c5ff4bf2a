# Mirrors of csrc/store/transaction.h and csrc/store/snapshot.h.
from dsm_native._native.core cimport (
    dsm_call, dsm_key, dsm_read, dsm_status, dsm_value, uint32_t, uint64_t,
)


cdef extern from "store/transaction.h" nogil:
    ctypedef enum dsm_access_kind:
        DSM_ACCESS_READ
        DSM_ACCESS_PUT
        DSM_ACCESS_DELETE
    ctypedef struct dsm_access:
        dsm_key key
        dsm_value value
        dsm_access_kind kind
        uint32_t replicas
        uint64_t expected
        uint64_t version
    dsm_status dsm_transaction_commit(dsm_call *call, dsm_access **accesses, uint32_t count,
                                      dsm_access **culprit) noexcept


cdef extern from "store/snapshot.h" nogil:
    ctypedef struct dsm_sight:
        dsm_read read
        uint64_t version
    dsm_status dsm_snapshot_look(dsm_call *call, const dsm_key *key, dsm_sight *out) noexcept
    dsm_status dsm_snapshot_again(dsm_call *call, const dsm_key *key, dsm_sight *sight,
                                  uint64_t *present) noexcept
    dsm_status dsm_snapshot_wait(dsm_call *call, uint32_t stripe) noexcept
