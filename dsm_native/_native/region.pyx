# The hot methods of a region. dsm_native.Region adds the mapping protocol in Python.
#
# Reads run under the GIL for values up to a page and without it above. Changes first try with the
# GIL, which is enough unless somebody holds the stripe; then they wait without it, in slices, so
# that Ctrl-C and the time-out are honoured. Nothing of Python is touched while a lock is held.
#
# Longer than 400 lines: reading and changing are one type, whose methods must stay plain C calls.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from dsm_native._native.codec cimport (
    CODEC_BYTES, Encoded, decode_key, decode_object, decode_plain, decode_view,
    encode_ascii_key, encode_key, encode_object, encode_plain,
)
from dsm_native._native.core cimport (
    DSM_ANY_VERSION, DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_NOT_FOUND,
    DSM_OBJECT_ALIGNED, DSM_OK, DSM_RETRY, DSM_TOO_MANY, dsm_add, dsm_call, dsm_call_make,
    dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_condition, dsm_delete, dsm_key,
    dsm_os_monotonic_ns, dsm_part, dsm_put, dsm_read, dsm_read_begin, dsm_read_copy,
    dsm_prefetch_change_head, dsm_prefetch_change_object, dsm_prefetch_read_head,
    dsm_prefetch_read_object, dsm_read_pin,
    dsm_read_unpin, dsm_region_length, dsm_scan_stripe, dsm_space, dsm_status,
    dsm_value, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.view cimport PinnedBuffer

from dsm_native.exceptions import UsageError, ValueTypeError

cdef enum:
    SMALL_BYTES = 4096          # copied under the GIL and validated; above, pinned
    UNLOCKED_GIL_BYTES = 65536  # puts of this size copy without the GIL
    BATCH = 16                  # keys whose cache lines are fetched ahead together
    OP_PUT = 0
    OP_DELETE = 1
    OP_ADD = 2

cdef object MISSING = object()


cdef struct Change:
    int kind
    bint prefetched
    const dsm_key *key
    const dsm_value *value
    dsm_condition condition
    int64_t difference
    int64_t counter
    uint64_t version


cdef dsm_status carry_out(dsm_call *call, Change *change) noexcept nogil:
    if change.kind == OP_PUT:
        return dsm_put(call, change.key, change.value, change.condition, &change.version)
    if change.kind == OP_DELETE:
        return dsm_delete(call, change.key, change.condition, &change.version)
    return dsm_add(call, change.key, change.difference, change.condition.replicas,
                   &change.counter, &change.version)


cdef struct BatchKey:
    dsm_key key
    unsigned char scratch[8]


cdef class RegionCore:
    """Reads and changes of one region's objects. See `dsm_native.Region`."""

    cdef readonly Handle handle
    cdef readonly str name
    cdef readonly uint16_t index
    cdef readonly uint32_t replication_factor
    cdef readonly bint allow_pickle

    def __cinit__(self, Handle handle, str name, uint16_t index, uint32_t replicas,
                  bint allow_pickle):
        self.handle = handle
        self.name = name
        self.index = index
        self.replication_factor = replicas
        self.allow_pickle = allow_pickle

    # ---- reading ------------------------------------------------------------------------------

    cdef object fetch_large(self, dsm_call *call, dsm_read *found, object key):
        # Pinned, copied without the GIL; MISSING if the read must begin again.
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status = dsm_read_pin(call, found)
        cdef void *target
        cdef object result
        if status == DSM_RETRY:
            return MISSING
        if status == DSM_CORRUPT:
            raise fault_error(status, &call.fault, key, 0)
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
        if status == DSM_RETRY:
            return MISSING
        if status != DSM_OK:
            raise fault_error(status, &call.fault, key, 0)
        if found.header.codec == CODEC_BYTES:
            return result
        return self.decode_copy(found, result)

    cdef object decode_copy(self, dsm_read *found, bytearray copy):
        cdef object result = decode_plain(found.header.codec, <unsigned char *><char *>copy,
                                          found.header.value_bytes)
        return decode_object(found.header.codec, copy) if result is NotImplemented else result

    cdef object fetch(self, const dsm_key *encoded, object key, uint64_t *version):
        # The value, or MISSING if the key is absent.
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_read found
        cdef dsm_status status
        cdef unsigned char buffer[SMALL_BYTES]
        cdef object result
        while True:
            if self.handle.cluster == NULL:  # closed by another thread while we had no GIL
                self.handle.refuse()
            status = dsm_read_begin(&call, encoded, &found)
            if status == DSM_NOT_FOUND:
                return MISSING
            if status != DSM_OK:
                raise fault_error(status, &call.fault, key, 0)
            version[0] = found.header.version
            if found.header.value_bytes > SMALL_BYTES:
                result = self.fetch_large(&call, &found, key)
                if result is not MISSING:
                    return result
                continue
            if found.header.codec == CODEC_BYTES:
                result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>found.header.value_bytes)
                status = dsm_read_copy(&call, &found, PyBytes_AS_STRING(result))
                if status == DSM_OK:
                    return result
            else:
                status = dsm_read_copy(&call, &found, buffer)
                if status == DSM_OK:
                    result = decode_plain(found.header.codec, buffer, found.header.value_bytes)
                    if result is NotImplemented:
                        result = decode_object(
                            found.header.codec,
                            bytearray((<char *>buffer)[:found.header.value_bytes]))
                    return result
            if status != DSM_RETRY:
                raise fault_error(status, &call.fault, key, 0)

    def get(self, key, default=None):
        """The value of the key, or `default`. A private copy; never blocks on a writer.

        Raises KeyTypeError, CorruptError, ClosedError. Strongly consistent: the value of the latest
        put that returned before the call, or of one that runs beside it.
        """
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef uint64_t version
        handle_ready(self.handle)
        if not encode_ascii_key(key, self.handle.space, self.index, &encoded):
            _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        value = self.fetch(&encoded, key, &version)
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
        cdef Py_ssize_t count = len(asked), first, i, batch
        cdef BatchKey encoded[BATCH]
        cdef const dsm_space *space
        cdef uint64_t version
        cdef list result = [None] * count
        cdef list keep = [None] * BATCH
        handle_ready(self.handle)
        for first in range(0, count, BATCH):
            batch = min(count - first, <Py_ssize_t>BATCH)
            handle_ready(self.handle)
            space = self.handle.space
            for i in range(batch):
                if not encode_ascii_key(asked[first + i], space, self.index, &encoded[i].key):
                    keep[i] = encode_key(asked[first + i], encoded[i].scratch, space, self.index,
                                         &encoded[i].key)
                dsm_prefetch_read_head(space, encoded[i].key.hash)
            for i in range(batch):
                dsm_prefetch_read_object(space, encoded[i].key.hash)
            for i in range(batch):
                value = self.fetch(&encoded[i].key, asked[first + i], &version)
                result[first + i] = default if value is MISSING else value
        return result

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
        while True:
            status = dsm_read_begin(&call, &encoded, &found)
            if status == DSM_OK and found.header.flags & DSM_OBJECT_ALIGNED:
                status = dsm_read_pin(&call, &found)
                if status == DSM_OK:
                    return decode_view(found.header.codec,
                                       PinnedBuffer.adopt(self.handle.cluster, &found))
                if status == DSM_RETRY:
                    continue
            if status == DSM_OK or status == DSM_TOO_MANY:
                copy = self.copy_of(&call, &found, key)
                if copy is not MISSING:
                    return decode_view(found.header.codec, copy)
                continue
            raise fault_error(status, &call.fault, key, 0)

    cdef object copy_of(self, dsm_call *call, dsm_read *found, object key):
        cdef object copy = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>found.header.value_bytes)
        cdef dsm_status status = dsm_read_copy(call, found, PyBytes_AS_STRING(copy))
        if status == DSM_RETRY:
            return MISSING
        if status != DSM_OK:
            raise fault_error(status, &call.fault, key, 0)
        return copy

    # ---- changing -----------------------------------------------------------------------------

    cdef int change_patiently(self, Change *change, object key, object timeout) except -1:
        # Waits for the stripe without the GIL, in slices that re-check signals and the time-out.
        cdef dsm_call call = dsm_call_make(self.handle.space, DSM_LOCK_SLICE_MS)
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status
        cdef double limit = self.handle.lock_timeout if timeout is None else seconds_of(timeout)
        cdef uint64_t start = dsm_os_monotonic_ns()
        while True:
            dsm_cluster_hold(cluster)
            with nogil:
                status = carry_out(&call, change)
                dsm_cluster_drop(cluster)
            if status == DSM_OK:
                return 0
            if status != DSM_LOCK_TIMEOUT:
                raise fault_error(status, &call.fault, key, 0)
            PyErr_CheckSignals()
            if (dsm_os_monotonic_ns() - start) * 1e-9 >= limit:
                raise fault_error(status, &call.fault, key, limit)
            handle_ready(self.handle)

    cdef int change(self, Change *change, object key, object timeout) except -1:
        cdef dsm_call call
        cdef dsm_status status = DSM_LOCK_TIMEOUT
        if change.kind != OP_PUT or change.value.length < UNLOCKED_GIL_BYTES:
            call = dsm_call_make(self.handle.space, 0)
            call.prefetched = change.prefetched
            status = carry_out(&call, change)
            if status == DSM_OK:
                return 0
            if status != DSM_LOCK_TIMEOUT:
                raise fault_error(status, &call.fault, key, 0)
        return self.change_patiently(change, key, timeout)

    cdef uint64_t store(self, object key, object value, uint64_t if_version,
                        object timeout) except 0:
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        handle_ready(self.handle)
        if not encode_ascii_key(key, self.handle.space, self.index, &encoded):
            _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        return self.store_encoded(&encoded, key, value, if_version, timeout, False)

    cdef uint64_t store_encoded(self, const dsm_key *encoded, object key, object value,
                                uint64_t if_version, object timeout,
                                bint prefetched) except 0:
        cdef Encoded plain
        cdef dsm_value parts
        cdef Change change
        keep_value = encode_plain(value, &plain)
        change.kind = OP_PUT
        change.prefetched = prefetched
        change.key = encoded
        change.value = &parts
        change.condition.replicas = self.replication_factor
        change.condition.if_version = if_version
        if keep_value is NotImplemented:
            self.store_object(&change, &parts, key, value, timeout)
            return change.version
        parts.parts = plain.parts
        parts.part_count = 1
        parts.codec = plain.codec
        parts.length = plain.length
        self.change(&change, key, timeout)
        return change.version

    cdef int store_object(self, Change *change, dsm_value *parts, object key, object value,
                          object timeout) except -1:
        cdef list buffers
        cdef int codec
        cdef Py_ssize_t i, count
        cdef const unsigned char[::1] window
        buffers, codec = encode_object(value, self.allow_pickle)
        handle_ready(self.handle)
        count = len(buffers)
        cdef dsm_part *laid = <dsm_part *>PyMem_Malloc(count * sizeof(dsm_part))
        if laid == NULL:
            raise MemoryError()
        try:
            windows = []
            parts.length = 0
            for i in range(count):
                window = memoryview(buffers[i]).cast("B")
                windows.append(window)
                laid[i].length = <uint64_t>window.shape[0]
                laid[i].bytes = <const void *>laid  # of an empty part nothing is read
                if window.shape[0]:
                    laid[i].bytes = &window[0]
                parts.length += laid[i].length
            parts.parts = laid
            parts.part_count = <uint32_t>count
            parts.codec = <uint8_t>codec
            self.change(change, key, timeout)
        finally:
            PyMem_Free(laid)
        return 0

    def put(self, key, value, *, if_version=None, timeout=None):
        """Stores the value under the key and returns its version (int, never reused for the key).

        Acknowledged once every replica has it. `if_version`: only if the object has that version
        (0: only if absent), else VersionConflictError. Blocks while another process changes the
        same stripe, at most `timeout` seconds (default: the cluster's lock_timeout), then
        LockTimeoutError. StoreFullError, ValueTypeError, KeyTypeError: nothing was changed.
        """
        if timeout is not None:
            seconds_of(timeout)
        return self.store(key, value, condition_of(if_version), timeout)

    def __setitem__(self, key, value):
        self.store(key, value, DSM_ANY_VERSION, None)

    def put_many(self, items, *, timeout=None):
        """Stores many objects: a mapping, or an iterable of (key, value). Each item is atomic.

        If one fails, the ones before it are stored and its error is raised.
        """
        cdef object pairs = iter(items.items() if hasattr(items, "items") else items)
        cdef BatchKey encoded[BATCH]
        cdef list keys = [None] * BATCH, values = [None] * BATCH, keep = [None] * BATCH
        cdef Py_ssize_t batch, i
        cdef object failure = None
        cdef bint more = True
        while more:
            handle_ready(self.handle)
            batch = 0
            try:
                while batch < BATCH:
                    keys[batch], values[batch] = next(pairs)
                    handle_ready(self.handle)  # a generator, or another thread, may have closed it
                    if not encode_ascii_key(keys[batch], self.handle.space, self.index,
                                            &encoded[batch].key):
                        keep[batch] = encode_key(keys[batch], encoded[batch].scratch,
                                                 self.handle.space, self.index,
                                                 &encoded[batch].key)
                    dsm_prefetch_change_head(self.handle.space, encoded[batch].key.hash)
                    batch += 1
            except StopIteration:
                more = False
            except BaseException as error:  # the items before it come first
                failure = error
                more = False
            handle_ready(self.handle)
            for i in range(batch):
                dsm_prefetch_change_object(self.handle.space, encoded[i].key.hash)
            for i in range(batch):
                self.store_encoded(&encoded[i].key, keys[i], values[i], DSM_ANY_VERSION,
                                   timeout, True)
                handle_ready(self.handle)
        if failure is not None:
            raise failure

    def delete(self, key, *, if_version=None, timeout=None):
        """Removes the key and returns the version at which it ended. KeyNotFoundError if absent.

        `if_version`, `timeout`: as for put().
        """
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef Change change
        handle_ready(self.handle)
        _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        change.kind = OP_DELETE
        change.prefetched = False
        change.key = &encoded
        change.condition.replicas = self.replication_factor
        change.condition.if_version = condition_of(if_version)
        self.change(&change, key, timeout)
        return change.version

    def __delitem__(self, key):
        self.delete(key)

    def add(self, key, difference=1, *, timeout=None):
        """Adds to the counter under the key, atomically, and returns its new value.

        A missing key starts at 0. CounterOverflowError beyond 64 signed bits and ValueTypeError if
        the object is no such int: nothing was changed.
        """
        cdef dsm_key encoded
        cdef unsigned char scratch[8]
        cdef Change change
        if type(difference) is not int:
            raise ValueTypeError(f"add() takes an int, not {type(difference).__qualname__}")
        if not -(1 << 63) <= difference < 1 << 63:
            raise UsageError(f"{difference} does not fit a signed 64-bit counter")
        handle_ready(self.handle)
        _keep = encode_key(key, scratch, self.handle.space, self.index, &encoded)
        change.kind = OP_ADD
        change.prefetched = False
        change.key = &encoded
        change.difference = difference
        change.condition.replicas = self.replication_factor
        self.change(&change, key, timeout)
        return change.counter

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


cdef double seconds_of(object timeout) except? -1:
    cdef double seconds = timeout
    if not seconds >= 0:
        raise UsageError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")
    return seconds


cdef uint64_t condition_of(object if_version) except? 1:
    if if_version is None:
        return DSM_ANY_VERSION
    if type(if_version) is not int or not 0 <= if_version < 1 << 44:
        raise UsageError(f"if_version must be a version that put() returned, or 0, "
                         f"not {if_version!r}")
    return if_version
