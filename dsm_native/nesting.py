"""Tasks of tasks: the owner's part. A node asks for something to be run, and goes on meanwhile.

A request carries its function by value and its arguments as they were encoded, and the answer comes
back as it was encoded on the node that ran it: the owner looks into neither. Requests stand before
other queued tasks, so that what has begun is finished before more is begun.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from dsm_native._native.lane import Task
from dsm_native._native.mailbox import ERROR, PICKLE, REFUSED, REPLY, REPLY_ERROR
from dsm_native.exceptions import ClosedError
from dsm_native.outcomes import failure
from dsm_native.parcels import STORED, Parcels

if TYPE_CHECKING:
    from dsm_native.scheduler import Scheduler


class Nested:
    """The sink of a task that a node asked for."""

    def __init__(self, requests: Requests, node: int, serial: int) -> None:
        self.requests, self.node, self.serial = requests, node, serial

    def forward(self, task: Task) -> None:
        """Sends the outcome on, as it came."""
        codec, payload = task.outcome_codec, task.outcome
        if task.kind == REFUSED:
            self.settle(task, *self.requests.scheduler.outcome(task))
            return
        if codec < PICKLE:
            codec = 0  # a plain value is encoded again
        elif codec in STORED:
            self.requests.kept.update(Parcels.keys_of(codec, payload) or ())
        kind = REPLY_ERROR if task.kind == ERROR else REPLY
        self.requests.reply(self.node, kind, codec, self.serial, payload)

    def settle(self, task: Task, good: bool, value: Any) -> None:
        """Sends an error of the owner's own on."""
        with contextlib.suppress(ClosedError):  # the cluster's end is that of the node, too
            payload, codec, _ = self.requests.scheduler.parcels.encode(failure(value))
            self.requests.reply(self.node, REPLY_ERROR, codec, self.serial, payload)


class Requests:
    """What nodes have asked for. For the thread that hands out (scheduler.py)."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.kept: set[bytes] = set()  # results that were passed on and may not have been read
        self._asked: dict[int, dict[int, Task]] = {}
        self._replies: dict[int, deque[tuple[Any, ...]]] = {}

    def take(self, node: int, serial: int, codec: int, payload: bytes) -> None:
        """Queues what a node asks for."""
        scheduler = self.scheduler
        if serial in self._asked.get(node, ()):
            return  # it was interrupted when it had been taken
        sink = Nested(self, node, serial)
        request = scheduler.parcels.decode(codec, payload)
        if isinstance(request, list):
            self._take_back(node, serial, request)
            return
        data, name, body, body_codec, setup, settings = request
        begin = scheduler.functions.numbered(setup, None, "initializer") if setup else None
        function = scheduler.functions.numbered(data, begin, name)
        task = Task(
            function,
            sink,
            serial,
            body,
            body_codec,
            settings["retries"],
            settings["node"],
            settings["timeout"],
        )
        task.parcels = Parcels.keys_of(body_codec, body) if body_codec else None
        task.nested = True
        self._asked.setdefault(node, {})[serial] = task
        with contextlib.suppress(ClosedError):
            scheduler.check_open()
            scheduler.submit([task])
        scheduler.parcels.drop(Parcels.keys_of(codec, payload))

    def _take_back(self, node: int, serial: int, serials: list[int]) -> None:
        """Cancels what a node had asked for; says whether all of it, if it asks by a serial."""
        asked = self._asked.get(node, {})
        found = [asked[number] for number in serials if number in asked]
        taken = [task for task in found if self.scheduler.withdraw(task)]
        for task in taken:
            self.scheduler.parcels.drop(task.parcels)
            asked.pop(task.index, None)
        if serial:
            self.reply(node, REPLY, 0, serial, len(taken) == len(serials))

    def asked_by(self, node: int) -> bool:
        """Whether the node has asked for something that is not answered."""
        return bool(self._asked.get(node))

    def reply(self, node: int, kind: int, codec: int, serial: int, payload: Any) -> None:
        """Sends an answer, or keeps it until there is room."""
        self._asked.get(node, {}).pop(serial, None)
        self._replies.setdefault(node, deque()).append((kind, codec, 0, serial, payload))
        self.flush()

    def flush(self) -> None:
        """Sends the answers that had no room."""
        for node, replies in self._replies.items():
            while replies and self.scheduler.lanes[node].tell(*replies[0]):
                replies.popleft()

    def forget(self, node: int) -> None:
        """A node has died: nobody waits for what it had asked for."""
        self._replies.pop(node, None)
        for task in self._asked.pop(node, {}).values():
            if not self.scheduler.withdraw(task):
                task.sink = None

    def forwarded(self) -> set[bytes]:
        """Results that were passed on and not yet read."""
        region = self.scheduler.parcels.region if self.kept else ()
        self.kept = {key for key in self.kept if key in region}
        return self.kept
