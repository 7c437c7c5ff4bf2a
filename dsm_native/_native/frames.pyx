# Frames of checkpoint files: made in a private buffer, verified when they come back.
#
# Bytes that come from a file are verified frame by frame before anything in them is believed.
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_OK, dsm_os_random_u64, dsm_status, uint32_t, uint64_t, uint8_t,
)
from libc.stdlib cimport free
from libc.string cimport memcpy

from dsm_native.exceptions import CorruptError


cdef extern from "base/hash.h" nogil:
    uint64_t dsm_hash64(const void *bytes, size_t length, uint64_t seed) noexcept


cdef extern from "store/reload.h" nogil:
    void dsm_marks_sort(dsm_mark *marks, uint64_t count) noexcept


cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size) noexcept

cdef enum:
    BLOCK_BYTES = 4096  # a multiple of what disks are written by

DISK_BLOCK_BYTES = BLOCK_BYTES
FRAME_HEAD_BYTES = sizeof(dsm_frame)
FRAME_PAYLOAD_MAX = DSM_FRAME_BYTES_MAX
MARK_BYTES = sizeof(dsm_mark)


def hash64(data, uint64_t seed=0):
    """The package's hash of bytes."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    cdef uint64_t result = dsm_hash64(buffer.buf, <size_t>buffer.len, seed)
    PyBuffer_Release(&buffer)
    return result


def random_number():
    """64 random bits, not all zero."""
    return dsm_os_random_u64() | 1


def frame_room(uint64_t payload):
    """Bytes that a frame with so much payload takes in a file."""
    return dsm_frame_room(payload)


cdef class FrameBuffer:
    """Whole frames, in page-aligned private memory. A buffer of what has been filled."""

    def __cinit__(self, uint64_t capacity, uint64_t file):
        cdef void *memory = NULL
        if posix_memalign(&memory, DISK_BLOCK_BYTES, capacity):
            raise MemoryError
        self.frames.bytes = <uint8_t *>memory
        self.frames.capacity = capacity
        self.frames.file = file

    def __dealloc__(self):
        free(self.frames.bytes)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.frames.bytes, <Py_ssize_t>self.frames.used, 1, flags)

    def __len__(self):
        return self.frames.used

    def reset(self, uint64_t written):
        """Empties it; its first frame will stand at that offset of the file."""
        self.frames.used = 0
        self.frames.written = written

    def follow(self, FrameBuffer before):
        """Empties it and goes on where `before` ends, which keeps whole blocks only: what it has
        beyond them is moved here."""
        cdef uint64_t rest = before.frames.used % BLOCK_BYTES
        before.frames.used -= rest
        memcpy(self.frames.bytes, before.frames.bytes + before.frames.used, rest)
        self.frames.written = before.frames.written + before.frames.used
        self.frames.used = rest

    @property
    def end(self):
        """Offset in the file behind the last frame."""
        return self.frames.written + self.frames.used

    def add(self, uint32_t kind, payload, uint64_t subject=0, uint64_t first=0, uint64_t second=0):
        """Appends a frame; False if there is no room."""
        cdef Py_buffer buffer
        cdef dsm_frame head
        cdef uint8_t *target
        PyObject_GetBuffer(payload, &buffer, PyBUF_SIMPLE)
        try:
            target = dsm_frame_payload(&self.frames, <uint64_t>buffer.len)
            if target == NULL:
                return False
            head.kind = kind
            head.bytes = <uint32_t>buffer.len
            head.subject = subject
            head.detail[0] = first
            head.detail[1] = second
            with nogil:
                memcpy(target, buffer.buf, <size_t>buffer.len)
                dsm_frame_seal(&self.frames, &head)
        finally:
            PyBuffer_Release(&buffer)
        return True


def frame_head(data, uint64_t offset, uint64_t file):
    """(kind, payload bytes, subject, first, second, file) of a frame's 64 bytes, or None."""
    cdef Py_buffer buffer
    cdef dsm_frame head
    cdef dsm_status status = DSM_CORRUPT
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    if buffer.len >= <Py_ssize_t>sizeof(dsm_frame):
        status = dsm_frame_head(buffer.buf, offset, file, &head)
    PyBuffer_Release(&buffer)
    if status != DSM_OK:
        return None
    return head.kind, head.bytes, head.subject, head.detail[0], head.detail[1], head.file


def frame_holds(data):
    """Whether a whole frame, header and padded payload, is as it was sealed."""
    cdef Py_buffer buffer
    cdef dsm_frame head
    cdef bint good = False
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    if buffer.len >= <Py_ssize_t>sizeof(dsm_frame):
        memcpy(&head, buffer.buf, sizeof(head))
        if head.bytes <= DSM_FRAME_BYTES_MAX and <uint64_t>buffer.len == dsm_frame_room(head.bytes):
            # Some microseconds: to hand the GIL over would take longer beside a busy thread.
            good = dsm_frame_holds(buffer.buf, &head)
    PyBuffer_Release(&buffer)
    return good


def sorted_marks(parts):
    """Payloads of LIVE frames as one sorted table."""
    joined = bytearray().join(parts)
    cdef unsigned char[::1] view
    if len(joined) % sizeof(dsm_mark):
        return None
    if joined:
        view = joined
        dsm_marks_sort(<dsm_mark *>&view[0], len(joined) // sizeof(dsm_mark))
    return joined


def record_at(const unsigned char[::1] payload, uint64_t at, bint whole):
    """(next, version, region, kind, codec, key, value offset, value bytes) or None at the end.

    CorruptError if there is no whole record. Of a VALUE frame (not whole) the value may be cut.
    """
    cdef dsm_record record
    cdef const uint8_t *key = NULL
    cdef const uint8_t *value = NULL
    cdef uint64_t size = payload.shape[0]
    if at >= size:
        return None
    if not dsm_record_next(&payload[0], size, whole, &at, &record, &key, &value):
        raise CorruptError(f"a record is cut in a payload of {size} bytes")
    return (at, record.version, record.region, record.key_kind, record.codec,
            (<const char *>key)[:record.key_bytes], value - &payload[0], record.value_bytes)
