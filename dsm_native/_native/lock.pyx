# The lock: the fast path of taking and giving back is one call of the core each, with the GIL.
from dsm_native._native.core cimport (
    DSM_OK, cbool, dsm_call, dsm_call_make, dsm_os_process, dsm_os_process_state, dsm_status,
    uint32_t,
)
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.sync cimport (
    DSM_SYNC_LOCK, Attempt, SyncCore, dsm_sync_holder, dsm_sync_lock_depth,
    dsm_sync_lock_depth_set, dsm_sync_lock_holder, dsm_sync_lock_mine, dsm_sync_lock_release,
    dsm_sync_lock_spin, dsm_sync_lock_try, dsm_sync_party_self, seconds_of,
)

from dsm_native.exceptions import ForkedError, NotOwnerError, UsageError

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil


cdef enum:
    SPINS = 4  # lost races after which a waiter goes to sleep


cdef inline uint32_t thread_self() noexcept nogil:
    # Addresses of thread descriptors, which are aligned to 64 and lie less than 2**38 apart.
    return <uint32_t>(PyThread_get_thread_ident() >> 6)


cdef class LockCore(SyncCore):
    """The lock itself: taking and giving back, without `with` and `await`."""

    cdef uint32_t held_as
    cdef bint died
    cdef uint32_t died_pid

    def __init__(self, Handle handle, str name, bint reentrant):
        self.open(handle, DSM_SYNC_LOCK, name, (reentrant,), 0)

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        cdef cbool died = False
        cdef uint32_t pid = 0
        cdef dsm_status status
        status = dsm_sync_lock_try(call, &self.sync, what.number, &died, &pid)
        if status == DSM_OK:
            if dsm_sync_lock_depth(&self.sync) == 1:
                self.died = died
                self.died_pid = pid
            self.held_as = dsm_sync_party_self(call.space)
        return status

    cdef bint takes(self, Attempt *what, double seconds) except -1:
        # What the other process holds for a moment only is not worth sleeping for.
        cdef int _time
        for _time in range(SPINS):
            if not dsm_sync_lock_spin(self.handle.space, &self.sync):
                break
            if self.tries(what):
                return True
        return self.waits(what, 0, seconds)

    def acquire(self, bint blocking=True, timeout=-1):
        """Takes the lock; whether it was taken. As threading.Lock.acquire.

        Blocks until it is free, at most `timeout` seconds (-1: as long as it takes), without the
        GIL; Ctrl-C interrupts it. Who holds it is told by `holder`. A lock whose holder was killed
        is granted within about a millisecond: `previous_owner_died` tells.
        """
        cdef Attempt what
        cdef double seconds = -1
        if timeout != -1:
            if not blocking:
                raise UsageError("can't specify a timeout for a non-blocking call")
            if timeout < 0:
                raise UsageError("timeout value must be a non-negative number")
            seconds = seconds_of(timeout)
        what.number = thread_self()
        if self.tries(&what):
            return True
        return self.takes(&what, seconds) if blocking else False

    def release(self):
        """Gives the lock back. NotOwnerError (a RuntimeError) unless this thread holds it.

        ForkedError in a child that inherited the lock's object from a process that holds it.
        """
        handle_ready(self.handle)
        cdef dsm_call call = dsm_call_make(self.handle.space, 0)
        if dsm_sync_lock_release(&call, &self.sync, thread_self()) != DSM_OK:
            raise self.not_mine("release it")

    cdef object not_mine(self, str what):
        cdef dsm_sync_holder holder
        dsm_sync_lock_holder(self.handle.space, &self.sync, &holder)
        if holder.party and holder.party == self.held_as != dsm_sync_party_self(self.handle.space):
            return ForkedError(
                f"lock {self.name!r} is held by process {holder.pid}, which forked this one; a "
                f"child holds nothing that its parent took")
        who = f"thread {holder.thread:#x} of process {holder.pid}" if holder.party else "nobody"
        return NotOwnerError(f"cannot {what}: lock {self.name!r} is held by {who}, not by thread "
                             f"{thread_self():#x} of this process")

    def __enter__(self):
        cdef Attempt what
        what.number = thread_self()
        if not self.tries(&what):
            self.takes(&what, -1)
        return True

    def __exit__(self, *exception):
        self.release()

    def locked(self):
        """Whether anybody holds it."""
        cdef dsm_sync_holder holder
        handle_ready(self.handle)
        dsm_sync_lock_holder(self.handle.space, &self.sync, &holder)
        return holder.party != 0

    def owned(self):
        """Whether this thread of this process holds it."""
        handle_ready(self.handle)
        return bool(dsm_sync_lock_mine(self.handle.space, &self.sync, thread_self()))

    @property
    def reentrant(self):
        """Whether its owner may take it again."""
        return bool(self.sync.settings[0])

    @property
    def previous_owner_died(self):
        """After taking it: whether the process that had it before ended without giving it back.

        What the lock protects may then be half changed. Meaningful for the present owner.
        """
        return bool(self.died)

    @property
    def previous_owner_pid(self):
        """The pid of that process; None if it did not die, or is not known any more."""
        return self.died_pid or None if self.died else None

    def holder_fields(self):
        """(pid, thread, letter of the process's state) of who holds it, or None."""
        cdef dsm_sync_holder holder
        cdef dsm_os_process process
        handle_ready(self.handle)
        dsm_sync_lock_holder(self.handle.space, &self.sync, &holder)
        if not holder.party:
            return None
        process.pid = holder.pid
        process.start_ticks = holder.start_ticks
        return holder.pid, holder.thread, chr(dsm_os_process_state(&process))

    def give_up(self, str what):
        """Gives the lock back however often it was taken; returns how often. Owner only."""
        handle_ready(self.handle)
        if not dsm_sync_lock_mine(self.handle.space, &self.sync, thread_self()):
            raise self.not_mine(what)
        depth = dsm_sync_lock_depth(&self.sync)
        dsm_sync_lock_depth_set(&self.sync, 1)
        self.release()
        return depth

    def take_up(self, uint32_t depth):
        """After acquire(): it counts as taken that often."""
        dsm_sync_lock_depth_set(&self.sync, depth)


cdef class Guarded:
    """What is guarded by a `lock`: `with` takes it. Compiled, so that no signal comes between its
    being taken and the block that gives it back.
    """

    cdef public LockCore lock

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, *exception):
        self.lock.release()
