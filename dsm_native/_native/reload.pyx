# Putting back into a cluster what a checkpoint holds: whole payloads, without the GIL.
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_OK, DSM_REGIONS_MAX, dsm_call, dsm_call_make, dsm_key_hash, dsm_key_stripe,
    dsm_status, uint8_t, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error, fault_text
from dsm_native._native.frames cimport dsm_mark, dsm_record, dsm_record_next
from dsm_native._native.handle cimport Handle, handle_ready

from dsm_native.exceptions import CorruptError


cdef extern from "store/reload.h" nogil:
    ctypedef struct dsm_reload:
        uint32_t stripe
        const uint32_t *replicas
        const dsm_mark *marks
        uint64_t mark_count
        uint64_t objects
    dsm_status dsm_reload_objects(dsm_call *call, dsm_reload *reload, const uint8_t *payload,
                                  uint64_t bytes) noexcept
    dsm_status dsm_reload_object(dsm_call *call, dsm_reload *reload, const dsm_record *record,
                                 const uint8_t *key, const uint8_t *value) noexcept
    dsm_status dsm_reload_gen(dsm_call *call, uint32_t stripe, uint64_t gen) noexcept


cdef class Reloader:
    """Puts records back into a cluster. replicas: of each region, by index; 0: no such region."""

    cdef Handle handle
    cdef uint32_t replicas[DSM_REGIONS_MAX]
    cdef readonly uint64_t objects

    def __cinit__(self, Handle handle, replicas):
        handle_ready(handle)
        self.handle = handle
        for index, count in enumerate(replicas):
            if index >= DSM_REGIONS_MAX:
                raise CorruptError(f"{len(replicas)} regions")
            self.replicas[index] = count

    def stripe_of(self, const unsigned char[::1] key, uint8_t kind, uint16_t region):
        """(stripe, hash) of an encoded key."""
        cdef const unsigned char *data = &key[0] if key.shape[0] else NULL
        cdef uint64_t hash = dsm_key_hash(self.handle.space, data, <uint32_t>key.shape[0], kind,
                                          region)
        return dsm_key_stripe(self.handle.space, hash), hash

    cdef prepare(self, dsm_reload *reload, uint64_t stripe, object marks):
        cdef unsigned char[::1] view
        handle_ready(self.handle)
        if stripe >= self.handle.space.stripe_count:
            raise CorruptError(f"stripe {stripe} of {self.handle.space.stripe_count}")
        reload.stripe = <uint32_t>stripe
        reload.replicas = self.replicas
        reload.objects = 0
        reload.marks = NULL
        reload.mark_count = 0
        if marks is not None:
            reload.mark_count = len(marks) // sizeof(dsm_mark)
            if reload.mark_count:
                view = marks
                reload.marks = <const dsm_mark *>&view[0]

    cdef finish(self, dsm_status status, dsm_call *call, dsm_reload *reload):
        self.objects += reload.objects
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
