"""What a cluster shares by kind and name: locks, semaphores, queues, counters and their like.

A part of `Cluster` in a file of its own. Names of different kinds do not meet: the lock "a" and the
event "a" are two objects. Each is made by whoever opens it first and stays until the cluster ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dsm_native import atomics, barriers, queues, sync
from dsm_native._native.handle import Handle
from dsm_native.atomics import AtomicArray, Counter
from dsm_native.barriers import Barrier
from dsm_native.queues import Queue
from dsm_native.region import Region, own_region
from dsm_native.sync import Condition, Event, Lock, Semaphore


class NamedObjects:
    """The methods of `Cluster` that open an object of synchronisation by name."""

    _handle: Handle

    def lock(self, name: str, reentrant: bool | None = None) -> Lock:
        """The lock of that name, made (not re-entrant by default) if there is none; see `Lock`.

        Objects of synchronisation are found by kind and name (a str of 1 to 64 bytes), up to 1,024
        of them per cluster (LimitError), and stay until it ends. Settings that differ from those
        of the existing object raise UsageError; left out, they are taken from it.
        """
        return sync.open_lock(self._handle, name, reentrant)

    def semaphore(
        self, name: str, value: int | None = None, bounded: bool | None = None
    ) -> Semaphore:
        """The semaphore of that name, made with `value` permits (default 1); see `Semaphore`."""
        return sync.open_semaphore(self._handle, name, value, bounded)

    def barrier(
        self,
        name: str,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Barrier:
        """The barrier of that name for so many parties (threads of any processes).

        action and timeout, the default of its waits in seconds, are those of this handle: see
        `Barrier`.
        """
        return barriers.open_barrier(self._handle, name, parties, action, timeout)

    def event(self, name: str) -> Event:
        """The event of that name, made with its flag not set."""
        return sync.open_event(self._handle, name)

    def condition(self, name: str | Lock, lock: Lock | None = None) -> Condition:
        """The condition of that name, or of a lock (then named after it).

        Without a lock, it goes with the re-entrant lock of its own name.
        """
        return sync.open_condition(self._handle, name, lock)

    def queue(
        self, name: str, maxsize: int | None = None, acknowledge: bool | None = None
    ) -> Queue:
        """The queue of that name, with room for maxsize items (1 to 131,072, default 1,024).

        acknowledge: items must be acknowledged; those that a process took and did not acknowledge
        before it died are delivered again. See `Queue`.
        """
        return queues.open_queue(self._handle, name, maxsize, acknowledge, self._hidden_region)

    def _hidden_region(self) -> Region:
        return own_region(self._handle, queues.REGION)

    def counter(self, name: str) -> Counter:
        """The counter of that name, made with value 0; see `Counter`."""
        return atomics.open_counter(self._handle, name)

    def atomic(
        self, name: str, dtype: Any = None, shape: int | tuple[int, ...] | None = None
    ) -> AtomicArray:
        """The array of atomic numbers of that name, made with zeros; see `AtomicArray`.

        dtype: default "int64". shape: default (), one number.
        """
        return atomics.open_atomic(self._handle, name, dtype, shape)
