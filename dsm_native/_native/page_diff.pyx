# Comparing and copying pages: csrc/store/page_diff.h for buffers, without the GIL.
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

from dsm_native._native.array cimport (
    dsm_page_diff_copy, dsm_page_diff_count, dsm_page_diff_unit,
)

from dsm_native.exceptions import UsageError


cdef uint64_t over_both(object target, object source, bint copy) except? 0:
    cdef Py_buffer left, right
    cdef uint64_t pages
    PyObject_GetBuffer(target, &left, PyBUF_SIMPLE | PyBUF_WRITABLE if copy else PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(source, &right, PyBUF_SIMPLE)
        try:
            if left.len != right.len:
                raise UsageError(f"{left.len} bytes against {right.len}")
            with nogil:
                if copy:
                    pages = dsm_page_diff_copy(left.buf, right.buf, <uint64_t>left.len)
                else:
                    pages = dsm_page_diff_count(left.buf, right.buf, <uint64_t>left.len)
        finally:
            PyBuffer_Release(&right)
    finally:
        PyBuffer_Release(&left)
    return pages


def page_diff_copy(target, source):
    """Copies the pages of `source` that differ to `target`, both contiguous buffers of one size;
    their number."""
    return over_both(target, source, True)


def page_diff_count(left_bytes, right_bytes):
    """Number of pages that differ between two contiguous buffers of one size."""
    return over_both(left_bytes, right_bytes, False)


def page_diff_unit():
    """What compares pages on this machine."""
    return dsm_page_diff_unit().decode()
