"""Queues that processes share by name, with the interface of `queue.Queue`.

First in, first out; any number of producers and consumers. A put or a get of a process that is
killed happened or did not. With `acknowledge=True` what a killed process had taken and not
acknowledged is delivered again, so that each item is dealt with at least once; without it, at most
once: a killed process takes what it got with it, and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

from dsm_native import waiting
from dsm_native._native.handle import Handle
from dsm_native._native.queue import MAXSIZE_MAX, QueueCore
from dsm_native.exceptions import (
    ForkedError,
    KeyNotFoundError,
    QueueEmptyError,
    QueueFullError,
    UsageError,
)
from dsm_native.region import Region
from dsm_native.settings import OWN_REGIONS, check_count, check_object_name
from dsm_native.sync import agree, made_again

MAXSIZE = 1024
REGION = OWN_REGIONS + "queues"  # holds the items that are too large for the ring

_serial = itertools.count()
_MISSING = object()


class Delivery:
    """An item that was taken and is to be acknowledged: `item`, `times`, `ack`, `give_back`.

    As a context manager it acknowledges at the end of the block, and gives the item back if the
    block raises. `times` is how often the item was delivered, this time included.
    """

    __slots__ = ("_key", "_open", "_pid", "_place", "_queue", "_receipt", "item", "times")

    def __init__(self, queue: Queue, fields: tuple[Any, ...]) -> None:
        self.item, self._place, self._receipt, self.times, self._key = fields
        self._queue, self._open, self._pid = queue, True, os.getpid()

    def ack(self) -> None:
        """The item has been dealt with. NotOwnerError if it is delivered to another by now."""
        self._close()
        self._queue._acknowledge(self._place, self._receipt, self._key)

    def give_back(self) -> None:
        """The item will be the next one to be taken, by whomever."""
        self._close()
        self._queue.settle(self._place, self._receipt, False)

    def _close(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(
                f"the item was taken by process {self._pid}; this is its forked child {os.getpid()}"
            )
        if not self._open:
            raise UsageError("the item was acknowledged or given back already")
        self._open = False

    def __enter__(self) -> Any:
        return self.item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open and kind is None:
            self.ack()
        elif self._open:
            self.give_back()


class Queue(QueueCore):
    """A bounded queue by name, as `queue.Queue`. Made by `Cluster.queue`.

    With acknowledgement: `with queue.take() as item:` or `get` and `task_done` (which acknowledges
    this thread's oldest open item); at most maxsize items may be open at once. Without: a `get` of
    a process that is killed loses at most the item that it was taking, and `join` counts the
    `task_done` of the living only.
    """

    def __init__(
        self,
        handle: Handle,
        name: str,
        maxsize: int,
        acknowledge: bool,
        region: Callable[[], Region],
    ) -> None:
        super().__init__(handle, name, maxsize, acknowledge)
        self._open_region = region
        self._pid = os.getpid()

    # ---- items that are too large for the ring ------------------------------------------------

    def put_large(self, item: Any, block: bool, timeout: float | None) -> None:
        """Puts the item into the hidden region, and its key into the ring."""
        key = f"{self.index}.{os.getpid()}.{next(_serial)}.{os.urandom(4).hex()}"
        region = self._open_region()
        region.put(key, item)
        try:
            self.put_reference(key.encode(), block, timeout)
        except BaseException:
            self.discard_large(key)
            raise

    def fetch_large(self, key: bytes) -> tuple[bool, Any]:
        """The item, which leaves the region unless it is still to be acknowledged."""
        region, text = self._open_region(), key.decode()
        try:
            return True, region[text] if self.acknowledge else region.pop(text)
        except KeyNotFoundError:
            return False, None

    def discard_large(self, key: str) -> None:
        """Removes an item, without unpickling it."""
        with contextlib.suppress(KeyNotFoundError):
            self._open_region().delete(key)

    def _acknowledge(self, place: int, receipt: int, key: bytes | None) -> None:
        if key is not None:
            self.discard_large(key.decode())
        self.settle(place, receipt, True)

    def remove_orphans(self) -> int:
        """Removes what producers left that were killed between the two steps of a put; how many.

        Nothing is removed unless the queue is seen empty after the dead were found out: a dead
        producer refers to nothing any more, and an empty queue to nothing at all.
        """
        if REGION not in self.handle.region_names():
            return 0
        region = self._open_region()
        if len(region) == 0:
            return 0
        alive = {entry["pid"] for entry in self.handle.participants() if entry["alive"]}
        mine = [key.split(".") for key in region if key.startswith(f"{self.index}.")]
        orphans = [".".join(parts) for parts in mine if int(parts[1]) not in alive]
        waiting_now, unfinished = self.counts()
        if unfinished if self.acknowledge else waiting_now:
            return 0
        for key in orphans:
            self.discard_large(key)
        return len(orphans)

    # ---- the interface of queue.Queue -----------------------------------------------------------

    def put_nowait(self, item: Any) -> None:
        """As `put(item, block=False)`."""
        self.put(item, False)

    def get_nowait(self) -> Any:
        """As `get(block=False)`."""
        return self.get(False)

    def take(self, block: bool = True, timeout: float | None = None) -> Delivery:
        """Takes the first item, to be acknowledged; for queues with acknowledgement."""
        self._acknowledged()
        return Delivery(self, self.take_fields(block, timeout))

    def task_done(self) -> None:
        """One item that this thread got has been dealt with. UsageError (a ValueError) if none is
        left."""
        if not self.acknowledge:
            self.count_done()
            return
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self.forget_open()
            raise ForkedError(f"what was got from queue {self.name!r} is the parent process's")
        self._acknowledge(*self.next_open())

    def join(self, timeout: float | None = None) -> bool:
        """Waits until every item that was put is done; False after `timeout` seconds."""
        return self.finished() or bool(self.await_finished(timeout))

    def qsize(self) -> int:
        """Items that wait to be taken, those to be delivered again included."""
        return int(self.counts()[0])

    @property
    def unfinished_tasks(self) -> int:
        """Items that were put and are not done."""
        return int(self.counts()[1])

    def empty(self) -> bool:
        """Whether no item waits to be taken, as of about now."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether a put would wait, as of about now."""
        return self.qsize() >= self.maxsize

    def _acknowledged(self) -> None:
        if not self.acknowledge:
            raise UsageError(f"queue {self.name!r} has no acknowledgement; use get()")

    # ---- in an event loop -----------------------------------------------------------------------

    async def put_async(self, item: Any, timeout: float | None = None) -> None:
        """As `put`, in an event loop."""

        def attempt() -> bool:
            try:
                self.put(item, False)
            except QueueFullError:
                return False
            return True

        if not attempt() and not await waiting.until(self, 1, attempt, timeout):
            raise QueueFullError(f"queue {self.name!r} has {self.maxsize} items")
        if not self.full():
            self.pass_on(1)

    async def _get_async(self, get: Callable[[bool], Any], timeout: float | None) -> Any:
        got = _MISSING

        def attempt() -> bool:
            nonlocal got
            try:
                got = get(False)
            except QueueEmptyError:
                return False
            return True

        if not attempt() and not await waiting.until(self, 0, attempt, timeout):
            raise QueueEmptyError(f"queue {self.name!r} has no item")
        if not self.empty():
            self.pass_on(0)
        return got

    async def get_async(self, timeout: float | None = None) -> Any:
        """As `get`, in an event loop."""
        return await self._get_async(self.get, timeout)

    async def take_async(self, timeout: float | None = None) -> Delivery:
        """As `take`, in an event loop."""
        delivery: Delivery = await self._get_async(self.take, timeout)
        return delivery

    async def join_async(self, timeout: float | None = None) -> bool:
        """As `join`, in an event loop."""
        return await waiting.until(self, 1, self.finished, timeout)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}, {self.qsize()} of at most {self.maxsize} items>"

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.handle.name, "queue", self.name, self.maxsize, self.acknowledge)
        return made_again, arguments


def open_queue(
    handle: Handle,
    name: str,
    maxsize: int | None,
    acknowledge: bool | None,
    region: Callable[[], Region],
) -> Queue:
    """Opens or makes the queue; UsageError if it exists with other settings."""
    room = MAXSIZE if maxsize is None else check_count("maxsize", maxsize, 1, MAXSIZE_MAX)
    made = Queue(handle, check_object_name(name), room, bool(acknowledge), region)
    has = bool(made.acknowledge)
    agree("queue", name, maxsize=(maxsize, made.maxsize), acknowledge=(acknowledge, has))
    made.remove_orphans()
    return made
