# Arrays: mappings and open blocks, each a thin skin over csrc/store/array*.h.
#
# A mapping holds a reference on the C cluster, and every buffer taken from it holds the mapping: so
# elements stay where they are after delete(), resize(), close() and the end of the cluster. Waiting
# and copying are done without the GIL, in slices that re-check signals and the time-out (I-4).
cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals

from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_NO_REPLICAS, DSM_OK, DSM_RETRY, DSM_TORN,
    dsm_call, dsm_call_make, dsm_cluster_drop, dsm_cluster_hold, dsm_fault,
    dsm_os_monotonic_ns, dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error, lost_error
from dsm_native._native.handle cimport Handle, handle_ready

import os
from threading import get_ident

from dsm_native.exceptions import (
    CorruptError, ForkedError, LockTimeoutError, TornWriteError, UsageError,
)

cdef enum:
    SNAPSHOT_TRIES = 32

# Which thread has a block open on which build: a second one would wait for the first.
cdef dict opened = {}


cdef class Patience:
    """How long a call may still wait: slices, signals, the cluster's end."""

    def __cinit__(self, Handle handle, timeout):
        self.handle = handle
        self.limit = handle.lock_timeout if timeout is None else float(timeout)
        self.start = dsm_os_monotonic_ns()

    cdef uint32_t slice_ms(self) noexcept:
        cdef double left = self.limit - (dsm_os_monotonic_ns() - self.start) * 1e-9
        if left <= 0:
            return 0
        return min(<uint32_t>DSM_LOCK_SLICE_MS, <uint32_t>(left * 1000) + 1)

    cdef int go_on(self, dsm_status status, const dsm_fault *fault, object subject) except -1:
        # After a slice without success: raises if the call must end.
        PyErr_CheckSignals()
        if (dsm_os_monotonic_ns() - self.start) * 1e-9 >= self.limit:
            raise lock_error(fault, subject, self.limit)
        handle_ready(self.handle)
        return 0


cdef object lock_error(const dsm_fault *fault, object subject, double waited):
    error = fault_error(DSM_LOCK_TIMEOUT, fault, subject, waited)
    if fault.what == NULL:
        return error
    holder = str(error).partition("it is held by ")[2].partition(". Nothing")[0]
    return LockTimeoutError(
        f"{subject!r}: {fault.what.decode()} (tile or entry {fault.left}), and was not granted "
        f"within {waited:.3g} s; by {holder}. Nothing was changed")


