# Waiting for others: barriers, events, and the lists of conditions.
from dsm_native._native.core cimport (
    DSM_OK, DSM_RETRY, dsm_call, dsm_call_make, dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.sync cimport (
    DSM_SYNC_BARRIER, DSM_SYNC_BARRIER_HEAP_BYTES, DSM_SYNC_CONDITION,
    DSM_SYNC_CONDITION_HEAP_BYTES, DSM_SYNC_EVENT, DSM_SYNC_EVERYONE, DSM_SYNC_PARTIES_MAX,
    Attempt, SyncCore, dsm_sync_barrier_arrive, dsm_sync_barrier_arrive_acting,
    dsm_sync_barrier_break, dsm_sync_barrier_pass, dsm_sync_barrier_poll, dsm_sync_barrier_read,
    dsm_sync_barrier_reset, dsm_sync_barrier_state, dsm_sync_condition_enlist,
    dsm_sync_condition_leave, dsm_sync_condition_notify, dsm_sync_condition_poll,
    dsm_sync_event_change, dsm_sync_event_read, seconds_of,
)

PARTIES_MAX = DSM_SYNC_PARTIES_MAX

cdef enum:
    TAKE = 0
    ARRIVE = 2
    BREAK = 3
    RESET = 4
    CHANGE = 5
    ENLIST = 6
    LEAVE = 7
    NOTIFY = 8
    ARRIVE_ACTING = 9
    LET_PASS = 10


cdef class BarrierCore(SyncCore):
    """Arriving and waiting, without `await`."""

    def __init__(self, Handle handle, str name, uint32_t parties):
        self.open(handle, DSM_SYNC_BARRIER, name, (parties,), DSM_SYNC_BARRIER_HEAP_BYTES)

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        cdef uint32_t index = 0
        cdef dsm_status status
        if what.action == ARRIVE:
            status = dsm_sync_barrier_arrive(call, &self.sync, &index, &what.number)
            what.word = index
            return status
        if what.action == ARRIVE_ACTING:
            status = dsm_sync_barrier_arrive_acting(call, &self.sync, &index, &what.number)
            what.word = index
            return status
        if what.action == LET_PASS:
            return dsm_sync_barrier_pass(call, &self.sync, what.number)
        if what.action == BREAK:
            return dsm_sync_barrier_break(call, &self.sync, what.number)
        if what.action == RESET:
            return dsm_sync_barrier_reset(call, &self.sync)
        return dsm_sync_barrier_poll(call, &self.sync, what.number)

    def arrive(self, bint acts):
        """(index, generation, whether this was the last party); BrokenBarrierError.

        acts: the last party has something to do, then it calls `let_pass` or `break_generation`.
        An index of `parties` or more: that generation is complete, and still to pass.
        """
        cdef Attempt what
        what.action = ARRIVE_ACTING if acts else ARRIVE
        waiting = self.does(&what)
        return what.word, what.number, not waiting

    def let_pass(self, uint32_t generation):
        """Lets all go on; BrokenBarrierError if the barrier was broken meanwhile."""
        cdef Attempt what
        what.action = LET_PASS
        what.number = generation
        self.does(&what)

    def await_generation(self, uint32_t generation, timeout):
        """Waits until the generation has passed; whether it did in time. BrokenBarrierError."""
        cdef Attempt what
        what.action = TAKE
        what.number = generation
        return self.waits(&what, 0, seconds_of(timeout))

    def passed(self, uint32_t generation):
        """Whether the generation has passed; BrokenBarrierError."""
        cdef Attempt what
        what.action = TAKE
        what.number = generation
        return self.tries(&what)

    def break_generation(self, uint32_t generation):
        """Breaks the barrier if that generation still waits."""
        cdef Attempt what
        what.action = BREAK
        what.number = generation
        self.does(&what)

    def abort(self):
        """Breaks the barrier: present and later waits raise BrokenBarrierError until `reset`."""
        self.break_generation(DSM_SYNC_EVERYONE)

    def reset(self):
        """Makes it whole and empty; who waits gets BrokenBarrierError."""
        cdef Attempt what
        what.action = RESET
        self.does(&what)

    @property
    def parties(self):
        """How many must arrive."""
        return self.sync.settings[0]

    def state(self):
        """(how many wait, whether it is broken), as of about now."""
        cdef dsm_sync_barrier_state state
        handle_ready(self.handle)
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        cdef dsm_status status = dsm_sync_barrier_read(&call, &self.sync, &state)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, self.name, 0)
        return state.waiting, bool(state.broken)


