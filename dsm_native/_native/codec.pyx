# Keys and values as bytes. The tags below are part of the segment format (docs/segment-format.md).
#
# Keys: str as UTF-8, bytes, int as two's complement little-endian, tuples as (tag, length, bytes)
# of their items; the kind is hashed with the bytes, so 1, "1" and b"1" are three keys.
# Values: exact built-in types and numpy arrays have codecs without pickle; all else is pickle 5
# with out-of-band buffers laid out 64-byte aligned behind the pickle.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_FromLongLong
from cpython.unicode cimport PyUnicode_DecodeUTF8
from dsm_native._native.core cimport (
    DSM_KEY_BYTES, DSM_KEY_INTEGER, DSM_KEY_TEXT, DSM_KEY_TUPLE, dsm_key, dsm_key_hash,
    dsm_space, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.string cimport memcpy

import ast
import pickle
import struct
import sys

from dsm_native.exceptions import CorruptError, KeyTypeError, ValueTypeError

cdef object numpy = None  # imported when the first array is met: it costs a tenth of a second
cdef dict dtypes = {}     # description -> dtype
cdef dict heads = {}      # first 64 bytes of an array -> what they say
cdef int64_t ALIGNMENT = 64


cdef int load_numpy() except -1:
    global numpy
    if numpy is None:
        import numpy as module
        numpy = module
    return 0


# ---- keys -------------------------------------------------------------------------------------

cdef bytes integer_bytes(object value):
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


cdef object text_bytes(object text):
    return text.encode("utf-8", "surrogatepass")


cdef bytes tuple_bytes(object key):
    parts = []
    for item in key:
        kind = type(item)
        if kind is str:
            tag, data = DSM_KEY_TEXT, text_bytes(item)
        elif kind is bytes:
            tag, data = DSM_KEY_BYTES, item
        elif kind is int:
            tag, data = DSM_KEY_INTEGER, integer_bytes(item)
        elif kind is tuple:
            tag, data = DSM_KEY_TUPLE, tuple_bytes(item)
        else:
            raise key_error(item)
        parts.append(struct.pack("<BI", tag, len(data)))
        parts.append(data)
    return b"".join(parts)


cdef object key_error(object key):
    return KeyTypeError(
        f"a key must be exactly a str, bytes, int or a tuple of these, not "
        f"{type(key).__module__}.{type(key).__qualname__}; convert it first, for example with "
        f"str() or int()")


cdef object encode_key(object key, unsigned char *scratch, const dsm_space *space,
                       uint16_t region, dsm_key *out):
    cdef object keep = None
    cdef Py_ssize_t length
    cdef int overflow = 0
    cdef int64_t number
    kind = type(key)
    if kind is str:
        out.kind = DSM_KEY_TEXT
        if PyUnicode_IS_COMPACT_ASCII(key):
            out.bytes = PyUnicode_DATA(key)
            length = PyUnicode_GET_LENGTH(key)
        else:
            keep = text_bytes(key)
            out.bytes = PyBytes_AS_STRING(keep)
            length = PyBytes_GET_SIZE(keep)
    elif kind is bytes:
        out.kind = DSM_KEY_BYTES
        out.bytes = PyBytes_AS_STRING(key)
        length = PyBytes_GET_SIZE(key)
    elif kind is int:
        out.kind = DSM_KEY_INTEGER
        number = PyLong_AsLongLongAndOverflow(key, &overflow)
        if overflow:
            keep = integer_bytes(key)
            out.bytes = PyBytes_AS_STRING(keep)
            length = PyBytes_GET_SIZE(keep)
        else:
            memcpy(scratch, &number, 8)
            out.bytes = scratch
            length = 8
    elif kind is tuple:
        out.kind = DSM_KEY_TUPLE
        keep = tuple_bytes(key)
        out.bytes = PyBytes_AS_STRING(keep)
        length = PyBytes_GET_SIZE(keep)
    else:
        raise key_error(key)
    out.length = <uint32_t>length if length < 0xFFFFFFFF else <uint32_t>0xFFFFFFFF
    out.region = region
    out.hash = dsm_key_hash(space, out.bytes, out.length, out.kind, region)
    return keep


cdef tuple decode_tuple(bytes data):
    cdef Py_ssize_t at = 0
    items = []
    while at < len(data):
        tag, length = struct.unpack_from("<BI", data, at)
        part = data[at + 5:at + 5 + length]
        items.append(decode_key(tag, part, length))
        at += 5 + length
    return tuple(items)


cdef object decode_key(uint8_t kind, const unsigned char *text, uint64_t length):
    data = PyBytes_FromStringAndSize(<const char *>text, <Py_ssize_t>length)
    if kind == DSM_KEY_TEXT:
        return data.decode("utf-8", "surrogatepass")
    if kind == DSM_KEY_BYTES:
        return data
    if kind == DSM_KEY_INTEGER:
        return int.from_bytes(data, "little", signed=True)
    if kind == DSM_KEY_TUPLE:
        return decode_tuple(data)
    raise CorruptError(f"key of unknown kind {kind}")


# ---- values -----------------------------------------------------------------------------------

cdef object encode_plain(object value, Encoded *out):
    cdef object keep = value
    cdef Py_ssize_t length
    cdef int overflow = 0
    cdef int64_t number
    cdef double real
    kind = type(value)
    if kind is bytes:
        out.codec = CODEC_BYTES
        out.parts[0].bytes = PyBytes_AS_STRING(value)
        length = PyBytes_GET_SIZE(value)
    elif kind is str:
        out.codec = CODEC_TEXT
        if PyUnicode_IS_COMPACT_ASCII(value):
            out.parts[0].bytes = PyUnicode_DATA(value)
            length = PyUnicode_GET_LENGTH(value)
        else:
            keep = text_bytes(value)
            out.parts[0].bytes = PyBytes_AS_STRING(keep)
            length = PyBytes_GET_SIZE(keep)
    elif kind is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            out.codec = CODEC_INTEGER
            keep = integer_bytes(value)
            out.parts[0].bytes = PyBytes_AS_STRING(keep)
            length = PyBytes_GET_SIZE(keep)
        else:
            out.codec = CODEC_INT64
            memcpy(out.scratch, &number, 8)
            out.parts[0].bytes = out.scratch
            length = 8
    elif kind is float:
        out.codec = CODEC_FLOAT
        real = PyFloat_AS_DOUBLE(value)
        memcpy(out.scratch, &real, 8)
        out.parts[0].bytes = out.scratch
        length = 8
    elif value is None:
        out.codec = CODEC_NONE
        out.parts[0].bytes = out.scratch
        length = 0
    elif kind is bool:
        out.codec = CODEC_BOOL
        out.scratch[0] = value is True
        out.parts[0].bytes = out.scratch
        length = 1
    else:
        return NotImplemented
    out.length = out.parts[0].length = <uint64_t>length
    return keep


cdef bytes dtype_text(object dtype):
    from numpy.lib.format import dtype_to_descr
    return repr(dtype_to_descr(dtype)).encode()


cdef object dtype_of(bytes text):
    found = dtypes.get(text)
    if found is None:
        from numpy.lib.format import descr_to_dtype
        found = descr_to_dtype(ast.literal_eval(text.decode()))
        if len(dtypes) < 1000:
            dtypes[text] = found
    return found


cdef tuple encode_array(object array):
    fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    text = dtype_text(array.dtype)
    head = struct.pack(f"<BBH{array.ndim}q", array.ndim, fortran, len(text), *array.shape) + text
    head += bytes(-len(head) % ALIGNMENT)
    laid = array.T if fortran else numpy.ascontiguousarray(array)
    return [head, laid.reshape(-1).view("u1") if laid.size else b""], CODEC_ARRAY


cdef tuple encode_object(object value, bint allow_pickle):
    if type(value).__module__ == "numpy" and "numpy" in sys.modules:
        load_numpy()
        # A dtype of records is told from a plain one by its type alone, which no description keeps.
        if (type(value) is numpy.ndarray and not value.dtype.hasobject
                and value.dtype.type is not numpy.record):
            return encode_array(value)
    if not allow_pickle:
        raise ValueTypeError(
            f"values of type {type(value).__module__}.{type(value).__qualname__} need pickle, "
            f"which this region refuses (allow_pickle=False); store None, bool, int, float, str, "
            f"bytes or a numpy array without objects")
    buffers = []
    pickled = pickle.dumps(value, 5, buffer_callback=buffers.append)
    if not buffers:
        return [pickled], CODEC_PICKLE
    raws = [buffer.raw() for buffer in buffers]
    head = struct.pack(f"<{len(raws) + 2}q", len(raws), len(pickled), *(raw.nbytes for raw in raws))
    parts = [head, pickled, bytes(-(len(head) + len(pickled)) % ALIGNMENT)]
    for raw in raws:
        parts += [raw, bytes(-raw.nbytes % ALIGNMENT)]
    return parts, CODEC_PICKLE_BUFFERS


cdef object decode_plain(uint8_t codec, const unsigned char *text, uint64_t length):
    cdef int64_t number
    cdef double real
    if codec == CODEC_BYTES:
        return PyBytes_FromStringAndSize(<const char *>text, <Py_ssize_t>length)
    if codec == CODEC_TEXT:
        return PyUnicode_DecodeUTF8(<const char *>text, <Py_ssize_t>length, "surrogatepass")
    if codec == CODEC_INT64 and length == 8:
        memcpy(&number, text, 8)
        return PyLong_FromLongLong(number)
    if codec == CODEC_FLOAT and length == 8:
        memcpy(&real, text, 8)
        return real
    if codec == CODEC_NONE:
        return None
    if codec == CODEC_BOOL and length == 1:
        return text[0] != 0
    if codec == CODEC_INTEGER:
        return int.from_bytes(text[:length], "little", signed=True)
    return NotImplemented


cdef tuple array_head(const unsigned char *text, uint64_t length):
    # (shape, dtype, offset of the data, None, order): the arguments of numpy.ndarray
    cdef uint64_t ndim = text[0], described = text[2] | text[3] << 8
    cdef uint64_t start = 4 + 8 * ndim, end = start + described
    if length < 4 or end > length:
        raise CorruptError(f"array of {length} bytes cannot hold its head of {end} bytes")
    shape = struct.unpack(f"<{ndim}q", text[4:start])
    dtype = dtype_of(text[start:end])
    return shape, dtype, end + -end % ALIGNMENT, "F" if text[1] else "C"


cdef object decode_array(object buffer):
    cdef const unsigned char[::1] window = buffer
    cdef uint64_t length = <uint64_t>window.shape[0]
    cdef bytes key = (<const char *>&window[0])[:min(length, <uint64_t>ALIGNMENT)]
    load_numpy()
    # Most heads fit 64 bytes, and arrays of a kind share them: what they say is kept.
    known = heads.get(key)
    if known is None:
        known = array_head(&window[0], length)
        if known[2] == <uint64_t>ALIGNMENT and len(heads) < 1000:
            heads[key] = known
    return numpy.ndarray(known[0], known[1], buffer, known[2], None, known[3])


cdef object decode_object(uint8_t codec, object buffer):
    if codec == CODEC_ARRAY:
        return decode_array(buffer)
    if codec == CODEC_PICKLE:
        return pickle.loads(buffer)
    if codec != CODEC_PICKLE_BUFFERS:
        raise CorruptError(f"value of unknown codec {codec}")
    view = memoryview(buffer)
    count, pickled = struct.unpack_from("<2q", view)
    lengths = struct.unpack_from(f"<{count}q", view, 16)
    start = 16 + 8 * count
    at = start + pickled + -(start + pickled) % ALIGNMENT
    buffers = []
    for length in lengths:
        buffers.append(view[at:at + length])
        at += length + -length % ALIGNMENT
    return pickle.loads(view[start:start + pickled], buffers=buffers)


cdef object decode_view(uint8_t codec, object buffer):
    if codec == CODEC_BYTES:
        return memoryview(buffer)
    if codec == CODEC_ARRAY:
        return decode_array(buffer)
    raise ValueTypeError(
        "view() shows bytes and numpy arrays where they lie; this value is of another type, "
        "use get()")


def key_round_trip(key):
    """Encodes and decodes a key; for tests of the format."""
    cdef unsigned char scratch[8]
    cdef dsm_key out
    cdef dsm_space space
    space.hash_seed = 0
    keep = encode_key(key, scratch, &space, 0, &out)
    return decode_key(out.kind, <const unsigned char *>out.bytes, out.length), keep is None
