# What the protocol faces believe of their arguments. Part of raft.pyx, paxos.pyx, two_phase.pyx.
# A wrong type is a TypeError; what is out of range a UsageError that names the value and the range.

from dsm_native.exceptions import UsageError

cdef extern from "Python.h":
    object PyNumber_Index(object number)  # a float is no integer, whatever it could be cut to
    unsigned long long PyLong_AsUnsignedLongLong(object number) except? 0xFFFFFFFFFFFFFFFF

cdef enum:
    U64_MAX = 0xFFFFFFFFFFFFFFFF
    U32_MAX = 0xFFFFFFFF
    NOW_MAX = 0x7FFFFFFFFFFFFFFF  # so that no time-out added to it overflows
    TIMEOUT_MAX = 0x100000000000000  # 2,000 years of microseconds; doubles six times in a back-off


cdef uint64_t number(object value, str what, uint64_t most) except? U64_MAX:
    """An integer from 0 to `most`."""
    cdef uint64_t got
    try:
        got = PyLong_AsUnsignedLongLong(value if type(value) is int else PyNumber_Index(value))
    except OverflowError:
        raise UsageError(f"{what} is 0 to {most}, but is {value}") from None
    if got > most:
        raise UsageError(f"{what} is 0 to {most}, but is {value}")
    return got


cdef uint64_t now_of(object value) except? U64_MAX:
    return number(value, "now", NOW_MAX)


cdef int named(tuple names, object name, str what) except -1:
    """Where the name is in the list of those that exist."""
    if type(name) is not str:
        raise TypeError(f"{what} is a str, not {type(name).__name__}")
    for i, known in enumerate(names):
        if name == known:
            return i
    raise UsageError(f"{what} is one of {', '.join(filter(None, names))}, but is {name!r}")


cdef tuple parts(object value, int count, str what):
    """A sequence of that many parts."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{what} is a tuple, not {type(value).__name__}")
    if len(value) != count:
        raise UsageError(f"{what} has {count} parts, not {len(value)}")
    return tuple(value)


cdef int of_type(object value, object wanted, str what) except -1:
    if not isinstance(value, wanted):
        raise TypeError(f"{what} is a {wanted.__name__}, not {type(value).__name__}")
    return 0
