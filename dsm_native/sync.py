"""Locks, semaphores, events and conditions that processes share by name.

Their interfaces are those of `threading`, with an `await` form of each wait. What a process holds
is taken from it when it dies: the next one gets the lock and can see why, and permits return. An
owner is a thread of a process. Made by `Cluster.lock` and its neighbours; each pickles, and
attaches where it is unpickled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from dsm_native import waiting
from dsm_native._native.handle import Handle
from dsm_native._native.lock import Guarded, LockCore
from dsm_native._native.rendezvous import ConditionCore, EventCore
from dsm_native._native.semaphore import PERMITS_MAX, SemaphoreCore
from dsm_native.exceptions import NotOwnerError, UsageError
from dsm_native.settings import check_count, check_object_name

EVERYONE = (1 << 32) - 1


class Holder(NamedTuple):
    """Who holds a lock: process, thread (a number of that process) and the kernel's letter for
    the state of the process (R, S, D; T: stopped)."""

    pid: int
    thread: int
    state: str


def made_again(*arguments: Any) -> Any:
    from dsm_native.cluster import reattach_object

    return reattach_object(*arguments)


class Lock(LockCore):
    """A lock by name, as `threading.Lock`, or as `threading.RLock` if it is re-entrant.

    `acquire`, `release`, `locked` and `with` block as those of threading do; `await
    lock.acquire_async()` and `async with lock` let other tasks run. Killing the holder frees it:
    the next owner is granted it within about a millisecond and finds `previous_owner_died` true.
    Only the thread that took it may give it back. A thread that ends while it holds the lock, in
    a process that lives on, leaves it taken.
    """

    __slots__ = ()

    @property
    def holder(self) -> Holder | None:
        """Who holds it, as of about now."""
        fields = self.holder_fields()
        return None if fields is None else Holder(*fields)

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """As `acquire`, in an event loop; whether it was taken in time (None: no limit).

        The loop's thread becomes the owner. Re-entrant locks refuse it (UsageError): the tasks of a
        loop share their thread, so each would enter where another is.
        """
        if self.reentrant:
            raise UsageError(f"lock {self.name!r} is re-entrant: tasks of one thread cannot share")
        if self.acquire(False):
            return True
        return await waiting.until(self, 0, lambda: self.acquire(False), timeout)

    async def __aenter__(self) -> None:
        await self.acquire_async()

    async def __aexit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        holder = self.holder
        state = f"held by pid {holder.pid}" if holder else "free"
        return f"<Lock {self.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, (self.handle.name, "lock", self.name, self.reentrant)


class Semaphore(SemaphoreCore):
    """Permits by name, as `threading.Semaphore`, or `BoundedSemaphore` if it is bounded.

    A permit belongs to the process that took it, and returns when that process dies or leaves.
    `release` returns the process's own permits first; beyond these it adds new ones. So a semaphore
    that one process takes and another one releases grows when the taker ends: to signal, use an
    event, a condition or a queue.
    """

    __slots__ = ()

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """As `acquire`, in an event loop."""
        if self.acquire(False):
            return True
        taken = await waiting.until(self, 0, lambda: self.acquire(False), timeout)
        if taken and self.value:
            self.pass_on(0)
        return taken

    async def __aenter__(self) -> None:
        await self.acquire_async()

    async def __aexit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Semaphore {self.name!r}, {self.value} of its permits are free>"

    def __reduce__(self) -> tuple[Any, ...]:
        value, bounded = self.settings[:2]
        return made_again, (self.handle.name, "semaphore", self.name, value, bool(bounded))


class Event(EventCore):
    """A flag by name, as `threading.Event`."""

    __slots__ = ()

    async def wait_async(self, timeout: float | None = None) -> bool:
        """As `wait`, in an event loop."""
        before = self.begin()
        return await waiting.until(self, 0, lambda: self.set_since(before), timeout)

    def __repr__(self) -> str:
        return f"<Event {self.name!r}, {'set' if self.is_set() else 'not set'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, (self.handle.name, "event", self.name)


class Condition(Guarded):
    """A condition by name, as `threading.Condition`: a lock, and a list of those who wait.

    Whoever waits is notified in the order of waiting. The notification of a process that dies
    before it goes on passes to the next. At most 1,024 threads wait at once (LimitError).
    """

    __slots__ = ("__weakref__", "_list")

    lock: Lock

    def __init__(self, handle: Handle, name: str, lock: Lock) -> None:
        self.lock = lock
        self._list = ConditionCore(handle, name, lock.index)
        if self._list.settings[0] != lock.index:
            raise UsageError(f"condition {name!r} exists with another lock than {lock.name!r}")

    @property
    def name(self) -> str:
        """The name that it was opened by."""
        return self._list.name

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Takes the condition's lock."""
        return self.lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Gives the condition's lock back."""
        self.lock.release()

    async def __aenter__(self) -> None:
        await self.lock.acquire_async()

    async def __aexit__(self, *exception: object) -> None:
        self.lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Gives the lock up, waits to be notified, takes it again; False after the time-out.

        NotOwnerError (a RuntimeError) if the lock is not held.
        """
        self._owned("wait")
        entry = self._list.enlist()
        try:
            depth = self.lock.give_up("wait")
            try:
                self._list.await_entry(entry, timeout)
            finally:
                self.lock.acquire()
                self.lock.take_up(depth)
        finally:
            notified = self._list.leave(entry)
        return bool(notified)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Waits until the predicate is true; its last value."""
        end = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    async def wait_async(self, timeout: float | None = None) -> bool:
        """As `wait`, in an event loop; the condition's lock must not be re-entrant.

        The lock is taken again in any case, also when the task is cancelled meanwhile.
        """
        self._owned("wait")
        entry = self._list.enlist()
        try:
            self.lock.give_up("wait")
            try:
                await waiting.until(self._list, 0, lambda: self._list.notified(entry), timeout)
            finally:
                await self._take_again()
        finally:
            notified = self._list.leave(entry)
        return bool(notified)

    async def _take_again(self) -> None:
        import asyncio

        # Whoever leaves the wait without the lock would give back what another task holds.
        cancelled: BaseException | None = None
        while True:
            try:
                await self.lock.acquire_async()
            except asyncio.CancelledError as error:
                cancelled = error
                continue
            break
        if cancelled is not None:
            raise cancelled

    async def wait_for_async(
        self, predicate: Callable[[], Any], timeout: float | None = None
    ) -> Any:
        """As `wait_for`, in an event loop."""
        end = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            await self.wait_async(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Notifies those n who have waited longest. NotOwnerError if the lock is not held."""
        self._owned("notify")
        self._list.wake(min(max(n, 0), EVERYONE))

    def notify_all(self) -> None:
        """Notifies all who wait."""
        self._owned("notify")
        self._list.wake(EVERYONE)

    def _owned(self, what: str) -> None:
        if not self.lock.owned():
            raise NotOwnerError(
                f"cannot {what} on un-acquired lock {self.lock.name!r} of condition {self.name!r}; "
                f"this is thread {threading.get_native_id()}"
            )

    def __repr__(self) -> str:
        return f"<Condition {self.name!r} with {self.lock!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, (self._list.handle.name, "condition", self.name, self.lock)


# ---- opening: each checks what is asked for, and what the existing object was made with ----------


def agree(kind: str, name: str, **settings: tuple[Any, Any]) -> None:
    """Raises UsageError if a setting that was asked for (not None) is not what the object has."""
    for label, (asked, has) in settings.items():
        if asked is not None and asked != has:
            raise UsageError(f"{kind} {name!r} exists with {label}={has!r}, not {asked!r}")


def open_lock(handle: Handle, name: str, reentrant: bool | None) -> Lock:
    lock = Lock(handle, check_object_name(name), bool(reentrant))
    agree("lock", name, reentrant=(reentrant, lock.reentrant))
    return lock


def open_semaphore(handle: Handle, name: str, value: int | None, bounded: bool | None) -> Semaphore:
    first = 1 if value is None else check_count("value", value, 0, PERMITS_MAX)
    made = Semaphore(handle, check_object_name(name), first, bool(bounded))
    has, is_bounded = made.settings[:2]
    agree("semaphore", name, value=(value, has), bounded=(bounded, bool(is_bounded)))
    return made


def open_event(handle: Handle, name: str) -> Event:
    return Event(handle, check_object_name(name))


def open_condition(handle: Handle, name: str | Lock, lock: Lock | None) -> Condition:
    if isinstance(name, Lock):
        if lock is not None:
            raise UsageError("give a name and a lock, or a lock alone")
        lock = name
        name = lock.name
    if lock is None:
        lock = open_lock(handle, name, True)
    if lock.handle is not handle and lock.handle.name != handle.name:
        raise UsageError(f"lock {lock.name!r} belongs to cluster {lock.handle.name!r}")
    return Condition(handle, check_object_name(name), lock)
