# Large arguments and results: several buffers stored as one object, seen in place by the receiver.
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from dsm_native._native.codec cimport CODEC_BYTES, encode_key
from dsm_native._native.core cimport (
    DSM_ANY_VERSION, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_OK, dsm_call, dsm_call_make,
    dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_condition, dsm_key, dsm_key_stripe,
    dsm_part, dsm_put, dsm_space, dsm_status, dsm_value, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.mailbox cimport dsm_atomic_u64, dsm_load_relaxed_u64

import time

from dsm_native.exceptions import CorruptError


cdef extern from "base/hash.h" nogil:
    uint64_t dsm_hash64(const void *data, size_t length, uint64_t seed) noexcept


cdef extern from "mem/space.h" nogil:
    dsm_atomic_u64 *dsm_space_route(const dsm_space *space, uint32_t stripe) noexcept
    int dsm_route_primary(const dsm_space *space, uint64_t word, uint32_t stripe) noexcept


def store(Handle handle, uint16_t region, key, list buffers):
    """Stores the buffers, one behind the other, as one `bytes` object without joining them."""
    cdef Py_ssize_t count = len(buffers), held = 0, i
    cdef Py_buffer *views = <Py_buffer *>PyMem_Malloc(count * sizeof(Py_buffer))
    cdef dsm_part *parts = <dsm_part *>PyMem_Malloc(count * sizeof(dsm_part))
    cdef dsm_value value
    try:
        if views == NULL or parts == NULL:
            raise MemoryError()
        value.parts = parts
        value.part_count = <uint32_t>count
        value.codec = CODEC_BYTES
        value.length = 0
        for i in range(count):
            PyObject_GetBuffer(buffers[i], &views[i], PyBUF_SIMPLE)
            held += 1
            parts[i].bytes = views[i].buf
            parts[i].length = <uint64_t>views[i].len
            value.length += parts[i].length
        put(handle, region, key, &value)
    finally:
        for i in range(held):
            PyBuffer_Release(&views[i])
        PyMem_Free(views)
        PyMem_Free(parts)


cdef int put(Handle handle, uint16_t region, object key, const dsm_value *value) except -1:
    cdef unsigned char scratch[8]
    cdef dsm_key encoded
    cdef dsm_condition condition
    cdef uint64_t version = 0
    cdef dsm_status status
    cdef dsm_cluster *cluster
    cdef dsm_call call
    cdef double end = time.monotonic() + handle.lock_timeout
    handle_ready(handle)
    _keep = encode_key(key, scratch, handle.space, region, &encoded)
    condition.replicas = 1
    condition.if_version = DSM_ANY_VERSION
    while True:
        handle_ready(handle)
        cluster = handle.cluster
        call = dsm_call_make(&cluster.space, DSM_LOCK_SLICE_MS)
        dsm_cluster_hold(cluster)
        with nogil:
            status = dsm_put(&call, &encoded, value, condition, &version)
            dsm_cluster_drop(cluster)
        if status == DSM_OK:
            return 0
        PyErr_CheckSignals()
        if status != DSM_LOCK_TIMEOUT or time.monotonic() >= end:
            raise fault_error(status, &call.fault, "a task's data", handle.lock_timeout)


def checksum(data):
    """64-bit hash of a buffer, as the segments use it."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return dsm_hash64(view.buf, view.len, 0)
    finally:
        PyBuffer_Release(&view)


def primary_node(Handle handle, uint16_t region, key):
    """The node that holds the primary of the key."""
    cdef unsigned char scratch[8]
    cdef dsm_key encoded
    cdef uint32_t stripe
    handle_ready(handle)
    _keep = encode_key(key, scratch, handle.space, region, &encoded)
    stripe = dsm_key_stripe(handle.space, encoded.hash)
    cdef int node = dsm_route_primary(
        handle.space, dsm_load_relaxed_u64(dsm_space_route(handle.space, stripe)), stripe)
    if node < 0:
        raise CorruptError(f"the route of stripe {stripe} does not verify")
    return node
