# Putting back into a cluster what a checkpoint holds: whole payloads, without the GIL.
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from dsm_native._native.codec cimport decode_key, decode_object, decode_plain, encode_key
from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_OK, DSM_REGIONS_MAX, dsm_call, dsm_call_make, dsm_key, dsm_key_stripe,
    dsm_space, dsm_status, uint8_t, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error, fault_text
from dsm_native._native.frames cimport dsm_mark, dsm_record, dsm_record_next
from dsm_native._native.handle cimport Handle, handle_ready
from libc.stdlib cimport calloc, free

from dsm_native.exceptions import CorruptError


cdef extern from "store/reload.h" nogil:
    ctypedef enum dsm_reload_how:
        DSM_RELOAD_SAME
        DSM_RELOAD_ANEW
        DSM_RELOAD_LOST
    ctypedef struct dsm_reload:
        uint32_t stripe
        const uint32_t *replicas
        const dsm_mark *marks
        uint64_t mark_count
        dsm_reload_how how
        uint64_t objects
        uint64_t value_bytes
    dsm_status dsm_reload_objects(dsm_call *call, dsm_reload *reload, const uint8_t *payload,
                                  uint64_t bytes) noexcept
    dsm_status dsm_reload_object(dsm_call *call, dsm_reload *reload, const dsm_record *record,
                                 const uint8_t *key, const uint8_t *value) noexcept
    dsm_status dsm_reload_gen(dsm_call *call, uint32_t stripe, uint64_t gen) noexcept


def place_of(key, uint16_t region, uint64_t seed, uint32_t stripes):
    """(stripe, hash, kind, encoded bytes) of a key in a cluster with that seed and stripes."""
    cdef dsm_space *space = <dsm_space *>calloc(1, sizeof(dsm_space))
    cdef unsigned char scratch[8]
    cdef dsm_key encoded
    if space == NULL:
        raise MemoryError
    space.hash_seed = seed
    space.stripe_count = stripes
    space.stripe_shift = 64 - (stripes.bit_length() - 1)
    try:
        _keep = encode_key(key, scratch, space, region, &encoded)
        return (dsm_key_stripe(space, encoded.hash), encoded.hash, encoded.kind,
                (<const char *>encoded.bytes)[:encoded.length])
    finally:
        free(space)


def seed_of(Handle handle):
    """The seed of the cluster's hashes."""
    handle_ready(handle)
    return handle.space.hash_seed


def key_of(uint8_t kind, bytes encoded):
    """A key from its bytes."""
    return decode_key(kind, <const unsigned char *>PyBytes_AS_STRING(encoded), len(encoded))


def value_of(uint8_t codec, bytearray encoded):
    """A value from its bytes, which it may keep; unpickles if it must."""
    cdef object value = decode_plain(codec, <unsigned char *>PyByteArray_AS_STRING(encoded),
                                     len(encoded))
    return decode_object(codec, encoded) if value is NotImplemented else value