cdef class EventCore(SyncCore):
    """A flag, without `await`."""

    def __init__(self, Handle handle, str name):
        self.open(handle, DSM_SYNC_EVENT, name, (), 0)

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        cdef uint64_t word = 0
        cdef dsm_status status
        if what.action == CHANGE:
            return dsm_sync_event_change(call, &self.sync, what.number != 0)
        status = dsm_sync_event_read(call, &self.sync, &word)
        if status != DSM_OK:
            return status
        if what.action == ENLIST:
            what.action = TAKE
            what.word = word
        return DSM_OK if word & 1 or word != what.word else DSM_RETRY

    def set(self):
        """Sets the flag and wakes all who wait for it."""
        cdef Attempt what
        what.action = CHANGE
        what.number = 1
        self.does(&what)

    def clear(self):
        """Clears the flag."""
        cdef Attempt what
        what.action = CHANGE
        what.number = 0
        self.does(&what)

    def is_set(self):
        """Whether the flag is set."""
        cdef Attempt what
        what.action = ENLIST
        return self.tries(&what)

    def wait(self, timeout=None):
        """Waits until the flag is set, or was set meanwhile; False after `timeout` seconds."""
        cdef Attempt what
        what.action = ENLIST
        return self.tries(&what) or self.waits(&what, 0, seconds_of(timeout))

    def begin(self):
        """The flag and how often it was set, to be passed to `set_since`."""
        cdef Attempt what
        what.action = ENLIST
        self.tries(&what)
        return what.word

    def set_since(self, uint64_t word):
        """Whether it is set or was set since `begin`."""
        cdef Attempt what
        what.action = TAKE
        what.word = word
        return self.tries(&what)


cdef class ConditionCore(SyncCore):
    """The list of those who wait for a condition. The lock is another object."""

    def __init__(self, Handle handle, str name, uint32_t lock):
        self.open(handle, DSM_SYNC_CONDITION, name, (lock,), DSM_SYNC_CONDITION_HEAP_BYTES)

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        if what.action == ENLIST:
            return dsm_sync_condition_enlist(call, &self.sync, &what.number)
        if what.action == LEAVE:
            return dsm_sync_condition_leave(call, &self.sync, what.number)
        if what.action == NOTIFY:
            return dsm_sync_condition_notify(call, &self.sync, what.number)
        return dsm_sync_condition_poll(call, &self.sync, what.number)

    def enlist(self):
        """Enters the list; the entry's number."""
        cdef Attempt what
        what.action = ENLIST
        self.does(&what)
        return what.number

    def leave(self, uint32_t entry):
        """Leaves the list; whether the entry was notified."""
        cdef Attempt what
        what.action = LEAVE
        what.number = entry
        return not self.does(&what)

    def notified(self, uint32_t entry):
        """Whether the entry was notified."""
        cdef Attempt what
        what.action = TAKE
        what.number = entry
        return self.tries(&what)

    def await_entry(self, uint32_t entry, timeout):
        """Waits until the entry is notified; whether it was in time."""
        cdef Attempt what
        what.action = TAKE
        what.number = entry
        return self.waits(&what, 0, seconds_of(timeout))

    def wake(self, uint32_t waiters):
        """Notifies up to so many."""
        cdef Attempt what
        what.action = NOTIFY
        what.number = waiters
        self.does(&what)
