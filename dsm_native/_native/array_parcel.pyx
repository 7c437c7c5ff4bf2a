# Arrays of numbers as arguments and results, without pickle: their bytes are stored as one object,
# and a description of a few words travels in the record.
#
# Pickling an array costs more than the hand-over of a small task, so the arrays that stand alone or
# as positional arguments of a call take this way. All others (nested, of records, of objects, not
# contiguous) are pickled with their buffers left out, as every other object is (parcels.py).
from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_ND, PyBUF_STRIDES, PyBuffer_IsContiguous, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from dsm_native._native.codec cimport CODEC_BYTES
from dsm_native._native.core cimport dsm_part, dsm_value, uint8_t, uint16_t, uint32_t, uint64_t
from dsm_native._native.handle cimport Handle
from dsm_native._native.parcel cimport put
from libc.string cimport memcpy

import sys

from dsm_native.exceptions import CorruptError

cdef object ndarray = None   # numpy's, once anybody has imported it
cdef dict dtypes = {}        # the types that one letter tells in full, by that letter
cdef enum:
    ARRAYS_MAX = 8

# The description: Head, key, per array a Shape and the lengths of its sides, the rest of the call.
cdef struct Head:
    uint16_t key_bytes  # first, as in every parcel's description
    uint16_t arrays
    uint32_t rest_bytes

cdef struct Shape:
    uint64_t bytes
    uint32_t letter
    uint16_t position   # among the arguments
    uint8_t dimensions
    uint8_t is_fortran

cdef unsigned char zeros[64]
ARRAYS_HEAD_BYTES = sizeof(Head)


cdef int load_numpy() except -1:
    global ndarray
    if ndarray is None:
        import numpy
        for letter in "?bBhHiIlLqQefdgFDG":
            dtypes[ord(letter)] = numpy.dtype(letter)
        ndarray = numpy.ndarray
    return 0


cdef class Arrays:
    """Those of some values that need no pickle, held until they are stored."""

    cdef Py_buffer views[ARRAYS_MAX]
    cdef Shape shapes[ARRAYS_MAX]
    cdef int count

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])

    cdef bint admit(self, object value, Py_ssize_t position, uint64_t above) except -1:
        cdef Py_buffer *view = &self.views[self.count]
        cdef Shape *shape = &self.shapes[self.count]
        if type(value) is not ndarray or self.count == ARRAYS_MAX or position > 0xFFFF:
            return False
        dtype = value.dtype
        shape.letter = ord(dtype.char)
        known = dtypes.get(shape.letter)
        if dtype is not known and (dtype != known or dtype.metadata is not None):
            return False  # of another byte order, of records, or with something to say besides
        try:
            PyObject_GetBuffer(value, view, PyBUF_ND | PyBUF_STRIDES | PyBUF_ANY_CONTIGUOUS)
        except (BufferError, ValueError):
            return False
        self.count += 1
        if <uint64_t>view.len <= above:
            self.count -= 1
            PyBuffer_Release(view)
            return False
        shape.bytes = <uint64_t>view.len
        shape.position = <uint16_t>position
        shape.dimensions = <uint8_t>view.ndim
        shape.is_fortran = not PyBuffer_IsContiguous(view, c"C")
        return True

    def without(self, tuple values):
        """The values with None in place of the arrays."""
        cdef list left = list(values)
        cdef int i
        for i in range(self.count):
            left[self.shapes[i].position] = None
        return tuple(left)

    def store(self, Handle handle, uint16_t region, bytes key, bytes rest):
        """Stores the arrays as one object; returns the description, which ends with `rest`."""
        cdef dsm_part parts[2 * ARRAYS_MAX]
        cdef dsm_value value
        cdef int i
        value.parts = parts
        value.part_count = <uint32_t>(2 * self.count)
        value.codec = CODEC_BYTES
        value.length = 0
        for i in range(self.count):
            parts[2 * i].bytes = self.views[i].buf
            parts[2 * i].length = self.shapes[i].bytes
            parts[2 * i + 1].bytes = zeros
            parts[2 * i + 1].length = padding(self.shapes[i].bytes)
            value.length += parts[2 * i].length + parts[2 * i + 1].length
        put(handle, region, key, &value)
        return self.description(key, rest)

    cdef bytes description(self, bytes key, bytes rest):
        cdef Head head
        cdef Py_ssize_t sides, length = sizeof(Head)
        cdef int i
        cdef char *at
        head.key_bytes = <uint16_t>PyBytes_GET_SIZE(key)
        head.arrays = <uint16_t>self.count
        head.rest_bytes = <uint32_t>PyBytes_GET_SIZE(rest)
        length += head.key_bytes + head.rest_bytes
        for i in range(self.count):
            length += sizeof(Shape) + self.shapes[i].dimensions * sizeof(Py_ssize_t)
        described = PyBytes_FromStringAndSize(NULL, length)
        at = PyBytes_AS_STRING(described)
        memcpy(at, &head, sizeof(Head))
        memcpy(at + sizeof(Head), PyBytes_AS_STRING(key), head.key_bytes)
        at += sizeof(Head) + head.key_bytes
        for i in range(self.count):
            sides = self.shapes[i].dimensions * sizeof(Py_ssize_t)
            memcpy(at, &self.shapes[i], sizeof(Shape))
            memcpy(at + sizeof(Shape), self.views[i].shape, sides)
            at += sizeof(Shape) + sides
        memcpy(at, PyBytes_AS_STRING(rest), head.rest_bytes)
        return described


