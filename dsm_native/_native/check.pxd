# What a check of the core tells: problems, and what was put right.
#
# They are kept as faults while locks are held (I-4: no Python object is made then), and told
# afterwards; beyond this many they are only counted.
from dsm_native._native.core cimport dsm_fault, uint32_t

cdef enum:
    FAULTS_KEPT = 256


cdef extern from *:
    """
    #include "mem/space.h"
    static inline bool dsm__mended(const dsm_fault *fault) { return fault->mended; }
    """
    bint dsm__mended(const dsm_fault *fault) noexcept nogil


cdef struct Faults:
    uint32_t count
    uint32_t repairs
    dsm_fault kept[FAULTS_KEPT]
    dsm_fault repaired[FAULTS_KEPT]


cdef inline void keep_fault(void *context, const dsm_fault *told) noexcept nogil:
    cdef Faults *faults = <Faults *>context
    if dsm__mended(told):
        if faults.repairs < FAULTS_KEPT:
            faults.repaired[faults.repairs] = told[0]
            faults.repairs += 1
    elif faults.count < FAULTS_KEPT:
        faults.kept[faults.count] = told[0]
        faults.count += 1
