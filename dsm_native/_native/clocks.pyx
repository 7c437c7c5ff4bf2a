# cython: language_level=3, binding=False, autotestdict=False
"""Vector clocks, the hybrid logical clock and dotted version vector sets, over csrc/proto.

Handles are for one thread at a time. Errors: UsageError (a ValueError) for an argument out of
range, ClockOffsetError for a stamp too far ahead, ClockOverflowError (an OverflowError) at the end
of a counter; Python's OverflowError for what no unsigned word holds, TypeError for no integer.
"""

import enum

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

from dsm_native.exceptions import ClockOffsetError, ClockOverflowError, UsageError

cdef extern from "Python.h":
    object PyNumber_Index(object number)  # a float is no integer, whatever it could be cut to

cdef size_t COUNTERS_MAX = 1 << 20
cdef size_t COUNTERS_STEP = 8


class ClockOrder(enum.IntEnum):
    """How one clock lies to another."""

    EQUAL = DSM_CLOCK_EQUAL
    BEFORE = DSM_CLOCK_BEFORE
    AFTER = DSM_CLOCK_AFTER
    CONCURRENT = DSM_CLOCK_CONCURRENT


cdef tuple ORDERS = tuple([ClockOrder(value) for value in range(4)])


@cython.final
cdef class VectorClock:
    """One counter per node; nodes are indices, and a node never heard of counts 0.

    Clocks of any two lengths can be merged and compared. <, <=, > and >= are happens-before and its
    kin; of two concurrent clocks none of them is true.
    """

    # The room behind count holds zeros, so clocks of two lengths have a common one.
    cdef uint64_t *counters_
    cdef size_t count, room

    def __init__(self, counters=()):
        values = list(counters)
        if self.counters_ is not NULL:
            raise TypeError("a clock is initialised once")
        self.reach(max(len(values), 1))
        for node, value in enumerate(values):
            self.counters_[node] = PyNumber_Index(value)
        self.count = len(values)

    def __dealloc__(self):
        PyMem_Free(self.counters_)

    cdef int reach(self, size_t count) except -1:
        cdef size_t room = (count + COUNTERS_STEP - 1) // COUNTERS_STEP * COUNTERS_STEP
        cdef uint64_t *larger
        if room <= self.room:
            return 0
        if count > COUNTERS_MAX:
            raise UsageError(f"nodes are below {COUNTERS_MAX}, but one is {count - 1}")
        larger = <uint64_t *>PyMem_Calloc(room, sizeof(uint64_t))
        if larger is NULL:
            raise MemoryError(f"no memory for a clock of {count} nodes")
        if self.counters_ is not NULL:
            memcpy(larger, self.counters_, self.room * sizeof(uint64_t))
        PyMem_Free(self.counters_)
        self.counters_ = larger
        self.room = room
        return 0

    cdef size_t meet(self, VectorClock other) except 0:
        """Room for both in both; returns how many counters to look at, whole vectors of them."""
        cdef size_t room = max(self.room, other.room)
        self.reach(room)
        other.reach(room)
        return room

    cdef dsm_clock_order order(self, VectorClock other) except? DSM_CLOCK_CONCURRENT:
        cdef size_t room = self.room
        if room != other.room:
            room = self.meet(other)
        return dsm_vector_clock_compare(self.counters_, other.counters_, room)

    def tick(self, node):
        """Count one more event at a node."""
        node = PyNumber_Index(node)
        if node >= self.count:
            self.reach(node + 1)
            self.count = node + 1
        if dsm_vector_clock_tick(self.counters_, self.count, node) != DSM_OK:
            raise ClockOverflowError(f"the counter of node {node} is at its end")

    def merge(self, VectorClock other not None):
        """Raise every counter to that of the other clock where it is lower."""
        cdef size_t room = self.room
        if room != other.room:
            room = self.meet(other)
        dsm_vector_clock_merge(self.counters_, other.counters_, room)
        self.count = max(self.count, other.count)

    def compare(self, VectorClock other not None):
        """How this clock lies to the other one."""
        return ORDERS[self.order(other)]

    def deliverable(self, VectorClock message not None, sender):
        """Whether a message with this clock of its sender may be delivered here now."""
        sender = PyNumber_Index(sender)
        cdef size_t room = max(self.meet(message), sender + 1)
        self.reach(room)
        message.reach(room)
        return dsm_vector_clock_deliverable(self.counters_, message.counters_, room, sender)

    def copy(self):
        return VectorClock(self)

    def __iter__(self):
        return iter([self.counters_[node] for node in range(self.count)])

    def __getitem__(self, size_t node):
        return self.counters_[node] if node < self.count else 0

    def __len__(self):
        return self.count

    def __eq__(self, other):
        if not isinstance(other, VectorClock):
            return NotImplemented
        return self.order(other) == DSM_CLOCK_EQUAL

    def __lt__(self, VectorClock other not None):
        return self.order(other) == DSM_CLOCK_BEFORE

    def __le__(self, VectorClock other not None):
        return self.order(other) in (DSM_CLOCK_BEFORE, DSM_CLOCK_EQUAL)

    def __gt__(self, VectorClock other not None):
        return self.order(other) == DSM_CLOCK_AFTER

    def __ge__(self, VectorClock other not None):
        return self.order(other) in (DSM_CLOCK_AFTER, DSM_CLOCK_EQUAL)

    __hash__ = None

    def __repr__(self):
        return f"VectorClock({list(self)})"


