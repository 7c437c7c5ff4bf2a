"""Tasks of tasks: the node's part. Requests go to the owner, who schedules; see nesting.py.

A thread that waits for an outcome runs other tasks of tasks meanwhile, so that nodes which all wait
for each other still get everything done. Who waits otherwise (`as_completed`, `concurrent.futures.
wait`, an event loop, a lock) is served by a thread of our own, which takes in what comes as soon as
nobody else does. It never runs a task itself: one that comes gets a thread, and the next one only
when all of these wait in their turn, so there are at most as many as tasks are nested deep.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from dsm_native._native.lane import Function, Gathering, Task
from dsm_native._native.mailbox import PICKLE, REPLY_ERROR, REQUEST
from dsm_native._native.settling import settle_task
from dsm_native._native.station import Station
from dsm_native.callbacks import Callbacks
from dsm_native.exceptions import ClosedError, UsageError
from dsm_native.functions import Functions
from dsm_native.parcels import Parcels
from dsm_native.placement import node_of
from dsm_native.region import Region

DEPTH_MAX = 100
CANCELLED_AT_ONCE = 1000
SLICE_S = 0.05
GRACE_S = 0.002  # who waits for his own outcome begins to within that time

Entry = tuple[int, int, int, int, Any]  # a task as the station passes it


class _Thread(threading.local):
    """What a thread of the node is doing."""

    depth = 0  # waits that stand on each other
    run: _Run | None = None  # if it is one of those that _Run stands for


class _Run:
    """A thread that runs tasks of tasks, beside the main one."""

    def __init__(self) -> None:
        self.asked: set[int] = set()  # serials of what its task waits for, or may


class _Answer:
    """The sink of a question that is no task."""

    given = False
    value: Any = None

    def settle(self, _task: Task, _good: bool, value: Any) -> None:
        self.value, self.given = value, True


class Requester:
    """What a node's process has instead of a scheduler; the same calls as far as tasks need.

    Any threads of a task may use it. Whoever holds `_leader` takes in what comes.
    """

    def __init__(self, station: Station, parcels: Parcels) -> None:
        self.station = station
        self.parcels = parcels
        self.functions = Functions(lambda data: (data, PICKLE, None))
        self._asked: dict[int, Task] = {}
        self._thread = _Thread()
        self._runs: set[_Run] = set()
        self._leader = threading.Lock()
        self._news = threading.Condition()  # an outcome has come
        self._wanted = threading.Event()  # something was asked for
        self._helper: threading.Thread | None = None
        self._callbacks = Callbacks()

    def check_open(self) -> None:
        """The station tells when the cluster has stopped."""

    def stop(self) -> None:
        """The station tells when the cluster has stopped."""

    def close(self, wait: bool) -> None:
        """Nothing of it outlives the process."""

    def submit(self, tasks: Iterable[Task]) -> None:
        """Asks the owner to run the tasks. UsageError when too many tasks wait for tasks."""
        if len(self._runs) >= DEPTH_MAX:
            raise self._too_deep()
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
            if self._thread.run is not None:
                self._thread.run.asked.add(task.serial)
            self.station.send(REQUEST, payload_codec, 0, 0, task.serial, payload)
        if self._helper is None:
            self._helper = threading.Thread(target=self._help, name="dsm answers", daemon=True)
            self._helper.start()
        self._wanted.set()

    def answered(self, kind: int, codec: int, serial: int, value: Any) -> None:
        """The owner's reply to a request."""
        task = self._asked.pop(serial, None)
        for run in list(self._runs):
            run.asked.discard(serial)
        outcome = self.parcels.outcome(codec, value, kind != REPLY_ERROR)
        if codec >= PICKLE:
            self.parcels.drop(Parcels.keys_of(codec, value))
        if task is not None:
            settle_task(task, *outcome)
        with self._news:
            self._news.notify_all()

    def wait_until(
        self,
        done: Callable[[], bool],
        timeout: float | None,
        condition: threading.Condition | None = None,
    ) -> bool:
        """Runs tasks of tasks until `done()`; False when the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._thread.depth >= DEPTH_MAX:
            raise self._too_deep()
        self._thread.depth += 1
        try:
            while not done():
                left = SLICE_S if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._wait(done, min(left, SLICE_S))
            return True
        finally:
            self._thread.depth -= 1

    def _too_deep(self) -> UsageError:
        return UsageError(f"tasks wait for tasks {DEPTH_MAX} deep on node {self.station.node}")

    def _wait(self, done: Callable[[], bool], left: float) -> None:
        # Leads if nobody does, and the main thread is not at its post; for a slice, or a task.
        entry: Any = None
        if self.station.inside and self._leader.acquire(blocking=False):
            try:
                entry = self.station.receive(True)
                if not entry and not done() and left == SLICE_S:
                    self.station.wait(1)
            finally:
                self._leader.release()
            if isinstance(entry, tuple):
                self.station.run_now(entry)
            elif not entry and left < SLICE_S:
                self._follow(done, min(left, GRACE_S))
        else:
            self._follow(done, left)

    def _follow(self, done: Callable[[], bool], left: float) -> None:
        with self._news:
            if not done():
                self._news.wait(left)

    # ---- the thread that serves who waits by other means ----------------------------------------

    def _help(self) -> None:
        try:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                while self._asked:
                    time.sleep(GRACE_S)
                    self._lead()
        except ClosedError:
            pass  # the main thread ends the process

    def _lead(self) -> None:
        """Takes in what comes while anything is asked for, unless somebody else does."""
        if not self._leader.acquire(blocking=False):
            with self._leader:  # until that one has gone
                return
        try:
            while self._asked and self.station.inside:
                entry = self.station.receive(self._all_wait())
                if isinstance(entry, tuple):
                    run = _Run()
                    self._runs.add(run)
                    threading.Thread(target=self._run, args=(run, entry), daemon=True).start()
                elif not entry:
                    self.station.wait(1)
        finally:
            self._leader.release()
        if not self.station.inside:
            self._follow(lambda: not self._asked, SLICE_S)

    def _all_wait(self) -> bool:
        """Whether all tasks that have a thread of their own may be waiting for others."""
        return all(run.asked for run in list(self._runs))

    def _run(self, run: _Run, entry: Entry) -> None:
        self._thread.run = run
        try:
            self.station.run_now(entry)
            while self.station.inside and all(other.asked for other in self._runs - {run}):
                self.station.run_now(self.station.nested.popleft())
        except (ClosedError, IndexError):
            pass  # the main thread ends the process; there are no more tasks
        finally:
            self._runs.discard(run)

    def place(self, node: int | None, near: Any, region: Region | None) -> int:
        """The number of the node asked for, -1 for any."""
        return node_of(self.station.handle, node, near, region)

    def withdraw(self, task: Task) -> bool:
        """Asks the owner to take the task back; whether it had not begun. Waits for the answer."""
        if task.serial not in self._asked:
            return False
        answer = _Answer()
        question = Task(task.function, answer, -1, b"", PICKLE, 0, -1, 0.0)
        self._asked[question.serial] = question
        self._take_back([task], question.serial)
        self.wait_until(lambda: answer.given, None)
        if answer.value is True:
            self._asked.pop(task.serial, None)
            task.sink = None
        return answer.value is True

    def _take_back(self, tasks: list[Task], serial: int) -> None:
        payload, codec, _ = self.parcels.encode([task.serial for task in tasks])
        self.station.send(REQUEST, codec, 0, 0, serial, payload)
        self._wanted.set()

    def running(self, task: Task) -> bool:
        """Whether it has begun, as far as this node knows."""
        return task.serial in self._asked

    def calls(self) -> queue.SimpleQueue[Any]:
        """Callbacks run in a thread of their own: they may wait for other tasks."""
        return self._callbacks.calls()

    def cancel(self, gathering: Gathering, error: BaseException) -> None:
        """Takes back what has not begun of a map; nobody hears of the rest."""
        tasks = self.unfinished(gathering)
        for task in tasks:
            settle_task(task, False, error)
        for first in range(0, len(tasks), CANCELLED_AT_ONCE):
            self._take_back(tasks[first : first + CANCELLED_AT_ONCE], 0)

    def unfinished(self, gathering: Gathering) -> list[Task]:
        """Tasks of a map that have not been answered."""
        return [task for task in list(self._asked.values()) if task.sink is gathering]

    def forget_surplus(self) -> None:
        """Requests carry their functions, so only our own list is shortened."""
        self.functions.surplus()
