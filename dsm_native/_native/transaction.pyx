# What a transaction has read and will write, and its commit. dsm_native.transaction adds the rest.
#
# Reads take no lock; each looks again at the earlier ones, so that the block never computes on
# values that were not there together. Writes are encoded at once and kept here. The commit is one
# call of the core, first with the GIL, then without it in slices, as a put is.
#
# Longer than 400 lines: the views of regions call the transaction's inlined steps.
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pythread cimport PyThread_get_thread_ident
from dsm_native._native.codec cimport (
    CODEC_BYTES, Encoded, decode_object, decode_plain, encode_ascii_key, encode_key,
    encode_object, encode_plain,
)
from dsm_native._native.core cimport (
    DSM_ABORTED, DSM_ANY_VERSION, DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT,
    DSM_NOT_FOUND, DSM_OK, DSM_RETRY, dsm_call, dsm_call_make, dsm_cluster, dsm_cluster_drop,
    dsm_cluster_forked,
    dsm_cluster_hold, dsm_heal, dsm_key, dsm_os_monotonic_ns, dsm_part, dsm_read_copy, dsm_space,
    dsm_status, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.transaction cimport (
    DSM_ACCESS_DELETE, DSM_ACCESS_PUT, DSM_ACCESS_READ, dsm_access, dsm_sight,
    dsm_snapshot_again, dsm_snapshot_look, dsm_snapshot_wait, dsm_transaction_commit,
)

from dsm_native.exceptions import (
    ForkedError, KeyNotFoundError, TransactionAbortedError, UsageError,
)

cdef enum:
    UNLOCKED_GIL_BYTES = 65536  # commits and copies of this size run without the GIL

MISSING = object()  # what a look-up returns for an absent key


@cython.freelist(64)
@cython.no_gc  # it refers to plain values, bytes, keys and a region, none of which refers back
cdef class Access:
    """One key within a transaction; internal."""
    # One key of one region: the version read, and what will be written. `raw` borrows from the
    # fields after it, so an Access never moves and outlives the commit.
    cdef dsm_access raw
    cdef dsm_sight sight
    cdef Encoded plain
    cdef dsm_part part
    cdef unsigned char scratch[8]
    cdef object keep, key, kept_key, region, value, buffer

    cdef int encode(self, object value, bint allow_pickle) except -1:
        # The value as it is now; changing it later changes nothing.
        cdef int codec
        cdef Encoded plain
        keep = encode_plain(value, &plain)
        if keep is NotImplemented:
            buffers, codec = encode_object(value, allow_pickle)
            buffer = b"".join([memoryview(part).cast("B") for part in buffers])
            self.buffer = buffer
            self.value = None
            self.part.bytes = PyBytes_AS_STRING(buffer)
            self.part.length = <uint64_t>PyBytes_GET_SIZE(buffer)
            self.raw.value.codec = <unsigned char>codec
        else:
            # Numbers lie in the scratch of what encoded them, which is ours from here on.
            self.plain = plain
            self.part = self.plain.parts[0]
            if self.part.bytes == <const void *>plain.scratch:
                self.part.bytes = <const void *>self.plain.scratch
            self.keep = keep if keep is not None else value
            self.value = value
            self.buffer = None
            self.raw.value.codec = self.plain.codec
        self.raw.value.parts = &self.part
        self.raw.value.part_count = 1
        self.raw.value.length = self.part.length
        self.raw.kind = DSM_ACCESS_PUT
        return 0

    cdef object written(self):
        # What a read after the write returns: a private copy.
        if self.buffer is None:
            return self.value
        return decode_object(self.raw.value.codec, bytearray(self.buffer))


@cython.freelist(8)
cdef class TransactionCore:
    """Reads and buffered writes of one transaction. Use `Region.transaction` instead."""

    cdef readonly Handle handle
    cdef dict views  # region index → accesses of that region, by key
    cdef list touched  # all accesses
    cdef list seen  # accesses that were read, in order
    cdef uint32_t participant
    cdef unsigned long thread
    cdef readonly str state  # "open", "committed", "discarded", "aborted"
    cdef readonly object error
    cdef double limit

    def __cinit__(self, Handle handle, timeout=None):
        handle_ready(handle)
        self.handle = handle
        self.views = {}
        self.touched = []
        self.seen = []
        self.participant = handle.space.participant
        self.thread = PyThread_get_thread_ident()
        self.state = "open"
        self.limit = handle.lock_timeout if timeout is None else timeout
        if not self.limit >= 0:
            raise UsageError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")

    cdef int ready(self) except -1:
        cdef dsm_cluster *cluster = self.handle.cluster
        if cluster != NULL and (dsm_cluster_forked(cluster)
                                or cluster.space.participant != self.participant):
            raise ForkedError("the transaction belongs to the parent process; begin another one")
        handle_ready(self.handle)
        if self.state != "open":
            raise UsageError(f"the transaction has ended ({self.state}); begin another one") \
                from self.error
        if PyThread_get_thread_ident() != self.thread:
            raise UsageError("the transaction belongs to another thread; begin one in each")
        return 0

    cdef int abort(self, Access access, uint64_t found) except -1:
        expected = access.raw.expected
        text = "no object" if found == 0 else f"version {found}"
        was = "no object" if expected == 0 else f"version {expected}"
        self.state = "aborted"
        self.error = TransactionAbortedError(
            f"{access.key!r} of region {access.region.name!r} was changed by another: the "
            f"transaction read {was}, found was {text}. Nothing was changed; transact() tries "
            f"again", key=access.key, region=access.region.name, expected=expected, version=found)
        raise self.error

    # ---- reading --------------------------------------------------------------------------------

    cdef int await_commit(self, uint32_t stripe, Access access, uint64_t start) except -1:
        # Another's commit is passing: it takes microseconds, or its process was killed or stopped.
        cdef dsm_call call = dsm_call_make(self.handle.space, DSM_LOCK_SLICE_MS)
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status
        dsm_cluster_hold(cluster)
        with nogil:
            status = dsm_snapshot_wait(&call, stripe)
            dsm_cluster_drop(cluster)
        PyErr_CheckSignals()
        self.ready()
        if status == DSM_OK:
            return 0
        if status != DSM_LOCK_TIMEOUT or (dsm_os_monotonic_ns() - start) * 1e-9 >= self.limit:
            raise fault_error(status, &call.fault, access.key, self.limit)
        return 0

    cdef int look_again(self) except -1:
        # What was read before was there when the latest was read.
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef Access access
        cdef uint64_t present = 0, start = 0
        cdef dsm_status status
        for item in self.seen:
            access = <Access>item
            while True:
                status = dsm_snapshot_again(&call, &access.raw.key, &access.sight, &present)
                if status != DSM_LOCK_TIMEOUT:
                    break
                start = start or dsm_os_monotonic_ns()
                self.await_commit(<uint32_t>call.fault.stripe, access, start)
            if status == DSM_ABORTED:
                self.abort(access, present)
            if status != DSM_OK:
                raise fault_error(status, &call.fault, access.key, 0)
        return 0

    cdef int mend(self, Access access) except -1:
        # The object is damaged where it was found: what validates takes its place.
        cdef dsm_call call = dsm_call_make(self.handle.space, DSM_LOCK_SLICE_MS)
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef uint32_t stripe = access.sight.read.stripe
        cdef dsm_status status
        dsm_cluster_hold(cluster)
        with nogil:
            status = dsm_heal(&call, stripe)
            dsm_cluster_drop(cluster)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, access.key, 0)
        return 0

    cdef object copy_of(self, dsm_call *call, Access access):
        # The value that was seen, or NotImplemented if it must be looked up again.
        cdef uint64_t length = access.sight.read.header.value_bytes
        cdef int codec = access.sight.read.header.codec
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status
        cdef object copy = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        cdef char *target = PyBytes_AS_STRING(copy)
        if length < UNLOCKED_GIL_BYTES:
            status = dsm_read_copy(call, &access.sight.read, target)
        else:
            dsm_cluster_hold(cluster)
            with nogil:
                status = dsm_read_copy(call, &access.sight.read, target)
                dsm_cluster_drop(cluster)
        if status == DSM_CORRUPT:
            self.mend(access)
            return NotImplemented
        if status == DSM_RETRY:
            return NotImplemented
        if status != DSM_OK:
            raise fault_error(status, &call.fault, access.key, 0)
        if codec == CODEC_BYTES:
            return copy
        result = decode_plain(codec, <unsigned char *>target, length)
        return decode_object(codec, bytearray(copy)) if result is NotImplemented else result

    cdef object look(self, Access access, bint with_value):
        # The value (None if it was not asked for), or MISSING; notes the version.
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_status status
        cdef uint64_t start = 0
        cdef object result = None
        cdef bint first = access.raw.expected == DSM_ANY_VERSION
        while True:
            status = dsm_snapshot_look(&call, &access.raw.key, &access.sight)
            if status == DSM_LOCK_TIMEOUT:
                start = start or dsm_os_monotonic_ns()
                self.await_commit(<uint32_t>call.fault.stripe, access, start)
                continue
            if status == DSM_NOT_FOUND:
                result = MISSING
            elif status != DSM_OK:
                raise fault_error(status, &call.fault, access.key, 0)
            elif with_value:
                result = self.copy_of(&call, access)
                self.ready()
                if result is NotImplemented:
                    continue
            break
        if not first:
            if access.sight.version != access.raw.expected:
                self.abort(access, access.sight.version)
            return result
        access.raw.expected = access.sight.version
        if self.seen:
            self.look_again()
        self.seen.append(access)
        return result

    # ---- the end --------------------------------------------------------------------------------

    def discard(self):
        """Ends the transaction without a change. Idempotent."""
        if self.state == "open":
            self.state = "discarded"
            self.views = {}
            self.touched = []
            self.seen = []

    cdef dsm_status commit_patiently(self, dsm_call *call, dsm_access **raw, uint32_t count,
                                     dsm_access **culprit) except *:
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_status status
        cdef uint64_t start = dsm_os_monotonic_ns()
        call.wait_ms = DSM_LOCK_SLICE_MS
        while True:
            dsm_cluster_hold(cluster)
            with nogil:
                status = dsm_transaction_commit(call, raw, count, culprit)
                dsm_cluster_drop(cluster)
            if status != DSM_LOCK_TIMEOUT:
                return status
            PyErr_CheckSignals()
            if (dsm_os_monotonic_ns() - start) * 1e-9 >= self.limit:
                return status
            handle_ready(self.handle)

    cdef int finish(self, dsm_access **raw, uint32_t count, uint64_t bytes) except -1:
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_access *culprit = NULL
        cdef dsm_status status = DSM_LOCK_TIMEOUT
        cdef Access access
        if bytes < UNLOCKED_GIL_BYTES:
            status = dsm_transaction_commit(&call, raw, count, &culprit)
        if status == DSM_LOCK_TIMEOUT:
            status = self.commit_patiently(&call, raw, count, &culprit)
        if status == DSM_OK:
            return 0
        subject = "transaction"
        for access in self.touched:
            if &access.raw == culprit:
                subject = access.key
                if status == DSM_ABORTED:
                    self.abort(access, culprit.version)
        raise fault_error(status, &call.fault, subject, self.limit)

    def commit(self):
        """Makes all writes visible at once, if everything read is still as it was.

        TransactionAbortedError, LockTimeoutError, StoreFullError, LimitError, CorruptError:
        nothing was changed.
        """
        cdef Access access
        cdef uint32_t count = 0, total
        cdef uint64_t bytes = 0
        cdef dsm_access **raw
        if self.state == "aborted":
            raise self.error
        self.ready()
        total = <uint32_t>len(self.touched)
        raw = <dsm_access **>PyMem_Malloc((total + 1) * sizeof(void *))
        if raw == NULL:
            raise MemoryError()
        try:
            for access in self.touched:
                # A key that was named but neither read nor written is nothing to compare.
                if access.raw.kind == DSM_ACCESS_READ and access.raw.expected == DSM_ANY_VERSION:
                    continue
                raw[count] = &access.raw
                count += 1
                if access.raw.kind == DSM_ACCESS_PUT:
                    bytes += access.raw.value.length
            if count:
                self.finish(raw, count, bytes)
            self.state = "committed"
        except BaseException as error:
            if self.state == "open":
                self.state = "discarded"
                self.error = error
            raise
        finally:
            PyMem_Free(raw)

    @property
    def reads(self):
        """(region name, key) → version, of what was read so far; 0: it was absent."""
        cdef Access access
        return {(access.region.name, access.key): access.raw.expected for access in self.seen}

    @property
    def versions(self):
        """After the commit: (region name, key) → version, of the objects that it wrote."""
        cdef Access access
        if self.state != "committed":
            raise UsageError(f"versions are known after the commit; this one is {self.state}")
        return {(access.region.name, access.key): access.raw.version
                for access in self.touched if access.raw.kind == DSM_ACCESS_PUT}


