from dsm_native._native.core cimport (
    DSM_KEY_TEXT, dsm_key, dsm_key_hash, dsm_part, dsm_space, uint8_t, uint16_t, uint32_t,
    uint64_t,
)

cdef enum:
    CODEC_INT64 = 1
    CODEC_NONE = 2
    CODEC_BOOL = 3
    CODEC_FLOAT = 4
    CODEC_TEXT = 5
    CODEC_BYTES = 6
    CODEC_INTEGER = 7
    CODEC_ARRAY = 8
    CODEC_PICKLE = 9
    CODEC_PICKLE_BUFFERS = 10

# An encoded value: parts that borrow memory from the objects in `keep`, or from `scratch`.
cdef struct Encoded:
    dsm_part parts[2]
    uint8_t codec
    uint64_t length
    unsigned char scratch[8]

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    void *PyUnicode_DATA(object text)

# The commonest key, without an object to keep: true if the key was an ASCII str.
cdef inline bint encode_ascii_key(object key, const dsm_space *space, uint16_t region,
                                  dsm_key *out) noexcept:
    if not PyUnicode_CheckExact(key) or not PyUnicode_IS_COMPACT_ASCII(key):
        return False
    out.bytes = PyUnicode_DATA(key)
    out.length = <uint32_t>PyUnicode_GET_LENGTH(key)
    out.kind = DSM_KEY_TEXT
    out.region = region
    out.hash = dsm_key_hash(space, out.bytes, out.length, DSM_KEY_TEXT, region)
    return True

# Encodes the key; what it returns must be kept alive as long as the key is used.
cdef object encode_key(object key, unsigned char *scratch, const dsm_space *space,
                       uint16_t region, dsm_key *out)
cdef object decode_key(uint8_t kind, const unsigned char *text, uint64_t length)

# Encodes values without an own object (numbers, text, bytes); returns what must be kept alive, or
# NotImplemented if encode_object is needed.
cdef object encode_plain(object value, Encoded *out)
# Anything else: the encoded bytes as a list of buffers, and the codec.
cdef tuple encode_object(object value, bint allow_pickle)

# Decodes what fits into `scratch`-sized values and text; NotImplemented if decode_object is needed.
cdef object decode_plain(uint8_t codec, const unsigned char *text, uint64_t length)
# Decodes from a writable buffer that nobody else refers to.
cdef object decode_object(uint8_t codec, object buffer)
# A read-only object on a buffer that stays as it is: memoryview, or ndarray.
cdef object decode_view(uint8_t codec, object buffer)