cdef class ArrayMap:
    """One build of an array, mapped. A buffer of all its bytes, writable."""

    def __cinit__(self):
        self.cluster = NULL
        self.mapped = False

    def __dealloc__(self):
        if self.mapped:
            dsm_array_close(&self.array)
        if self.cluster != NULL:
            dsm_cluster_drop(self.cluster)

    @staticmethod
    cdef ArrayMap make(Handle handle, str name):
        cdef ArrayMap self = ArrayMap.__new__(ArrayMap)
        handle_ready(handle)
        self.handle = handle
        self.name = name
        self.cluster = handle.cluster
        dsm_cluster_hold(self.cluster)
        return self

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, dsm_array_data(&self.array, 0),
                          <Py_ssize_t>self.array.geometry.data_bytes, 0, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        pass

    @property
    def current(self):
        """Whether the array's name still means this build."""
        handle_ready(self.handle)
        return dsm_array_current(&self.cluster.space, self.array.entry) == self.array.number

    @property
    def build(self):
        """Number by which the name means it: another one after each resize and each healing."""
        return self.array.number

    @property
    def shape(self):
        cdef uint32_t i
        return tuple([self.array.geometry.shape[i] for i in range(self.array.geometry.dimensions)])

    @property
    def description(self):
        """The element type as text."""
        return dsm_array_description(&self.array)[:self.array.geometry.description_bytes].decode()

    @property
    def fortran(self):
        return bool(self.array.geometry.fortran)

    @property
    def undo(self):
        return bool(self.array.geometry.undo)

    @property
    def replicas(self):
        return self.array.geometry.replicas

    @property
    def data_bytes(self):
        return self.array.geometry.data_bytes

    @property
    def tile_bytes(self):
        return self.array.geometry.tile_bytes

    @property
    def tile_count(self):
        return self.array.geometry.tile_count

    def mark_raw(self):
        """Says in shared memory that somebody may write in place from now on."""
        dsm_array_raw(&self.array)

    def version(self, uint64_t tile):
        """Grows with every block that wrote to the tile."""
        if tile >= self.array.geometry.tile_count:
            raise UsageError(f"{self.name!r} has no tile {tile}")
        return dsm_array_tile_version(&self.array, tile)

    def versions(self):
        """Versions of all tiles, as bytes of 64-bit words."""
        cdef uint64_t tile, count = self.array.geometry.tile_count
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(8 * count))
        cdef uint64_t *words = <uint64_t *>PyBytes_AS_STRING(out)
        with nogil:
            for tile in range(count):
                words[tile] = dsm_array_tile_version(&self.array, tile)
        return out

    @property
    def raw(self):
        """Whether somebody may write in place, beside the blocks."""
        return bool(dsm_array_is_raw(&self.array))

    def torn(self):
        """[(tile, pid of the killed writer)]"""
        cdef uint64_t tile
        return [(tile, dsm_array_tile_torn(&self.array, tile))
                for tile in range(self.array.geometry.tile_count)
                if dsm_array_tile_torn(&self.array, tile)]

    def torn_error(self):
        torn = self.torn()
        pids = ", ".join(str(pid) for pid in sorted({pid for _, pid in torn}))
        tiles = tuple([tile for tile, _ in torn])
        return TornWriteError(
            f"{self.name!r}: pid {pids} was killed while writing to tile"
            f"{'s' if len(tiles) > 1 else ''} {', '.join(map(str, tiles))}, and undo=False keeps "
            f"no image; accept() takes the bytes as they are, restore() those of a backup", tiles)

    def usage(self):
        """Open blocks and torn tiles, as of about now."""
        cdef dsm_array_usage found
        dsm_array_usage_read(&self.array, &found)
        return {"writers": found.writers, "readers": found.readers, "torn_tiles": found.torn}

    def begin(self, uint64_t low, uint64_t high, bint writes, timeout=None,
              bint accepts_torn=False, bint holds=False):
        """An open block over bytes [low, high), or None if the name means another build now."""
        cdef Patience patience = Patience(self.handle, timeout)
        cdef ArrayBlock self_block = ArrayBlock.__new__(ArrayBlock)
        cdef dsm_call call
        cdef dsm_status status
        handle_ready(self.handle)
        self_block.prepare(self, low, high, writes)
        self_block.block.accepts_torn = accepts_torn
        self_block.block.holds = holds
        while True:
            call = dsm_call_make(&self.cluster.space, patience.slice_ms())
            with nogil:
                if writes:
                    status = dsm_array_write_begin(&call, &self.array, &self_block.block)
                else:
                    status = dsm_array_read_begin(&call, &self.array, &self_block.block)
            if status == DSM_OK:
                return self_block
            if status != DSM_LOCK_TIMEOUT:
                self_block.forget()
                if status == DSM_RETRY:
                    return None
                self.copied(status, &call.fault)
                return None
            try:
                patience.go_on(status, &call.fault, self.name)
            except BaseException:
                self_block.cancel()
                raise

    def snapshot(self, uint64_t low, uint64_t high, target, timeout=None):
        """Copies bytes [low, high), as of one instant, into a writable buffer of that size."""
        cdef Py_buffer buffer
        cdef dsm_status status = DSM_RETRY
        cdef dsm_call call
        cdef int _attempt
        handle_ready(self.handle)
        if low > high or high > self.array.geometry.data_bytes:
            raise UsageError(f"bytes {low} to {high} of {self.array.geometry.data_bytes}")
        PyObject_GetBuffer(target, &buffer, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if <uint64_t>buffer.len != high - low:
                raise UsageError(f"a buffer of {high - low} bytes is needed, not {buffer.len}")
            for _attempt in range(SNAPSHOT_TRIES):
                call = dsm_call_make(&self.cluster.space, 0)
                with nogil:
                    status = dsm_array_snapshot_try(&call, &self.array, low, high, buffer.buf)
                if status != DSM_RETRY:
                    break
            if status == DSM_RETRY or status == DSM_LOCK_TIMEOUT:
                return self.snapshot_held(low, high, <size_t>buffer.buf, timeout)
        finally:
            PyBuffer_Release(&buffer)
        return self.copied(status, &call.fault)

    cdef bint copied(self, dsm_status status, const dsm_fault *fault) except -1:
        # Whether a snapshot is there; False if it is to be made again.
        if status == DSM_TORN:
            raise self.torn_error()
        if status != DSM_OK and not self.healed(status, fault):
            raise fault_error(status, fault, self.name, 0)
        return status == DSM_OK

    cdef bint healed(self, dsm_status status, const dsm_fault *fault) except -1:
        # Whether what a call has met is mended by now, so that the call is to be made again.
        cdef dsm_call call = dsm_call_make(&self.cluster.space, DSM_LOCK_SLICE_MS)
        cdef dsm_array_healed done
        if status != DSM_CORRUPT or self.array.entry >= DSM_ARRAYS_MAX:
            return False
        with nogil:
            status = dsm_array_heal(&call, self.array.entry, self.array.number, &done)
        if status == DSM_NO_REPLICAS:
            raise lost_error(self.name)
        if status == DSM_LOCK_TIMEOUT:
            raise lock_error(&call.fault, self.name, DSM_LOCK_SLICE_MS * 1e-3)
        return status == DSM_RETRY or (status == DSM_OK and done.copies > 0)

    def snapshot_held(self, uint64_t low, uint64_t high, size_t target, timeout):
        # Writers follow each other too fast, or there is no image: hold them off for one copy.
        cdef dsm_call call = dsm_call_make(&self.cluster.space, 0)
        cdef dsm_status status
        block = self.begin(low, high, False, timeout)
        if block is None:
            return False
        with nogil:
            status = dsm_array_snapshot_try(&call, &self.array, low, high, <void *>target)
        block.cancel()
        return self.copied(status, &call.fault)

    @property
    def sound(self):
        """Whether every copy has its file, under its name, with its header."""
        return self.array.lost == 0 and self.array.unnamed == 0

    def replicate(self):
        """Copies the primary to the backups, in a build that is not yet published."""
        with nogil:
            dsm_array_replicate(&self.array)


@cython.no_gc_clear
cdef class ArrayBlock:
    """Tiles that are held. It ends by publish(), restore() or cancel(), in the same process."""

    cdef ArrayMap map
    cdef dsm_array_block block
    cdef bint writes
    cdef bint open
    cdef object key
    cdef long pid

    cdef int prepare(self, ArrayMap map, uint64_t low, uint64_t high, bint writes) except -1:
        self.map = map
        self.writes = writes
        self.pid = os.getpid()
        self.block = dsm_array_block_make(&map.array, low, high)
        self.key = (self.pid, get_ident(), map.handle.name, map.build)
        if self.key in opened:
            self.map = None
            raise UsageError(
                f"{map.name!r}: this thread has a block of the array open already, and a second "
                f"one could wait for the first for ever; take one index that covers both")
        opened[self.key] = True
        self.open = True
        return 0

    cdef int forget(self) except -1:
        self.open = False
        opened.pop(self.key, None)
        return 0

    cdef int refuse(self) except -1:
        if not self.open:
            raise UsageError("the block has ended")
        if os.getpid() != self.pid:
            raise ForkedError(
                f"{self.map.name!r}: the block was opened by process {self.pid}; this is its "
                f"forked child {os.getpid()}")
        return 0

    def __dealloc__(self):
        cdef dsm_call call
        # Nobody ended it, so its writer was interrupted: as if it had been killed.
        if self.map is not None and self.open and os.getpid() == self.pid:
            opened.pop(self.key, None)
            call = dsm_call_make(&self.map.cluster.space, 0)
            if self.writes and self.map.array.geometry.undo and not self.block.holds:
                dsm_array_write_restore(&call, &self.map.array, &self.block)
            else:
                dsm_array_cancel(&call, &self.map.array, &self.block)

    def publish(self):
        """Replicates what changed and releases; the number of pages that were copied."""
        cdef dsm_call call
        cdef uint64_t pages = 0
        cdef dsm_status status
        self.refuse()
        call = dsm_call_make(&self.map.cluster.space, 0)
        with nogil:
            status = dsm_array_write_publish(&call, &self.map.array, &self.block, &pages)
        self.forget()
        if status != DSM_OK:
            raise self.undermined()
        return pages

    def restore(self):
        """Brings the bytes back as they were when the block began, and releases."""
        cdef dsm_call call
        cdef dsm_status status
        self.refuse()
        if self.map.array.geometry.copies < 2:
            raise UsageError(f"{self.map.name!r} has neither a backup nor an image to restore from")
        call = dsm_call_make(&self.map.cluster.space, 0)
        with nogil:
            status = dsm_array_write_restore(&call, &self.map.array, &self.block)
        self.forget()
        if status == DSM_TORN:
            raise self.map.torn_error()
        if status != DSM_OK:
            raise self.undermined()

    def undermined(self):
        return CorruptError(
            f"array {self.map.name!r}: its primary was damaged while the block was open; nothing "
            f"of the block was published. What a backup has is the array's again, or will be")

    def cancel(self):
        """Releases without a change: for reading, and for holding others off."""
        cdef dsm_call call
        self.refuse()
        call = dsm_call_make(&self.map.cluster.space, 0)
        with nogil:
            dsm_array_cancel(&call, &self.map.array, &self.block)
        self.forget()


cdef class ArrayCore:
    """What an Array is to consumers of buffers: the ndarray that `buffer_source()` gives."""

    cdef readonly Handle handle
    cdef readonly str name

    def __cinit__(self, Handle handle, str name, *rest):
        self.handle = handle
        self.name = name

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyObject_GetBuffer(self.buffer_source(), buffer, flags)
