from dsm_native._native.core cimport dsm_call, dsm_fault, dsm_status

# The exception that tells a failed status to the user; `subject` is the key or name concerned.
cdef object fault_error(dsm_status status, const dsm_fault *fault, object subject, double waited)
# One line about a fault, for reports.
cdef str fault_text(const dsm_fault *fault)
cdef object lost_error(str array)
