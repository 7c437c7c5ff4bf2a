# Numbers in shared memory that change by one atomic operation: counters, arrays of atomics.
#
# An element's bytes are the user's own 32 or 64 bits: they carry no check. Operations and orders
# are C11's; an order that an operation does not admit is refused before anything is done.
from dsm_native._native.core cimport (
    DSM_OK, dsm_call, dsm_call_make, dsm_status, cbool, int64_t, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.sync cimport (
    DSM_SYNC_ATOMIC, DSM_SYNC_COUNTER, SyncCore, dsm_sync_counter_add, dsm_sync_counter_exchange,
    dsm_sync_counter_read,
)
from libc.string cimport memcpy

import operator

from dsm_native.exceptions import UsageError

cdef extern from "base/atomic_ordered.h" nogil:
    ctypedef uint32_t dsm_atomic_u32
    ctypedef uint64_t dsm_atomic_u64
    ctypedef enum dsm_order:
        DSM_ORDER_RELAXED
        DSM_ORDER_ACQUIRE
        DSM_ORDER_RELEASE
        DSM_ORDER_ACQ_REL
        DSM_ORDER_SEQ_CST
    cbool dsm_order_loads(dsm_order order) noexcept
    cbool dsm_order_stores(dsm_order order) noexcept
    uint64_t dsm_load_u64(const dsm_atomic_u64 *word, dsm_order order) noexcept
    uint32_t dsm_load_u32(const dsm_atomic_u32 *word, dsm_order order) noexcept
    void dsm_store_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    void dsm_store_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    uint64_t dsm_exchange_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    uint32_t dsm_exchange_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    uint64_t dsm_fetch_add_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    uint32_t dsm_fetch_add_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    uint64_t dsm_fetch_sub_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    uint32_t dsm_fetch_sub_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    uint64_t dsm_fetch_and_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    uint32_t dsm_fetch_and_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    uint64_t dsm_fetch_or_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    uint32_t dsm_fetch_or_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    uint64_t dsm_fetch_xor_u64(dsm_atomic_u64 *word, uint64_t value, dsm_order order) noexcept
    uint32_t dsm_fetch_xor_u32(dsm_atomic_u32 *word, uint32_t value, dsm_order order) noexcept
    cbool dsm_cas_u64(dsm_atomic_u64 *word, uint64_t *expected, uint64_t desired,
                      dsm_order success, dsm_order failure) noexcept
    cbool dsm_cas_u32(dsm_atomic_u32 *word, uint32_t *expected, uint32_t desired,
                      dsm_order success, dsm_order failure) noexcept

cdef enum:
    ADD = 0
    SUB = 1
    AND = 2
    OR = 3
    XOR = 4
    EXCHANGE = 5

ORDERS = ("relaxed", "acquire", "release", "acq_rel", "seq_cst")
DTYPES = ("int32", "int64", "uint32", "uint64", "float32", "float64")
NDIM_MAX = 4

cdef dict order_numbers = {name: number for number, name in enumerate(ORDERS)}
cdef enum:
    FLOATS = 4  # types from this number on


cdef class CounterCore(SyncCore):
    """A signed 64-bit number."""

    def __init__(self, Handle handle, str name):
        self.open(handle, DSM_SYNC_COUNTER, name, (), 0)

    def add(self, difference=1):
        """Adds, atomically; returns the new value. Never blocks.

        CounterOverflowError beyond 64 signed bits: the counter was left unchanged.
        """
        cdef int64_t result = 0
        if not isinstance(difference, int) or not -(1 << 63) <= difference < 1 << 63:
            raise UsageError(f"{difference!r} is no int that fits a signed 64-bit counter")
        handle_ready(self.handle)
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_status status = dsm_sync_counter_add(&call, &self.sync, difference, &result)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, self.name, 0)
        return result

    def get(self):
        """Its value."""
        handle_ready(self.handle)
        return dsm_sync_counter_read(&self.sync)

    def reset(self, value=0):
        """Sets it, atomically; returns what it was."""
        if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
            raise UsageError(f"{value!r} is no int that fits a signed 64-bit counter")
        handle_ready(self.handle)
        return dsm_sync_counter_exchange(&self.sync, value)


