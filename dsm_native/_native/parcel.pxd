from dsm_native._native.core cimport dsm_value, uint16_t
from dsm_native._native.handle cimport Handle

# Stores a value in a region, whatever else happens; `key` as a caller of the region gives it.
cdef int put(Handle handle, uint16_t region, object key, const dsm_value *value) except -1
