"""The lock of one address: as many as there are keys, each made when it is first taken.

Who holds the lock of a key has an object in a region of the package's own that says so: process,
start time, thread. Taking and passing on are conditional puts, waiting is a wait for that object.
So a lock costs nothing while nobody has it, is replicated like any object, and a holder that was
killed is told by its process: the next one takes the lock over, and can see that.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from dsm_native._native.settling import Taken
from dsm_native._native.waiting import process_alive, process_self, process_state, wait_version
from dsm_native.exceptions import (
    DSMError,
    ForkedError,
    KeyNotFoundError,
    LockTimeoutError,
    NotOwnerError,
    UsageError,
    VersionConflictError,
)
from dsm_native.settings import OWN_REGIONS

if TYPE_CHECKING:
    from dsm_native._native.handle import Handle
    from dsm_native.region import Region

_REGION = OWN_REGIONS + "locks"
_HOLDER = struct.Struct("<IQQ")  # pid, start in clock ticks, thread
_SLICE_S = 0.05

_regions: weakref.WeakKeyDictionary[Handle, Region] = weakref.WeakKeyDictionary()


def _locks_of(region: Region) -> Region:
    """The region in which the locks of all regions of the cluster are, opened once per handle."""
    handle = region.handle
    found = _regions.get(handle)
    if found is None:
        index, replicas, pickles = handle.open_region(_REGION, handle.replicas, False, False)
        found = _regions[handle] = type(region)(handle, _REGION, index, replicas, pickles)
    return found


_self = (0, 0)


def _identity() -> tuple[int, int]:
    """(pid, start) of this process; asked of the kernel once, and again after a fork."""
    global _self
    if _self[0] != os.getpid():
        _self = process_self()
    return _self


def _text(holder: bytes) -> str:
    pid, start, thread = _HOLDER.unpack(holder)
    state = process_state(pid, start)
    text = f"pid {pid}, thread {thread}, state {state}"
    return text + f" (stopped; continue it with `kill -CONT {pid}`)" * (state in "Tt")


def held_locks(region: Region, limit: int) -> list[tuple[str, Any, tuple[int, str]]]:
    """(region's name, key, (pid, letter of its state)) of locks that living processes hold.

    Of all regions of the region's cluster, as of about now, at most `limit`.
    """
    names = region.handle.region_names()
    held: list[tuple[str, Any, tuple[int, str]]] = []
    if _REGION not in names:
        return held
    for (index, key), holder in _locks_of(region).items():
        pid, start, _thread = _HOLDER.unpack(holder)
        if process_alive(pid, start):
            held.append((names[index], key, (pid, process_state(pid, start))))
            if len(held) == limit:
                break
    return held


class KeyLock(Taken):
    """Made by `Region.lock(key)`. Interface of `threading.Lock`; the owner is process and thread.

    It excludes who takes the same lock, in whatever process, and nothing else: get, put, delete and
    transactions on the key go on. Not re-entrant: a second acquire by its holder is a UsageError.
    When the holder's process ends without a release, in whatever way, the next one acquires, and
    its `owner_died` is that pid. Waiting is woken, not polled; Ctrl-C and close end it. Handles
    pickle, and mean the same lock everywhere.
    """

    owner_died: int | None

    def __init__(self, region: Region, key: Any) -> None:
        self._region = region
        self._key = key
        self._held: tuple[int, int, int] | None = None  # pid, thread, version
        self.owner_died = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Takes the lock; False if it was not free, or did not become so within `timeout` seconds.

        timeout -1 waits without a bound. Blocks without the GIL.
        """
        if not blocking and timeout != -1:
            raise UsageError("a time-out makes sense for a blocking acquire only")
        if timeout != -1 and not timeout >= 0:
            raise UsageError(
                f"timeout must be -1 or a number of seconds from 0 on, not {timeout!r}"
            )
        limit = 0.0 if not blocking else math.inf if timeout == -1 else timeout
        return self._take(time.monotonic() + limit) is None

    def _take(self, end: float) -> bytes | None:
        """None once the lock is taken; its holder if the time is over."""
        locks, name = _locks_of(self._region), (self._region.index, self._key)
        mine = _HOLDER.pack(*_identity(), threading.get_ident())
        while True:
            holder, version = self._look(locks, name)
            if holder == mine:
                raise UsageError(f"this thread holds the lock of {self._key!r} already")
            died = None
            if holder is not None:
                pid, start, _thread = _HOLDER.unpack(holder)
                if process_alive(pid, start):
                    left = end - time.monotonic()
                    if left <= 0:
                        return holder
                    # Sliced, for the case that nobody is left to tell of the holder's death.
                    wait_version(locks, name, version, min(left, _SLICE_S), True)
                    continue
                died = pid
            try:
                taken = locks.put(name, mine, if_version=version)
                self._held = (os.getpid(), threading.get_ident(), taken)
                self.owner_died = died
                return None
            except VersionConflictError:
                continue
            except BaseException:
                self._let_go(locks, name, mine)
                raise

    def _let_go(self, locks: Region, name: Any, mine: bytes) -> None:
        # An interrupt: had it come after the put, nobody would know that the lock is taken.
        self._held = None
        with contextlib.suppress(DSMError):
            holder, version = self._look(locks, name)
            if holder == mine:
                locks.delete(name, if_version=version)

    @staticmethod
    def _look(locks: Region, name: Any) -> tuple[bytes | None, int]:
        try:
            return locks.get_versioned(name)
        except KeyNotFoundError:
            return None, 0

    def release(self) -> None:
        """Gives the lock up, and wakes who waits. NotOwnerError (a RuntimeError) unless this thread
        holds it through this handle.
        """
        held = self._held
        if held is None:
            raise NotOwnerError(f"the lock of {self._key!r} is not held through this handle")
        if held[0] != os.getpid():
            raise ForkedError(f"the lock of {self._key!r} is held by the parent process {held[0]}")
        if held[1] != threading.get_ident():
            raise NotOwnerError(
                f"the lock of {self._key!r} is held by thread {held[1]}, not by this"
            )
        locks = _locks_of(self._region)
        try:
            locks.delete((self._region.index, self._key), if_version=held[2])
            self._held = None
        except (VersionConflictError, KeyNotFoundError) as error:
            self._held = None
            raise DSMError(f"the lock of {self._key!r} was taken from its living holder") from error

    def locked(self) -> bool:
        """Whether a living process holds the lock."""
        holder, _version = self._look(_locks_of(self._region), (self._region.index, self._key))
        if holder is None:
            return False
        pid, start, _thread = _HOLDER.unpack(holder)
        return process_alive(pid, start)

    def acquire_within(self, timeout: float) -> None:
        """acquire(), but LockTimeoutError, which names the holder and its state, instead of False.

        Blocks for at most `timeout` seconds.
        """
        if not timeout >= 0:
            raise UsageError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")
        holder = self._take(time.monotonic() + timeout)
        if holder is not None:
            raise LockTimeoutError(
                f"the lock of {self._key!r} was not granted within {timeout} s; it is held by "
                f"{_text(holder)}"
            )

    def __repr__(self) -> str:
        return f"<KeyLock of {self._key!r} in region {self._region.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyLock, (self._region, self._key)