cdef uint64_t change(void *at, bint wide, int kind, uint64_t value, dsm_order order) noexcept nogil:
    cdef dsm_atomic_u64 *long_word = <dsm_atomic_u64 *>at
    cdef dsm_atomic_u32 *word = <dsm_atomic_u32 *>at
    cdef uint32_t small = <uint32_t>value
    if kind == ADD:
        return (dsm_fetch_add_u64(long_word, value, order) if wide
                else dsm_fetch_add_u32(word, small, order))
    if kind == SUB:
        return (dsm_fetch_sub_u64(long_word, value, order) if wide
                else dsm_fetch_sub_u32(word, small, order))
    if kind == AND:
        return (dsm_fetch_and_u64(long_word, value, order) if wide
                else dsm_fetch_and_u32(word, small, order))
    if kind == OR:
        return (dsm_fetch_or_u64(long_word, value, order) if wide
                else dsm_fetch_or_u32(word, small, order))
    if kind == XOR:
        return (dsm_fetch_xor_u64(long_word, value, order) if wide
                else dsm_fetch_xor_u32(word, small, order))
    return (dsm_exchange_u64(long_word, value, order) if wide
            else dsm_exchange_u32(word, small, order))


cdef class AtomicCore(SyncCore):
    """An array of atomic numbers, all zero at first.

    Each operation is C11's of that name, on one element, under the memory order given: "relaxed",
    "acquire", "release", "acq_rel" or "seq_cst" (the default); an order that the operation does not
    admit raises UsageError, a ValueError. No operation blocks, and a killed process has done its
    operation or not. Integers wrap around, as in C. `index` is an int or a tuple of ints.
    """

    cdef int dtype_number
    cdef bint wide
    cdef readonly tuple shape

    def __init__(self, Handle handle, str name, int dtype, tuple shape):
        cdef uint64_t count = 1, bytes_each = 8 if dtype in (1, 3, 5) else 4
        for length in shape:
            count *= length
        self.open(handle, DSM_SYNC_ATOMIC, name, (dtype, len(shape), *shape), count * bytes_each)
        self.dtype_number = <int>self.sync.settings[0]
        self.wide = self.dtype_number in (1, 3, 5)
        self.shape = tuple([self.sync.settings[2 + i] for i in range(self.sync.settings[1])])

    @property
    def dtype(self):
        """Name of the numbers' type."""
        return DTYPES[self.dtype_number]

    cdef void *at(self, object index) except NULL:
        cdef uint64_t flat = 0
        cdef object number
        handle_ready(self.handle)
        if not isinstance(index, tuple):
            index = (index,)
        if len(index) != len(self.shape):
            raise UsageError(f"atomic {self.name!r} has shape {self.shape}, so not index {index}")
        for number, length in zip(index, self.shape):
            if not -length <= number < length:
                raise IndexError(f"index {index} is outside shape {self.shape}")
            flat = flat * <uint64_t>length + <uint64_t>(number % length)
        return self.sync.heap + flat * (8 if self.wide else 4)

    cdef uint64_t bits_of(self, object value) except? 0:
        cdef double real
        cdef float single
        cdef uint64_t bits = 0
        cdef uint32_t half = 0
        if self.dtype_number >= FLOATS:
            real = value
            if self.wide:
                memcpy(&bits, &real, 8)
                return bits
            single = <float>real
            memcpy(&half, &single, 4)
            return half
        number = operator.index(value)
        width = 64 if self.wide else 32
        signed = self.dtype_number < 2
        low, high = (-(1 << (width - 1)), 1 << (width - 1)) if signed else (0, 1 << width)
        if not low <= number < high:
            raise UsageError(f"{number} is outside the range of {self.dtype}")
        return number & 0xFFFFFFFFFFFFFFFF

    cdef object value_of(self, uint64_t bits):
        cdef double real
        cdef float single
        cdef uint32_t half = <uint32_t>bits
        if self.dtype_number == 0:
            return <int><uint32_t>bits if half < 0x80000000u else <int64_t>half - (1 << 32)
        if self.dtype_number == 1:
            return <int64_t>bits
        if self.dtype_number == 2:
            return half
        if self.dtype_number == 3:
            return bits
        if self.dtype_number == 4:
            memcpy(&single, &half, 4)
            return single
        memcpy(&real, &bits, 8)
        return real

    cdef dsm_order order_of(self, object name, str what, bint loads, bint stores) except *:
        number = order_numbers.get(name)
        if number is None:
            raise UsageError(f"a memory order is one of {', '.join(ORDERS)}, not {name!r}")
        cdef dsm_order order = <dsm_order><int>number
        if (loads and not dsm_order_loads(order)) or (stores and not dsm_order_stores(order)):
            raise UsageError(f"{what} does not admit the order {name!r}")
        return order

    def load(self, index=(), order="seq_cst"):
        """The element. Orders: relaxed, acquire, seq_cst."""
        cdef dsm_order chosen = self.order_of(order, "load", True, False)
        cdef void *word = self.at(index)
        if self.wide:
            return self.value_of(dsm_load_u64(<dsm_atomic_u64 *>word, chosen))
        return self.value_of(dsm_load_u32(<dsm_atomic_u32 *>word, chosen))

    def store(self, value, index=(), order="seq_cst"):
        """Sets the element. Orders: relaxed, release, seq_cst."""
        cdef dsm_order chosen = self.order_of(order, "store", False, True)
        cdef uint64_t bits = self.bits_of(value)
        cdef void *word = self.at(index)
        if self.wide:
            dsm_store_u64(<dsm_atomic_u64 *>word, bits, chosen)
        else:
            dsm_store_u32(<dsm_atomic_u32 *>word, <uint32_t>bits, chosen)

    cdef object changed(self, int kind, object value, object index, object order, str what):
        cdef dsm_order chosen = self.order_of(order, what, False, False)
        if kind != EXCHANGE and self.dtype_number >= FLOATS:
            raise UsageError(f"{what} is for integers; atomic {self.name!r} holds {self.dtype}")
        cdef uint64_t bits = self.bits_of(value)
        return self.value_of(change(self.at(index), self.wide, kind, bits, chosen))

    def exchange(self, value, index=(), order="seq_cst"):
        """Sets the element; returns what it was. All orders."""
        return self.changed(EXCHANGE, value, index, order, "exchange")

    def fetch_add(self, value, index=(), order="seq_cst"):
        """Adds; returns what the element was. Integers, all orders."""
        return self.changed(ADD, value, index, order, "fetch_add")

    def fetch_sub(self, value, index=(), order="seq_cst"):
        """Subtracts; returns what the element was. Integers, all orders."""
        return self.changed(SUB, value, index, order, "fetch_sub")

    def fetch_and(self, value, index=(), order="seq_cst"):
        """Bitwise and; returns what the element was. Integers, all orders."""
        return self.changed(AND, value, index, order, "fetch_and")

    def fetch_or(self, value, index=(), order="seq_cst"):
        """Bitwise or; returns what the element was. Integers, all orders."""
        return self.changed(OR, value, index, order, "fetch_or")

    def fetch_xor(self, value, index=(), order="seq_cst"):
        """Bitwise exclusive or; returns what the element was. Integers, all orders."""
        return self.changed(XOR, value, index, order, "fetch_xor")

    def compare_exchange(self, expected, desired, index=(), success="seq_cst", failure=None):
        """Sets the element to `desired` if it is `expected`: (whether it was, what it was).

        `failure`: the order of the load if it was not; relaxed, acquire or seq_cst; by default what
        `success` has of a load. Floats are compared by their bits: 0.0 is not -0.0, nan is itself.
        """
        cdef dsm_order good = self.order_of(success, "compare_exchange", False, False)
        if failure is None:
            failure = {"release": "relaxed", "acq_rel": "acquire"}.get(success, success)
        cdef dsm_order bad = self.order_of(failure, "a failed compare_exchange", True, False)
        cdef uint64_t before = self.bits_of(expected), after = self.bits_of(desired)
        cdef uint32_t half = <uint32_t>before
        cdef void *word = self.at(index)
        cdef bint same
        if self.wide:
            same = dsm_cas_u64(<dsm_atomic_u64 *>word, &before, after, good, bad)
        else:
            same = dsm_cas_u32(<dsm_atomic_u32 *>word, &half, <uint32_t>after, good, bad)
            before = half
        return same, self.value_of(before)