cdef class Reloader:
    """Puts records back into a cluster. replicas: of each region, by index; 0: no such region.

    anew: absent keys are put as if by a user, with new versions. lost: only what the cluster has
    lost. `refused`: the latest error came of the cluster and not of the record.
    """

    cdef Handle handle
    cdef uint32_t replicas[DSM_REGIONS_MAX]
    cdef readonly uint64_t objects
    cdef readonly uint64_t value_bytes
    cdef readonly bint refused
    cdef dsm_reload_how how

    def __cinit__(self, Handle handle, replicas, bint anew=False, bint lost=False):
        handle_ready(handle)
        self.handle = handle
        self.how = DSM_RELOAD_SAME
        if anew or lost:
            self.how = DSM_RELOAD_LOST if lost else DSM_RELOAD_ANEW
        for index, count in enumerate(replicas):
            if index >= DSM_REGIONS_MAX:
                raise CorruptError(f"{len(replicas)} regions")
            self.replicas[index] = count

    cdef prepare(self, dsm_reload *reload, uint64_t stripe, object marks):
        cdef unsigned char[::1] view
        handle_ready(self.handle)
        if stripe >= self.handle.space.stripe_count:
            raise CorruptError(f"stripe {stripe} of {self.handle.space.stripe_count}")
        reload.stripe = <uint32_t>stripe
        reload.replicas = self.replicas
        reload.how = self.how
        reload.objects = reload.value_bytes = 0
        reload.marks = NULL
        reload.mark_count = 0
        if marks is not None:
            reload.mark_count = len(marks) // sizeof(dsm_mark)
            if reload.mark_count:
                view = marks
                reload.marks = <const dsm_mark *>&view[0]

    cdef finish(self, dsm_status status, dsm_call *call, dsm_reload *reload):
        self.objects += reload.objects
        self.value_bytes += reload.value_bytes
        self.refused = status != DSM_OK and (status != DSM_CORRUPT or call.fault.node >= 0)
        if status == DSM_CORRUPT and call.fault.node < 0:
            raise CorruptError(fault_text(&call.fault))
        if status != DSM_OK:
            raise fault_error(status, &call.fault, "restore", self.handle.lock_timeout)

    def put(self, uint64_t stripe, payload, marks=None):
        """All records of a verified OBJECTS payload, but those that marks do not name."""
        cdef dsm_call call = dsm_call_make(self.handle.space,
                                           <uint32_t>(self.handle.lock_timeout * 1000))
        cdef dsm_reload reload
        cdef dsm_status status
        cdef Py_buffer buffer
        self.prepare(&reload, stripe, marks)
        if marks is not None and reload.mark_count == 0:
            return
        PyObject_GetBuffer(payload, &buffer, PyBUF_SIMPLE)
        with nogil:
            status = dsm_reload_objects(&call, &reload, <const uint8_t *>buffer.buf,
                                        <uint64_t>buffer.len)
        PyBuffer_Release(&buffer)
        self.finish(status, &call, &reload)

    def put_value(self, uint64_t stripe, head, value, marks=None):
        """One large object; head: a payload that begins with its record and key."""
        cdef dsm_call call = dsm_call_make(self.handle.space,
                                           <uint32_t>(self.handle.lock_timeout * 1000))
        cdef dsm_reload reload
        cdef dsm_status status
        cdef Py_buffer buffer, bytes
        cdef dsm_record record
        cdef const uint8_t *key = NULL
        cdef const uint8_t *rest = NULL
        cdef uint64_t at = 0
        self.prepare(&reload, stripe, marks)
        if marks is not None and reload.mark_count == 0:
            return
        PyObject_GetBuffer(head, &buffer, PyBUF_SIMPLE)
        PyObject_GetBuffer(value, &bytes, PyBUF_SIMPLE)
        try:
            if (not dsm_record_next(<const uint8_t *>buffer.buf, <uint64_t>buffer.len, False, &at,
                                    &record, &key, &rest)
                    or record.value_bytes != <uint64_t>bytes.len):
                raise CorruptError("a large value's record is not that of its parts")
            with nogil:
                status = dsm_reload_object(&call, &reload, &record, key,
                                           <const uint8_t *>bytes.buf)
        finally:
            PyBuffer_Release(&buffer)
            PyBuffer_Release(&bytes)
        self.finish(status, &call, &reload)

    def raise_generations(self, generations):
        """No version that a key ever had will be given to it again."""
        cdef dsm_call call = dsm_call_make(self.handle.space,
                                           <uint32_t>(self.handle.lock_timeout * 1000))
        cdef dsm_status status = DSM_OK
        cdef bytes held = bytes(generations)
        cdef const uint64_t *gens = <const uint64_t *>PyBytes_AS_STRING(held)
        cdef uint32_t stripe, count = self.handle.space.stripe_count
        if len(held) != 8 * <size_t>count:
            raise CorruptError(f"{len(held)} bytes of generations for {count} stripes")
        with nogil:
            for stripe in range(count):
                if gens[stripe] >> 43:
                    status = DSM_CORRUPT
                else:
                    status = dsm_reload_gen(&call, stripe, gens[stripe])
                if status != DSM_OK:
                    break
        if status == DSM_CORRUPT and call.fault.what == NULL:
            raise CorruptError(f"generation {gens[stripe]} of stripe {stripe}")
        if status != DSM_OK:
            raise fault_error(status, &call.fault, "restore", self.handle.lock_timeout)
