# Reading one region's objects: the half of a region that changes nothing.
#
# A small value is mostly found by a peek, inlined here; whatever else it is, the long way finds out
# (csrc/store/peek.h, read.h). Values up to a page are copied under the GIL, longer ones are pinned
# and copied without it. Nothing here takes a lock or waits for a writer.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from dsm_native._native.codec cimport (
    CODEC_BYTES, decode_key, decode_object, decode_plain, decode_view, encode_ascii_key, encode_key,
)
from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_NOT_FOUND, DSM_OBJECT_ALIGNED, DSM_OK,
    DSM_RETRY, DSM_TOO_MANY, dsm_call, dsm_call_make, dsm_cluster, dsm_cluster_drop,
    dsm_cluster_hold, dsm_copy_out, dsm_key, dsm_os_monotonic_ns, dsm_peek, dsm_peek_codec,
    dsm_peek_find, dsm_peek_head, dsm_peek_holds, dsm_peek_object, dsm_peek_slot,
    dsm_peek_table, dsm_read, dsm_read_again, dsm_read_begin, dsm_read_copy, dsm_read_pin,
    dsm_read_unpin,
    dsm_region_length, dsm_scan_stripe, dsm_space, dsm_status, uint16_t, uint32_t, uint64_t,
    uint8_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.view cimport PinnedBuffer

cdef enum:
    SMALL_BYTES = 4096   # copied under the GIL and validated; above, pinned
    SCRATCH_BYTES = 256  # numbers and short texts are decoded from the stack

cdef object MISSING = object()


cdef struct Peeked:
    dsm_key key
    dsm_peek found
    unsigned char scratch[8]


cdef inline object copy_peeked(const dsm_space *space, const dsm_key *encoded, dsm_peek *found):
    # The value, if it is true; MISSING: take the long way.
    cdef unsigned char scratch[SCRATCH_BYTES]
    cdef object result
    if dsm_peek_codec(found) == CODEC_BYTES:
        result = PyBytes_FromStringAndSize(NULL, found.value_bytes)
        dsm_copy_out(PyBytes_AS_STRING(result), found.value, found.value_bytes)
        if dsm_peek_holds(space, encoded, found, PyBytes_AS_STRING(result)):
            return result
    elif found.value_bytes <= SCRATCH_BYTES:
        dsm_copy_out(scratch, found.value, found.value_bytes)
        if dsm_peek_holds(space, encoded, found, scratch):
            result = decode_plain(dsm_peek_codec(found), scratch, found.value_bytes)
            return MISSING if result is NotImplemented else result
    return MISSING


cdef inline object peek(const dsm_space *space, const dsm_key *encoded, uint64_t *version):
    cdef dsm_peek found
    if not dsm_peek_find(space, encoded, &found):
        return MISSING
    version[0] = found.version
    return copy_peeked(space, encoded, &found)


