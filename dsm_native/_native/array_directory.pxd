# What other modules call of the directory of arrays.
from dsm_native._native.array cimport ArrayMap
from dsm_native._native.core cimport dsm_call, dsm_status, uint32_t, uint64_t

cdef dsm_status look_up(ArrayMap map, dsm_call *call, uint32_t *entry, uint64_t *build) except *
