"""Barriers that processes share by name. A party that dies breaks its barrier: nobody waits for it.

The interface is that of `threading.Barrier`, with an `await` form. Made by `Cluster.barrier`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from dsm_native import waiting
from dsm_native._native.handle import Handle
from dsm_native._native.rendezvous import PARTIES_MAX, BarrierCore
from dsm_native.exceptions import BrokenBarrierError, UsageError
from dsm_native.settings import check_count, check_object_name
from dsm_native.sync import agree, made_again


class Barrier(BarrierCore):
    """A barrier by name, as `threading.Barrier`.

    `action` and `timeout` are this handle's: the action of whoever arrives last is called before
    the others go on, in its process; if it raises, the barrier breaks.

    It breaks when a party dies: a process that is waiting, or that passed it the last time. (One
    that dies before its first wait is not known as a party: waits may be given a time-out.)
    """

    __slots__ = ("action", "timeout")

    def __init__(
        self,
        handle: Handle,
        name: str,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(handle, name, parties)
        self.action, self.timeout = action, timeout

    def wait(self, timeout: float | None = None) -> int:
        """Waits for all parties; returns how many had arrived before this one.

        BrokenBarrierError if it is broken, reset, or `timeout` seconds pass (default: the
        barrier's), which breaks it.
        """
        end = self._end(timeout)
        while True:
            index, generation, last = self.arrive(self.action is not None)
            if last:
                self._act(generation)
                return int(index)
            with self._broken_by_exceptions(generation):
                if not self.await_generation(generation, self._left(end)):
                    return self._given_up(index, generation)
            if index < self.parties:
                return int(index)

    async def wait_async(self, timeout: float | None = None) -> int:
        """As `wait`, in an event loop. A task that is cancelled in it breaks the barrier."""
        end = self._end(timeout)
        while True:
            index, generation, last = self.arrive(self.action is not None)
            if last:
                self._act(generation)
                return int(index)

            def passed(generation: int = generation) -> bool:
                return self.passed(generation)

            with self._broken_by_exceptions(generation):
                if not await waiting.until(self, 0, passed, self._left(end)):
                    return self._given_up(index, generation)
            if index < self.parties:
                return int(index)

    def _end(self, timeout: float | None) -> float | None:
        timeout = self.timeout if timeout is None else timeout
        return None if timeout is None else time.monotonic() + timeout

    @staticmethod
    def _left(end: float | None) -> float | None:
        return None if end is None else end - time.monotonic()

    def _act(self, generation: int) -> None:
        if self.action is not None:
            with self._broken_by_exceptions(generation):
                self.action()
            self.let_pass(generation)

    @contextlib.contextmanager
    def _broken_by_exceptions(self, generation: int) -> Iterator[None]:
        try:
            yield
        except BrokenBarrierError:
            raise
        except BaseException:
            self.break_generation(generation)
            raise

    def _given_up(self, index: int, generation: int) -> int:
        self.break_generation(generation)
        if index < self.parties and self.passed(generation):
            return index
        raise BrokenBarrierError(f"barrier {self.name!r}: the others did not come in time")

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        waiting_now, broken = self.state()
        return 0 if broken else int(waiting_now)

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self.state()[1])

    def __repr__(self) -> str:
        return f"<Barrier {self.name!r}, {self.n_waiting} of {self.parties} wait>"

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.handle.name, "barrier", self.name, self.parties)
        return made_again, (*arguments, self.action, self.timeout)


def open_barrier(
    handle: Handle,
    name: str,
    parties: int,
    action: Callable[[], object] | None,
    timeout: float | None,
) -> Barrier:
    check_count("parties", parties, 1, PARTIES_MAX)
    if action is not None and not callable(action):
        raise UsageError(f"action must be a callable or None, not {action!r}")
    made = Barrier(handle, check_object_name(name), parties, action, timeout)
    agree("barrier", name, parties=(parties, made.parties))
    return made