@cython.final
cdef class HybridClock:
    """A hybrid logical clock whose stamps are 64-bit integers: microseconds above 12 bits of count.

    Times are passed in, in microseconds since 1970. Stamps order as integers.
    """

    LOGICAL_MAX = DSM_HYBRID_LOGICAL_MAX
    PHYSICAL_US_MAX = DSM_HYBRID_PHYSICAL_US_MAX

    cdef dsm_hybrid_clock clock

    def __init__(self, offset_us_max=500_000, *, last=0):
        offset_us_max = PyNumber_Index(offset_us_max)
        last = PyNumber_Index(last)
        dsm_hybrid_clock_init(&self.clock, offset_us_max)
        self.clock.last = last

    @property
    def last(self):
        """The greatest stamp so far; pass it to a new clock to go on from there."""
        return self.clock.last

    @property
    def offset_us_max(self):
        return self.clock.offset_us_max

    @staticmethod
    def stamp(physical_us, logical=0):
        """The stamp with these two parts."""
        physical_us = PyNumber_Index(physical_us)
        logical = PyNumber_Index(logical)
        if physical_us > DSM_HYBRID_PHYSICAL_US_MAX or logical > DSM_HYBRID_LOGICAL_MAX:
            raise UsageError(f"no stamp holds {physical_us} us and a count of {logical}")
        return dsm_hybrid_stamp(physical_us, logical)

    @staticmethod
    def parts(stamp):
        """Microseconds and logical count of a stamp."""
        stamp = PyNumber_Index(stamp)
        return dsm_hybrid_physical_us(stamp), dsm_hybrid_logical(stamp)

    def send(self, now_us):
        """Stamp a local event or a message to send."""
        now_us = PyNumber_Index(now_us)
        cdef uint64_t stamp = 0
        self.check(dsm_hybrid_clock_send(&self.clock, now_us, &stamp), now_us, 0)
        return stamp

    def receive(self, now_us, message):
        """Stamp the receipt of a message; ClockOffsetError when it is stamped too far ahead."""
        now_us = PyNumber_Index(now_us)
        message = PyNumber_Index(message)
        cdef uint64_t stamp = 0
        self.check(dsm_hybrid_clock_receive(&self.clock, now_us, message, &stamp), now_us,
                   message)
        return stamp

    def drift_us(self, now_us):
        """By how much the stamps run ahead of the physical clock."""
        now_us = PyNumber_Index(now_us)
        return dsm_hybrid_clock_drift_us(&self.clock, now_us)

    cdef int check(self, dsm_status status, uint64_t now_us, uint64_t message) except -1:
        if status == DSM_OK:
            return 0
        if status == DSM_CLOCK_OVERFLOW:
            raise ClockOverflowError("the hybrid clock has reached its end in the year 2112")
        if now_us > DSM_HYBRID_PHYSICAL_US_MAX:
            raise UsageError(f"{now_us} us is past {DSM_HYBRID_PHYSICAL_US_MAX}, the clock's end")
        ahead = dsm_hybrid_physical_us(message) - now_us
        raise ClockOffsetError(f"the message is stamped {ahead} us ahead of this clock, more than "
                               f"the {self.clock.offset_us_max} us allowed: check its sender")


