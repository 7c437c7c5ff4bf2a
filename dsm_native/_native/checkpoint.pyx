# Taking a checkpoint: the cut, and the walk that fills buffers with frames.
#
# Everything per object happens in C and without the GIL; Python moves whole buffers.
from cpython.bytes cimport PyBytes_AS_STRING
from dsm_native._native.array cimport Patience
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_OK, DSM_RETRY, dsm_call, dsm_call_make, dsm_cluster,
    dsm_cluster_drop, dsm_cluster_forked, dsm_cluster_hold, dsm_space, dsm_status, uint32_t,
    uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.frames cimport FrameBuffer, dsm_frames
from dsm_native._native.handle cimport Handle, handle_ready
from libc.stdlib cimport calloc, free
from libcpp cimport bool as cbool

import time

from dsm_native.exceptions import LockTimeoutError, StoreFullError, UsageError


cdef extern from "store/cut.h" nogil:
    dsm_status dsm_cut_begin(dsm_call *call, uint64_t *number) noexcept
    dsm_status dsm_cut_open(dsm_call *call, uint64_t number, uint64_t arrays_sum) noexcept
    void dsm_cut_back(dsm_call *call) noexcept
    void dsm_cut_end(dsm_call *call, uint64_t number, cbool clean) noexcept
    cbool dsm_cut_spoiled(const dsm_space *space, uint64_t number) noexcept


cdef extern from "store/array_directory.h" nogil:
    uint64_t dsm_array_directory_sum(const dsm_space *space) noexcept


cdef extern from "mem/space.h" nogil:
    ctypedef struct dsm_config_shm:
        uint64_t cluster_id
        uint64_t hash_seed


cdef extern from *:
    """
    #include "mem/space.h"
    static inline const dsm_config_shm *dsm__config(const dsm_space *space) {
      return &space->config;
    }
    """
    const dsm_config_shm *dsm__config(const dsm_space *space) noexcept nogil


cdef extern from "store/walk.h" nogil:
    ctypedef struct dsm_walk:
        uint32_t stripe
        uint64_t objects
        uint64_t value_bytes
        uint64_t stripes
    void dsm_walk_init(const dsm_space *space, dsm_walk *walk, uint64_t number,
                       const uint64_t *gens_before, uint64_t *gens) noexcept
    dsm_status dsm_walk_fill(dsm_call *call, dsm_walk *walk, dsm_frames *frames,
                             cbool *done) noexcept
    void dsm_walk_drop(dsm_space *space, dsm_walk *walk) noexcept


BUSY_PAUSE_S = 0.005


