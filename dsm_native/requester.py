"""Tasks of tasks: the node's part. Requests go to the owner, who schedules; see nesting.py.

A thread that waits for an outcome runs other tasks of tasks meanwhile, so that nodes which all wait
for each other still get everything done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from dsm_native._native.lane import Function, Gathering, Task
from dsm_native._native.mailbox import PICKLE, REPLY_ERROR, REQUEST
from dsm_native._native.station import Station
from dsm_native.exceptions import UsageError
from dsm_native.functions import Functions
from dsm_native.outcomes import failure_of
from dsm_native.parcels import Parcels
from dsm_native.placement import node_of
from dsm_native.region import Region

DEPTH_MAX = 100


class Requester:
    """What a node's process has instead of a scheduler; the same calls as far as tasks need."""

    def __init__(self, station: Station, parcels: Parcels) -> None:
        self.station = station
        self.parcels = parcels
        self.functions = Functions(lambda data: (data, PICKLE, None))
        self._asked: dict[int, Task] = {}
        self._depth = 0

    def check_open(self) -> None:
        """The station tells when the cluster has stopped."""

    def stop(self) -> None:
        """The station tells when the cluster has stopped."""

    def close(self, wait: bool) -> None:
        """Nothing of it outlives the process."""

    def submit(self, tasks: Iterable[Task]) -> None:
        """Asks the owner to run the tasks."""
        for task in tasks:
            function = task.function
            setup: Function | None = function.setup
            settings = {"retries": task.retries, "node": task.node, "timeout": task.timeout}
            body, codec = task.body, task.codec
            request = (
                *(function.payload, function.name, body, codec),
                *(setup and setup.payload, settings),
            )
            payload, payload_codec, _ = self.parcels.encode(request)
            self._asked[task.serial] = task
            self.station.send(REQUEST, payload_codec, 0, 0, task.serial, payload)

    def answered(self, kind: int, codec: int, serial: int, value: Any) -> None:
        """The owner's reply to a request."""
        task = self._asked.pop(serial, None)
        good = kind != REPLY_ERROR
        if codec >= PICKLE:
            keys = Parcels.keys_of(codec, value)
            try:
                value = self.parcels.decode(codec, value)
            except Exception as error:
                good, value = False, error
            else:
                value = value if good else failure_of(*value)
            self.parcels.drop(keys)
        if task is not None and task.sink is not None:
            sink, task.sink = task.sink, None
            sink.settle(task, good, value)

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Runs tasks of tasks until `done()`; False when the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._depth >= DEPTH_MAX:
            raise UsageError(f"tasks wait for tasks {DEPTH_MAX} deep on node {self.station.node}")
        self._depth += 1
        try:
            while not done():
                if not self.station.step(True):
                    if deadline is not None and time.monotonic() >= deadline:
                        return False
                    self.station.wait(1)
            return True
        finally:
            self._depth -= 1

    def place(self, node: int | None, near: Any, region: Region | None) -> int:
        """The number of the node asked for, -1 for any."""
        return node_of(self.station.handle.node_count, node, near, region)

    def withdraw(self, task: Task) -> bool:
        """What was asked for is not taken back."""
        return False

    def running(self, task: Task) -> bool:
        """Whether it has begun, as far as this node knows."""
        return task.serial in self._asked

    def defer(self, call: Callable[[], None]) -> bool:
        """Callbacks run at once."""
        return False

    def cancel(self, gathering: Gathering, error: BaseException) -> None:
        """Nobody hears of the rest of a map."""
        for task in self._asked.values():
            if task.sink is gathering:
                task.sink = None

    def unfinished(self, gathering: Gathering) -> list[Task]:
        """Tasks of a map that have not been answered."""
        return [task for task in self._asked.values() if task.sink is gathering]

    def forget_surplus(self) -> None:
        """Requests carry their functions, so only our own list is shortened."""
        self.functions.surplus()
