"""Every error that dsm_native raises. One base, `DSMError`; names say whose fault it is.

Where Python has a fitting built-in, the class derives from it too, so that code written against a
dict, a lock or a file goes on working.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import BrokenExecutor
from typing import Any


class DSMError(Exception):
    """Base of all errors of this package."""


class UsageError(DSMError, ValueError):
    """An argument is outside its documented range, or settings conflict with the existing ones."""


class ClosedError(DSMError, ValueError):
    """The handle was closed, or its cluster has stopped."""


class ForkedError(UsageError):
    """A handle inherited by fork was used for something that only the parent may do."""


class KeyNotFoundError(DSMError, KeyError):
    """The region holds no object under that key."""

    def __str__(self) -> str:
        return repr(self.args[0]) if self.args else ""


class KeyTypeError(DSMError, TypeError):
    """A key is not a str, bytes, int, or tuple of these."""


class KeyTooLongError(UsageError):
    """A key takes more than 65,535 bytes once encoded."""


class ValueTypeError(DSMError, TypeError):
    """The stored or given value is not of the type that the operation needs."""


class CounterOverflowError(DSMError, OverflowError):
    """A counter would leave the signed 64-bit range; it was left unchanged."""


class ClockOffsetError(DSMError, ValueError):
    """A timestamp is further ahead of this node's clock than the clock allows; it was refused."""


class ClockOverflowError(DSMError, OverflowError):
    """A clock or counter of events has reached the end of its range; it was left unchanged."""


class VersionConflictError(DSMError):
    """The object is not at the version asked for; `version` is what it has (0: absent)."""

    def __init__(self, message: str = "", version: int = 0) -> None:
        super().__init__(message)
        self.version = version


class TransactionAbortedError(DSMError):
    """Something that the transaction had read was changed before its commit; nothing was changed.

    `key` and `region` name it; `expected` is the version that was read, `version` what was found
    (0: absent). Running the whole transaction again is right, and what `transact` does.
    """

    def __init__(
        self,
        message: str = "",
        *,
        key: Any = None,
        region: str | None = None,
        expected: int = 0,
        version: int = 0,
    ) -> None:
        super().__init__(message)
        self.key = key
        self.region = region
        self.expected = expected
        self.version = version


class WaitTimeoutError(DSMError, TimeoutError):
    """What was waited for did not happen in time."""


class LockTimeoutError(DSMError, TimeoutError):
    """A lock was not granted in time; nothing was changed. The message names the holder."""


class NotOwnerError(UsageError, RuntimeError):
    """A lock or an item was to be given back by somebody who does not hold it (any more)."""


class BrokenBarrierError(DSMError, threading.BrokenBarrierError):
    """The barrier is broken: a party died, gave up waiting or aborted it."""


class QueueEmptyError(DSMError, queue.Empty):
    """No item came in time."""


class QueueFullError(DSMError, queue.Full):
    """The queue stayed full; nothing was put."""


class StoreFullError(DSMError, MemoryError):
    """The kernel or the segment has no room for the value; nothing was changed."""


class LimitError(DSMError):
    """A fixed table of the control segment (participants, regions) is full."""


class ClusterExistsError(DSMError, FileExistsError):
    """A cluster of that name is running already."""


class ClusterNotFoundError(DSMError, FileNotFoundError):
    """No cluster of that name is running."""


class CorruptError(DSMError):
    """Bytes in a segment are damaged; the message names where. `Cluster.check` tells more."""


class NoReplicasAvailableError(CorruptError):
    """The object, or what may have been it, is lost: no replica of it validates.

    The message names the key. `Cluster.lost()` lists what is lost, a put makes a key whole again,
    `Cluster.accept_loss()` lets lost keys be absent ones.
    """


class TornWriteError(DSMError):
    """A process was killed while it wrote to an array that keeps no undo image.

    The message names the tiles and the pid; `tiles` lists the former. `Array.accept` takes them as
    they are, `Array.restore` from a backup.
    """

    def __init__(self, message: str = "", tiles: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.tiles = tiles


class SystemCallError(DSMError, OSError):
    """The kernel refused a system call."""


class NodeLostError(DSMError):
    """A node process ended before it was ready."""


class WorkerLostError(DSMError):
    """The process that ran a task ended, as often as the task may be repeated.

    `pid` is the latest process, `ending` says how it ended.
    """

    def __init__(self, message: str = "", pid: int = 0, ending: str = "") -> None:
        super().__init__(message)
        self.pid = pid
        self.ending = ending


class InitializerError(DSMError, BrokenExecutor):
    """An executor's initializer failed on a node; the executor takes no more tasks."""
