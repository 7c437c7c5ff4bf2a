# What Ctrl-C must not tear: taking the lead, giving a future its outcome, entering a block.
#
# Python looks for signals between two of its own instructions. What is compiled is no such place,
# so each function here is one step towards an exception that a signal's handler raises, as long as
# it calls no Python function. `threading.Condition.__enter__` is one: interrupted there, it leaves
# its lock taken for ever, so futures of ours get a condition whose `with` is compiled.
import threading

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef unsigned long main_thread = threading.main_thread().ident


class Condition(threading.Condition):
    """A condition whose `with` no signal can leave half done."""

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *exception):
        return self._lock.__exit__(*exception)


def leading(lock, call):
    """Calls, holding the lock, unless somebody else has it; whether it did."""
    if not lock.acquire(False):
        return False
    try:
        call()
    finally:
        lock.release()
    return True


def settle_task(task, bint good, value):
    """Gives a task's outcome to who wants it, if anybody does; from then on nobody does.

    A map counts each outcome: nothing comes between its count and the end of its wish.
    """
    sink = task.sink
    if sink is not None:
        sink.settle(task, good, value)
        task.sink = None


def settle(future, bint good, value, calls):
    """Gives the future its outcome, and tells everybody who waits for it. Again is harmless.

    calls: the queue of a thread that makes calls, where Python code is to be run if this is the
    thread that signals interrupt; or None.
    """
    condition = future._condition
    lock = condition._lock
    lock.acquire()
    try:
        if future._state not in ("PENDING", "RUNNING"):
            return
        if good:
            future._result = value
        else:
            future._exception = value
        future._state = "FINISHED"
        waiting = condition._waiters
        while waiting:
            try:
                waiting.popleft().release()
            except RuntimeError:
                pass  # it has just given up
        waiters = list(future._waiters)
        if waiters and calls is not None and PyThread_get_thread_ident() == main_thread:
            calls.put(Telling(future, waiters, good).tell)
        else:
            tell(future, waiters, good)
        if future._done_callbacks:
            if calls is not None:
                calls.put(future.call_back)
            else:
                waiters = None
    finally:
        lock.release()
    if waiters is None:
        future.call_back()


cdef int tell(future, waiters, bint good) except -1:
    for waiter in waiters:
        if good:
            waiter.add_result(future)
        else:
            waiter.add_exception(future)
    return 0


cdef class Telling:
    """Tells those who wait by `concurrent.futures.wait` and its like."""

    cdef object future
    cdef list waiters
    cdef bint good

    def __cinit__(self, future, list waiters, bint good):
        self.future = future
        self.waiters = waiters
        self.good = good

    def tell(self):
        """Does so."""
        with self.future._condition:
            tell(self.future, self.waiters, self.good)


cdef class Taken:
    """`with` over acquire and release that are Python: an interrupt leaves nothing taken.

    `_held` is None unless it is taken through this object.
    """

    def __enter__(self):
        before = self._held
        try:
            self.acquire()
        except BaseException:
            if self._held is not before:  # the interrupt came when it had been taken
                self.release()
            raise
        return self

    def __exit__(self, *exception):
        try:
            self.release()
        except BaseException:
            if self._held is not None:  # the interrupt came before it was given back, or just then
                try:
                    self.release()
                except Exception:
                    pass
            raise