cdef class RegionReader:
    """Reads of one region's objects. See `dsm_native.Region`."""

    def __cinit__(self, Handle handle, str name, uint16_t index, uint32_t replicas,
                  bint allow_pickle):
        self.handle = handle
        self.name = name
        self.index = index
        self.replication_factor = replicas
        self.allow_pickle = allow_pickle

    cdef object fetch_large(self, dsm_call *call, dsm_read *found, dsm_status *outcome):
        # Pinned, copied without the GIL; MISSING and the status if there is no value.
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status = dsm_read_pin(call, found)
        cdef void *target
        cdef object result
        outcome[0] = status
        if status == DSM_RETRY or status == DSM_CORRUPT:
            return MISSING
        # A full pin table is no error here: the copy is then validated as a small one is.
        if found.header.codec == CODEC_BYTES:
            result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>found.header.value_bytes)
            target = PyBytes_AS_STRING(result)
        else:
            result = bytearray(found.header.value_bytes)
            target = <char *>(<bytearray>result)
        dsm_cluster_hold(cluster)
        with nogil:
            status = dsm_read_copy(call, found, target)
            dsm_read_unpin(&cluster.space, found)
            dsm_cluster_drop(cluster)
        outcome[0] = status
        if status != DSM_OK:
            return MISSING
        if found.header.codec == CODEC_BYTES:
            return result
        return self.decode_copy(found, result)

    cdef object decode_copy(self, dsm_read *found, bytearray copy):
        cdef object result = decode_plain(found.header.codec, <unsigned char *><char *>copy,
                                          found.header.value_bytes)
        return decode_object(found.header.codec, copy) if result is NotImplemented else result

    cdef object fetch(self, const dsm_key *encoded, object key, uint64_t *version):
        # The value, or MISSING if the key is absent.
        cdef object value = peek(self.handle.space, encoded, version)
        if value is not MISSING:
            return value
        return self.fetch_long(encoded, key, version)

    cdef object fetch_small(self, dsm_call *call, dsm_read *found, dsm_status *outcome):
        # Copied under the GIL; MISSING and the status if there is no value.
        cdef unsigned char buffer[SMALL_BYTES]
        cdef object result
        if found.header.codec == CODEC_BYTES:
            result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>found.header.value_bytes)
            outcome[0] = dsm_read_copy(call, found, PyBytes_AS_STRING(result))
            return result if outcome[0] == DSM_OK else MISSING
        outcome[0] = dsm_read_copy(call, found, buffer)
        if outcome[0] != DSM_OK:
            return MISSING
        result = decode_plain(found.header.codec, buffer, found.header.value_bytes)
        if result is NotImplemented:
            result = decode_object(found.header.codec,
                                   bytearray((<char *>buffer)[:found.header.value_bytes]))
        return result

    cdef object fetch_long(self, const dsm_key *encoded, object key, uint64_t *version):
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_read found
        cdef dsm_status status = DSM_RETRY
        cdef object result
        while True:
            if self.handle.cluster == NULL:  # closed by another thread while we had no GIL
                self.handle.refuse()
            if status == DSM_CORRUPT:
                status = dsm_read_again(&call, encoded, &found)
            else:
                status = dsm_read_begin(&call, encoded, &found)
            if status == DSM_NOT_FOUND:
                return MISSING
            if status != DSM_OK:
                raise fault_error(status, &call.fault, key, 0)
            version[0] = found.header.version
            if found.header.value_bytes > SMALL_BYTES:
                result = self.fetch_large(&call, &found, &status)
            else:
                result = self.fetch_small(&call, &found, &status)
            if status == DSM_OK:
                return result
            if status != DSM_RETRY and status != DSM_CORRUPT:
                raise fault_error(status, &call.fault, key, 0)

    def get(self, key, default=None):
        """The value of the key, or `default`. A private copy; never blocks on a writer.

        Raises KeyTypeError, CorruptError, ClosedError. Strongly consistent: the value of the latest
        put that returned before the call, or of one that runs beside it.
        """
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef uint64_t version
        cdef object value
        handle_ready(self.handle)
        if not encode_ascii_key(key, self.handle.space, self.index, &encoded):
            _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        value = peek(self.handle.space, &encoded, &version)
        if value is not MISSING:
            return value
        value = self.fetch_long(&encoded, key, &version)
        return default if value is MISSING else value

    def get_versioned(self, key):
        """(value, version) of the key at one instant; KeyNotFoundError if it is absent."""
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef uint64_t version = 0
        handle_ready(self.handle)
        _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        value = self.fetch(&encoded, key, &version)
        if value is MISSING:
            raise fault_error(DSM_NOT_FOUND, NULL, key, 0)
        return value, version

    def __getitem__(self, key):
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef uint64_t version
        handle_ready(self.handle)
        if not encode_ascii_key(key, self.handle.space, self.index, &encoded):
            _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        value = self.fetch(&encoded, key, &version)
        if value is MISSING:
            raise fault_error(DSM_NOT_FOUND, NULL, key, 0)
        return value

    def __contains__(self, key):
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef dsm_read found
        cdef dsm_status status
        handle_ready(self.handle)
        if not encode_ascii_key(key, self.handle.space, self.index, &encoded):
            _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        status = dsm_read_begin(&call, &encoded, &found)
        if status != DSM_OK and status != DSM_NOT_FOUND:
            raise fault_error(status, &call.fault, key, 0)
        return status == DSM_OK

    def __len__(self):
        handle_ready(self.handle)
        cdef uint64_t length = 0
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_status status = dsm_region_length(&call, self.index, &length)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, self.name, 0)
        return <Py_ssize_t>length

    def get_many(self, keys, default=None):
        """Values of the keys, in the order asked, `default` where absent. Each item is atomic.

        `keys` is any iterable; the look-ups of a batch overlap in the memory system.
        """
        cdef list asked = list(keys)
        cdef Py_ssize_t count = len(asked), first
        cdef list result = [default] * count
        for first in range(0, count, BATCH):
            self.get_batch(asked, result, first, min(count - first, <Py_ssize_t>BATCH))
        return result

    cdef int get_batch(self, list asked, list result, Py_ssize_t first,
                       Py_ssize_t count) except -1:
        # Each step is taken for all keys, so that their misses overlap.
        cdef Peeked encoded[BATCH]
        cdef const dsm_space *space
        cdef Py_ssize_t i
        cdef uint64_t version
        cdef list keep = []
        cdef object value
        handle_ready(self.handle)
        space = self.handle.space
        for i in range(count):
            if not encode_ascii_key(asked[first + i], space, self.index, &encoded[i].key):
                keep.append(encode_key(asked[first + i], encoded[i].scratch, space, self.index,
                                       &encoded[i].key))
            dsm_peek_head(space, &encoded[i].key, &encoded[i].found)
        for i in range(count):
            dsm_peek_table(space, &encoded[i].key, &encoded[i].found)
        for i in range(count):
            dsm_peek_slot(space, &encoded[i].key, &encoded[i].found)
        for i in range(count):
            value = MISSING
            if self.handle.cluster == NULL:  # closed by another thread while we had no GIL
                self.handle.refuse()
            if dsm_peek_object(space, &encoded[i].key, &encoded[i].found):
                value = copy_peeked(space, &encoded[i].key, &encoded[i].found)
            if value is MISSING:
                value = self.fetch_long(&encoded[i].key, asked[first + i], &version)
            if value is not MISSING:
                result[first + i] = value
        return 0

    def view(self, key):
        """The value where it lies: a read-only memoryview (bytes) or ndarray, without a copy.

        It shows the object as it is now and stays valid and unchanged after overwrite, delete,
        close() and the death of the node. It pins the memory until it is dropped; values below a
        page and views beyond the 4,096th of this process are private copies instead. Raises
        KeyNotFoundError, ValueTypeError for other types of values. Payload checksums are not
        compared (get() does).
        """
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef dsm_read found
        cdef dsm_status status
        handle_ready(self.handle)
        _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        status = DSM_RETRY
        while True:
            if status == DSM_CORRUPT:
                status = dsm_read_again(&call, &encoded, &found)
            else:
                status = dsm_read_begin(&call, &encoded, &found)
            if status != DSM_OK:
                raise fault_error(status, &call.fault, key, 0)
            status = DSM_TOO_MANY
            if found.header.flags & DSM_OBJECT_ALIGNED:
                status = dsm_read_pin(&call, &found)
                if status == DSM_OK:
                    return decode_view(found.header.codec,
                                       PinnedBuffer.adopt(self.handle.cluster, &found))
            if status == DSM_TOO_MANY:
                copy = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>found.header.value_bytes)
                status = dsm_read_copy(&call, &found, PyBytes_AS_STRING(copy))
                if status == DSM_OK:
                    return decode_view(found.header.codec, copy)
            if status != DSM_RETRY and status != DSM_CORRUPT:
                raise fault_error(status, &call.fault, key, 0)

    # ---- listing ------------------------------------------------------------------------------

    def stripe_keys(self, uint32_t stripe):
        """List of the keys in one stripe, as of one instant."""
        cdef uint64_t capacity = 1024, used = 0, at, word, length
        cdef dsm_status status
        cdef dsm_call call
        cdef unsigned char *buffer
        cdef dsm_cluster *cluster
        cdef uint64_t start = dsm_os_monotonic_ns()
        while True:
            handle_ready(self.handle)
            cluster = self.handle.cluster
            call = dsm_call_make(self.handle.space, DSM_LOCK_SLICE_MS)
            buffer = <unsigned char *>PyMem_Malloc(capacity)
            if buffer == NULL:
                raise MemoryError()
            try:
                dsm_cluster_hold(cluster)
                with nogil:
                    status = dsm_scan_stripe(&call, self.index, stripe, buffer, capacity, &used)
                    dsm_cluster_drop(cluster)
                if status == DSM_OK:
                    keys = []
                    at = 0
                    while at < used:
                        word = (<uint64_t *>(buffer + at))[0]
                        length = word & 0xFFFFFFFF
                        keys.append(decode_key(<uint8_t>(word >> 32), buffer + at + 8, length))
                        at += 8 + ((length + 7) & ~<uint64_t>7)
                    return keys
            finally:
                PyMem_Free(buffer)
            if status == DSM_TOO_MANY:
                capacity = used * 2
            elif status != DSM_LOCK_TIMEOUT:
                raise fault_error(status, &call.fault, self.name, 0)
            elif (dsm_os_monotonic_ns() - start) * 1e-9 >= self.handle.lock_timeout:
                raise fault_error(status, &call.fault, self.name, self.handle.lock_timeout)
            PyErr_CheckSignals()

    def __iter__(self):
        """Yields every key that is present throughout exactly once, without stopping writers."""
        for stripe in range(self.handle.stripes):
            yield from self.stripe_keys(stripe)