cdef class Cut:
    """One checkpoint being taken: `begin`, `open`, `fill` until done, `end`."""

    cdef Handle handle
    cdef dsm_cluster *cluster
    cdef dsm_walk *walk
    cdef uint64_t *gens
    cdef object before
    cdef readonly uint64_t number
    cdef bint taken, done

    def __cinit__(self, Handle handle):
        handle_ready(handle)
        self.handle = handle
        self.cluster = handle.cluster
        dsm_cluster_hold(self.cluster)
        self.walk = <dsm_walk *>calloc(1, sizeof(dsm_walk))
        self.gens = <uint64_t *>calloc(handle.space.stripe_count, sizeof(uint64_t))
        if self.walk == NULL or self.gens == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.cluster != NULL:
            self.end()
            dsm_cluster_drop(self.cluster)
        free(self.walk)
        free(self.gens)

    def begin(self, timeout=None):
        """Becomes the one who takes a checkpoint; waits for another one's end."""
        cdef Patience patience = Patience(self.handle, timeout)
        cdef dsm_call call
        cdef dsm_status status
        while True:
            call = dsm_call_make(&self.cluster.space, patience.slice_ms())
            with nogil:
                status = dsm_cut_begin(&call, &self.number)
            if status == DSM_OK:
                self.taken = True
                return
            if status != DSM_LOCK_TIMEOUT:
                raise fault_error(status, &call.fault, "checkpoint", patience.limit)
            try:
                patience.go_on(status, &call.fault, "checkpoint")
            except LockTimeoutError:
                if call.fault.stripe >= 0:
                    raise
                raise LockTimeoutError(
                    f"pid {call.fault.process.pid} is taking a checkpoint of cluster "
                    f"{self.handle.name!r}, and was not done within {patience.limit:.3g} s; a "
                    f"cluster takes one at a time, so try again later or with a longer "
                    f"timeout") from None
            time.sleep(BUSY_PAUSE_S)

    @property
    def arrays_sum(self):
        """What `open` compares: it differs when any array was made, resized or deleted."""
        return dsm_array_directory_sum(&self.cluster.space)

    def open(self, uint64_t arrays_sum, before=None):
        """The instant; False if arrays were made or deleted since `arrays_sum` was taken.

        before: generations of the checkpoint before, as bytes, or None.
        """
        cdef Patience patience = Patience(self.handle, None)
        cdef dsm_call call
        cdef dsm_status status
        cdef uint64_t *gens_before = NULL
        if before is not None:
            if len(before) != 8 * self.cluster.space.stripe_count:
                raise UsageError(f"{len(before)} bytes of generations")
            self.before = bytes(before)
            gens_before = <uint64_t *>PyBytes_AS_STRING(self.before)
        while True:
            call = dsm_call_make(&self.cluster.space, patience.slice_ms())
            with nogil:
                status = dsm_cut_open(&call, self.number, arrays_sum)
            if status == DSM_RETRY:
                return False
            if status == DSM_OK:
                break
            if status != DSM_LOCK_TIMEOUT:
                raise fault_error(status, &call.fault, "checkpoint", patience.limit)
            patience.go_on(status, &call.fault, "checkpoint")
        # Regions of before the cut are all known after it.
        dsm_walk_init(&self.cluster.space, self.walk, self.number, gens_before, self.gens)
        return True

    def fill(self, FrameBuffer buffer):
        """Adds frames to the buffer; whether all stripes are done."""
        cdef Patience patience = Patience(self.handle, None)
        cdef dsm_call call
        cdef dsm_status status
        cdef cbool done = False
        while True:
            handle_ready(self.handle)
            call = dsm_call_make(&self.cluster.space, patience.slice_ms())
            with nogil:
                dsm_cut_back(&call)
                status = dsm_walk_fill(&call, self.walk, &buffer.frames, &done)
            if status == DSM_OK:
                break
            if status != DSM_LOCK_TIMEOUT:
                raise fault_error(status, &call.fault, "checkpoint", patience.limit)
            patience.go_on(status, &call.fault, "checkpoint")
        self.check()
        self.done = done
        return done

    @property
    def identity(self):
        """(number of the cluster, seed of its hashes)"""
        cdef const dsm_config_shm *config = dsm__config(&self.cluster.space)
        return config.cluster_id, config.hash_seed

    def check(self):
        """StoreFullError if something that was replaced could not be kept."""
        if dsm_cut_spoiled(&self.cluster.space, self.number):
            raise StoreFullError(
                f"checkpoint of cluster {self.handle.name!r}: there was no room in /dev/shm, or in "
                f"the reserved segment, to keep what writers replaced meanwhile. Nothing of the "
                f"cluster was changed; give it more room, or take checkpoints when less is written")

    @property
    def generations(self):
        """Of every stripe at the cut, as bytes."""
        return (<char *>self.gens)[:8 * self.cluster.space.stripe_count]

    @property
    def totals(self):
        """(objects, bytes of values, stripes) that were written."""
        return self.walk.objects, self.walk.value_bytes, self.walk.stripes

    def end(self):
        """Lets go of everything that was kept. Idempotent."""
        cdef dsm_call call
        if not self.taken:
            return
        self.taken = False
        if dsm_cluster_forked(self.cluster):
            return  # it goes on in the parent
        call = dsm_call_make(&self.cluster.space, DSM_LOCK_SLICE_MS)
        with nogil:
            dsm_walk_drop(&self.cluster.space, self.walk)
            dsm_cut_end(&call, self.number, self.done)