cdef uint64_t padding(uint64_t length) noexcept:
    return (64 - length % 64) % 64


def arrays_among(tuple values, uint64_t above):
    """The arrays of more than `above` bytes that need no pickle, as Arrays, or None.

    None also if one of them stands there twice: it would arrive as two.
    """
    cdef Arrays found = None
    cdef Py_ssize_t i
    cdef int j
    if ndarray is None:
        if "numpy" not in sys.modules:
            return None
        load_numpy()
    for i in range(len(values)):
        value = values[i]
        if type(value) is not ndarray:
            continue
        if found is None:
            found = Arrays.__new__(Arrays)
        if found.admit(value, i, above):
            for j in range(found.count - 1):
                if values[found.shapes[j].position] is value:
                    return None
    return found if found is not None and found.count else None


cdef const char *part_of(bytes described, Py_ssize_t *at, Py_ssize_t length) except NULL:
    cdef const char *part = PyBytes_AS_STRING(described) + at[0]
    at[0] += length
    if at[0] > PyBytes_GET_SIZE(described):
        raise CorruptError(f"{PyBytes_GET_SIZE(described)} bytes do not describe an array")
    return part


def arrays_again(bytes described, stored):
    """([(position, array), …], rest) of a description. The arrays are views of `stored`."""
    cdef Head head
    cdef Shape shape
    cdef Py_ssize_t at = 0, start = 0, length
    cdef int _i, _side
    cdef list found = []
    load_numpy()
    memcpy(&head, part_of(described, &at, sizeof(Head)), sizeof(Head))
    at += head.key_bytes
    for _i in range(head.arrays):
        memcpy(&shape, part_of(described, &at, sizeof(Shape)), sizeof(Shape))
        lengths = []
        for _side in range(shape.dimensions):
            memcpy(&length, part_of(described, &at, sizeof(Py_ssize_t)), sizeof(Py_ssize_t))
            lengths.append(length)
        found.append((shape.position, ndarray(tuple(lengths), dtypes[shape.letter], stored, start,
                                              None, "F" if shape.is_fortran else "C")))
        start += shape.bytes + padding(shape.bytes)
    rest = part_of(described, &at, head.rest_bytes)
    return found, rest[:head.rest_bytes]