@cython.final
cdef class DottedVersionSet:
    """The siblings of one object with their causal history; values are 64-bit handles.

    entries lists (node, counter, values newest first); anonymous values have no dot yet. Sets do
    not change: every operation makes another one.
    """

    cdef dsm_dotted_set set
    cdef void *memory

    def __init__(self, entries=(), anonymous=()):
        rows = sorted((node, counter, list(values)) for node, counter, values in entries)
        loose = sorted(set(anonymous))
        cdef uint32_t i
        if self.memory is not NULL:
            raise TypeError("a set is initialised once")
        self.allocate(len(rows), sum(len(values) for _, _, values in rows) + len(loose))
        for i, (node, counter, values) in enumerate(rows):
            self.set.entries[i].node = PyNumber_Index(node)
            self.set.entries[i].counter = PyNumber_Index(counter)
            self.set.entries[i].value_count = len(values)
        for i, value in enumerate([value for row in rows for value in row[2]] + loose):
            self.set.values[i] = PyNumber_Index(value)
        self.set.entry_count = self.set.entry_count_max
        self.set.value_count = self.set.value_count_max
        if not dsm_dotted_valid(&self.set):
            raise UsageError("an entry has more values than its counter, or a node two entries")

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef int allocate(self, uint32_t entries, uint32_t values) except -1:
        cdef size_t entry_bytes = entries * sizeof(dsm_dotted_entry)
        self.memory = PyMem_Malloc(entry_bytes + values * sizeof(uint64_t) + 1)
        if self.memory is NULL:
            raise MemoryError(f"no memory for {entries} entries and {values} values")
        dsm_dotted_init(&self.set, <dsm_dotted_entry *>self.memory, entries,
                        <uint64_t *>(<char *>self.memory + entry_bytes), values)
        return 0

    cdef DottedVersionSet room_for(self, DottedVersionSet other, uint32_t more):
        cdef DottedVersionSet result = DottedVersionSet.__new__(DottedVersionSet)
        result.allocate(self.set.entry_count + other.set.entry_count + more,
                        self.set.value_count + other.set.value_count + more)
        return result

    @property
    def entries(self):
        rows, value = [], 0
        for i in range(self.set.entry_count):
            count = self.set.entries[i].value_count
            values = tuple([self.set.values[value + k] for k in range(count)])
            rows.append((self.set.entries[i].node, self.set.entries[i].counter, values))
            value += count
        return rows

    @property
    def values(self):
        return tuple([self.set.values[i] for i in range(self.set.value_count)])

    @property
    def anonymous(self):
        return self.values[self.set.value_count - dsm_dotted_anonymous_count(&self.set):]

    def context(self):
        """The history alone: what a reader hands back with its next write."""
        cdef DottedVersionSet result = self.room_for(self, 0)
        dsm_dotted_context(&result.set, &self.set)
        return result

    def sync(self, DottedVersionSet other not None):
        """What both sets together know."""
        cdef DottedVersionSet result = self.room_for(other, 0)
        dsm_dotted_sync(&result.set, &self.set, &other.set)
        return result

    def update(self, DottedVersionSet context not None, node, value):
        """This set after a write at node by a client that has seen context."""
        node = PyNumber_Index(node)
        value = PyNumber_Index(value)
        cdef DottedVersionSet result = self.room_for(context, 1)
        if dsm_dotted_update(&result.set, &context.set, &self.set, node, value) != DSM_OK:
            raise ClockOverflowError(f"the counter of node {node} is at its end")
        return result

    def reconcile(self, value):
        """The history with one anonymous value in the place of all others."""
        value = PyNumber_Index(value)
        cdef DottedVersionSet result = self.room_for(self, 1)
        dsm_dotted_reconcile(&result.set, &self.set, value)
        return result

    def keep(self, index):
        """The history with one of the values alone, by its place in values."""
        index = PyNumber_Index(index)
        cdef DottedVersionSet result = self.room_for(self, 1)
        if dsm_dotted_keep(&result.set, &self.set, index) != DSM_OK:
            raise IndexError(f"there are {self.set.value_count} values, none at {index}")
        return result

    def compare(self, DottedVersionSet other not None):
        """How this history lies to the other; values do not count."""
        return ORDERS[dsm_dotted_compare(&self.set, &other.set)]

    def __len__(self):
        return self.set.value_count

    def __eq__(self, other):
        if not isinstance(other, DottedVersionSet):
            return NotImplemented
        return self.entries == other.entries and self.anonymous == other.anonymous

    __hash__ = None

    def __repr__(self):
        return f"DottedVersionSet({self.entries}, {self.anonymous})"