cdef class TransactionView:
    """One region as a transaction sees it; see `dsm_native.TransactionRegion`."""

    cdef readonly TransactionCore core
    cdef readonly object region_handle
    cdef dict accesses
    cdef uint16_t index
    cdef uint32_t replicas
    cdef bint allow_pickle

    def __init__(self, region, timeout=None, TransactionCore core=None):
        if core is None:
            core = TransactionCore(region.handle, timeout)
        self.core = core
        self.region_handle = region
        self.index = region.index
        self.replicas = region.replication_factor
        self.allow_pickle = region.allow_pickle
        found = core.views.get(self.index)
        if found is None:
            core.views[self.index] = found = {}
        self.accesses = found

    cdef Access access_of(self, object key):
        cdef Access access
        cdef unsigned char scratch[8]
        cdef dsm_key encoded
        cdef dsm_space *space
        cdef object name = key, kind = type(key)
        self.core.ready()
        space = self.core.handle.space
        if kind is not str and kind is not bytes and kind is not int:
            # Tuples of equal numbers of other types would be equal for a dict; the rest is refused.
            name = (encode_key(key, scratch, space, self.index, &encoded),)
        found = self.accesses.get(name)
        if found is not None:
            return <Access>found
        access = Access.__new__(Access)
        if not encode_ascii_key(key, space, self.index, &access.raw.key):
            access.kept_key = encode_key(key, access.scratch, space, self.index, &access.raw.key)
        access.key = key
        access.region = self.region_handle
        access.raw.expected = DSM_ANY_VERSION
        access.raw.kind = DSM_ACCESS_READ
        access.raw.replicas = self.replicas
        self.accesses[name] = access
        self.core.touched.append(access)
        return access

    cdef object read(self, object key):
        # The value that the transaction sees, or MISSING.
        cdef Access access = self.access_of(key)
        if access.raw.kind == DSM_ACCESS_READ:
            return self.core.look(access, True)
        if access.raw.kind == DSM_ACCESS_PUT:
            return access.written()
        return MISSING

    def get(self, key, default=None):
        """The value of the key, or `default`.

        TransactionAbortedError if what the transaction read before is no longer there.
        """
        value = self.read(key)
        return default if value is MISSING else value

    def __getitem__(self, key):
        value = self.read(key)
        if value is MISSING:
            raise KeyNotFoundError(key)
        return value

    def __contains__(self, key):
        cdef Access access = self.access_of(key)
        if access.raw.kind != DSM_ACCESS_READ:
            return access.raw.kind == DSM_ACCESS_PUT
        return self.core.look(access, False) is not MISSING

    def put(self, key, value):
        """The key will hold the value as it is now, if the transaction commits."""
        self.access_of(key).encode(value, self.allow_pickle)

    def __setitem__(self, key, value):
        self.access_of(key).encode(value, self.allow_pickle)

    def delete(self, key):
        """The key will be gone, if the transaction commits. KeyNotFoundError if it is absent."""
        cdef Access access = self.access_of(key)
        if key not in self:
            raise KeyNotFoundError(key)
        access.buffer = access.value = None
        access.raw.kind = DSM_ACCESS_DELETE

    def __delitem__(self, key):
        self.delete(key)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            self.core.discard()
        elif self.core.state == "open" or self.core.state == "aborted":
            self.core.commit()
