# Changing one region's objects: put, delete, add.
#
# Changes first try with the GIL, which is enough unless somebody holds the stripe; then they wait
# without it, in slices, so that Ctrl-C and the time-out are honoured. Nothing of Python is touched
# while a lock is held.
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from dsm_native._native.codec cimport (
    Encoded, encode_ascii_key, encode_key, encode_object, encode_plain,
)
from dsm_native._native.core cimport (
    DSM_ANY_VERSION, DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_OK, dsm_add, dsm_ahead,
    dsm_ahead_heads, dsm_ahead_objects, dsm_ahead_slots, dsm_call, dsm_call_make, dsm_cluster,
    dsm_cluster_drop, dsm_cluster_hold, dsm_condition, dsm_delete, dsm_heal_ask, dsm_key,
    dsm_key_stripe,
    dsm_os_monotonic_ns, dsm_os_pause,
    dsm_part, dsm_put, dsm_space, dsm_status, dsm_value, int64_t, uint32_t, uint64_t, uint8_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport handle_ready
from dsm_native._native.reader cimport BATCH, RegionReader

from dsm_native.exceptions import UsageError, ValueTypeError

cdef enum:
    UNLOCKED_GIL_BYTES = 65536  # puts of this size copy without the GIL
    MENDING_S = 2  # how long a change waits for a segment that is being replaced
    OP_PUT = 0
    OP_DELETE = 1
    OP_ADD = 2


cdef struct Change:
    int kind
    bint prefetched
    const dsm_key *key
    const dsm_value *value
    dsm_condition condition
    int64_t difference
    int64_t counter
    uint64_t version


cdef struct Ahead:
    dsm_key key
    dsm_ahead ahead
    unsigned char scratch[8]


cdef dsm_status carry_out(dsm_call *call, Change *change) noexcept nogil:
    if change.kind == OP_PUT:
        return dsm_put(call, change.key, change.value, change.condition, &change.version)
    if change.kind == OP_DELETE:
        return dsm_delete(call, change.key, change.condition, &change.version)
    return dsm_add(call, change.key, change.difference, change.condition.replicas,
                   &change.counter, &change.version)


cdef class RegionCore(RegionReader):
    """Reads and changes of one region's objects. See `dsm_native.Region`."""

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
            if status == DSM_CORRUPT and (dsm_os_monotonic_ns() - start) * 1e-9 < MENDING_S:
                # Beyond mending in place: the keeper is giving the node another segment.
                with nogil:
                    dsm_heal_ask(call.space, dsm_key_stripe(call.space, change.key.hash))
                    dsm_os_pause(5000)
            elif status != DSM_LOCK_TIMEOUT:
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
            if status != DSM_LOCK_TIMEOUT and status != DSM_CORRUPT:
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

    cdef int put_batch(self, list keys, list values, Py_ssize_t first, Py_ssize_t count,
                       object timeout) except -1:
        # The look-ups overlap in the memory system: each step is taken for all of them.
        cdef Ahead encoded[BATCH]
        cdef const dsm_space *space
        cdef Py_ssize_t i
        cdef list keep = []
        cdef object failure = None
        handle_ready(self.handle)  # the iteration, or another thread, may have closed it
        space = self.handle.space
        for i in range(count):
            key = keys[first + i]
            if not encode_ascii_key(key, space, self.index, &encoded[i].key):
                try:
                    keep.append(encode_key(key, encoded[i].scratch, space, self.index,
                                           &encoded[i].key))
                except Exception as error:  # the items before it come first
                    failure = error
                    count = i
                    break
            dsm_ahead_heads(&encoded[i].ahead, space, encoded[i].key.hash)
        for i in range(count):
            dsm_ahead_slots(&encoded[i].ahead, space)
        for i in range(count):
            dsm_ahead_objects(&encoded[i].ahead, space)
        for i in range(count):
            handle_ready(self.handle)
            self.store_encoded(&encoded[i].key, keys[first + i], values[first + i],
                               DSM_ANY_VERSION, timeout, True)
        if failure is not None:
            raise failure
        return 0

    def put_many(self, items, *, timeout=None):
        """Stores many objects: a mapping, or an iterable of (key, value). Each item is atomic.

        If one fails, the ones before it are stored and its error is raised.
        """
        cdef list keys, values
        cdef Py_ssize_t first
        if timeout is not None:
            seconds_of(timeout)
        if type(items) is dict:  # as it is now, whatever other threads do to it meanwhile
            keys = list(items)
            values = list(items.values())
            for first in range(0, len(keys), BATCH):
                self.put_batch(keys, values, first, min(len(keys) - first, <Py_ssize_t>BATCH),
                               timeout)
            return
        pairs = iter(items.items() if hasattr(items, "items") else items)
        failure = None
        while failure is None:
            keys = []
            values = []
            try:
                for key, value in pairs:
                    keys.append(key)
                    values.append(value)
                    if len(keys) == BATCH:
                        break
            except BaseException as error:  # the items before it come first
                failure = error
            self.put_batch(keys, values, 0, len(keys), timeout)
            if len(keys) < BATCH:
                break
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
