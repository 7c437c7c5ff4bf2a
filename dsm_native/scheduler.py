"""The owner's scheduler: which task goes to which node, and what becomes of its outcome.

Tasks wait in the backlog. Each node has a short window of tasks under way, which keeps it busy for
a moment; when a node runs dry, tasks that another has not begun are taken back for it.

Threads. Whoever waits for a result becomes the leader, if there is none, and takes from the rings
what comes, for all. When nobody waits, the collector's thread does; it alone deals with the ends
and time-outs of nodes (`upkeep`). Callbacks of futures run in a third thread. Queues and lanes
change by single calls that no other thread and no interrupt can see half done.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.lane import Bell, Gathering, Lane, Task, deliver
from dsm_native._native.mailbox import ERROR, PICKLE, READY, REFUSED, REQUEST, SETTING
from dsm_native._native.settling import settle_task
from dsm_native.backlog import Backlog
from dsm_native.callbacks import Callbacks
from dsm_native.exceptions import ClosedError, CorruptError, ForkedError, InitializerError
from dsm_native.functions import Functions
from dsm_native.leadership import Leadership
from dsm_native.losses import given_up, lost
from dsm_native.nesting import Nested, Requests
from dsm_native.parcels import Parcels
from dsm_native.placement import node_of
from dsm_native.region import Region
from dsm_native.upkeep import Upkeep
from dsm_native.workers import END_TIMEOUT_S, Worker

BUSY_S = 0.002  # how long a window should keep its node busy
IDLE_SLICES = 20
LARGE_WINDOW = 256

_schedulers: weakref.WeakSet[Scheduler] = weakref.WeakSet()


def _disown() -> None:
    for scheduler in list(_schedulers):
        scheduler._foreign = True


os.register_at_fork(after_in_child=_disown)


class Scheduler:
    """The nodes' processes and everything that is to run on them. Made by the owner's cluster."""

    def __init__(self, handle: Handle, count: int, replaces: bool = True, *options: str) -> None:
        self._handle = handle
        self._foreign = False  # in a forked child: the mailboxes are the parent's alone
        _schedulers.add(self)
        self.parcels = Parcels(handle, f"owner-{os.getpid()}")
        self.functions = Functions(self.parcels.encode_function)
        self.upkeep = Upkeep(self, handle, count, replaces, options)
        self.workers = self.upkeep.workers
        self.lanes = [Lane(handle, node) for node in range(count)]
        self._backlog = Backlog(self.workers)
        self._bell = self.lanes[0]
        self._second = Bell(handle)
        self._arrived: deque[Any] = deque()
        self._turn = threading.RLock()  # held while records are taken and handed out
        self._leading = 0  # the thread that hands out
        self._leadership = Leadership(self._bell)
        self._requests = Requests(weakref.proxy(self))  # no cycle: see _collect
        self._callbacks = Callbacks()
        self._path: list[str] = []  # the module path as the nodes were told
        self._closed = ""  # why no more tasks are taken
        self._collector: threading.Thread | None = None
        self._start_all()

    # ---- starting and ending -------------------------------------------------------------------

    def _start_all(self) -> None:
        try:
            self.upkeep.start_all()
        except BaseException:
            self._handle.stop()
            self.close(wait=True)
            raise
        self._collector = threading.Thread(
            target=_collect,
            args=(weakref.ref(self), self._second),
            name=f"dsm collector of {self._handle.name}",
            daemon=True,
        )
        self._collector.ends_with_cluster = True  # type: ignore[attr-defined]
        self._collector.start()

    def stop(self) -> None:
        """Takes no more tasks, replaces no more nodes, and ends the collector's thread."""
        self._closed = f"cluster {self._handle.name!r} was closed"
        self._second.over = True
        self._bell.wake_second()
        if self._collector not in (None, threading.current_thread()):
            self._collector.join(END_TIMEOUT_S)

    def close(self, wait: bool) -> None:
        """Ends (or, without `wait`, lets go of) the nodes; what is not done ends in ClosedError."""
        self.stop()
        self.upkeep.end_all(wait)
        with self._turn:
            self._fail(self._everything(), ClosedError(f"{self._closed} before the task was done"))
        self._callbacks.close()

    def _everything(self) -> list[Task]:
        arrived = [entry for entry in self._arrived if isinstance(entry, Task)]
        return [*self._backlog.take_all(), *arrived, *self._under_way()]

    def _fail(self, tasks: Iterable[Task], error: BaseException) -> None:
        for task in tasks:
            settle_task(task, False, error)

    # ---- handing out ---------------------------------------------------------------------------

    def check_process(self) -> None:
        """ForkedError in a forked child."""
        if self._foreign:
            raise ForkedError(
                f"process {os.getpid()} was forked from the one that started the cluster; tasks "
                f"are submitted and awaited there"
            )

    def check_running(self) -> None:
        """ClosedError if no more tasks are taken."""
        if self._closed:
            raise ClosedError(self._closed)

    def check_open(self) -> None:
        """ClosedError if no more tasks are taken; ForkedError in a forked child."""
        self.check_process()
        self.check_running()
        if self.upkeep.nobody_left():
            self.upkeep.try_again()
            self._bell.wake_second()
        if sys.path != self._path:
            self._follow_path()

    def submit(self, tasks: Iterable[Task]) -> None:
        """Queues tasks and sends what the windows admit."""
        for task in tasks:
            self._backlog.add(task)
        self.feed()
        for worker in self.workers:
            if worker.forsaken:
                self.judge(worker)
        if self._closed:  # closed since the caller's look
            self._fail(self._everything(), ClosedError(self._closed))

    def feed(self) -> None:
        """Sends queued tasks: first one to each idle node, then up to the windows."""
        nested, common, bound = self._backlog.nested, self._backlog.common, self._backlog.bound
        if nested:
            for lane in sorted(self.lanes, key=lambda lane: lane.in_flight):
                # One that is busy and waits for nobody would not begin it.
                begins = not lane.in_flight or self._requests.asked_by(lane.node)
                if nested and self.workers[lane.node].serves and begins:
                    lane.offer_nested(nested)
        for limit in (1, LARGE_WINDOW):
            for lane in self.lanes:
                if self.workers[lane.node].serves:
                    if bound[lane.node]:
                        lane.offer_nested(bound[lane.node])
                        lane.offer(bound[lane.node], limit)
                    if common:
                        lane.offer(common, limit)

    def _balance(self) -> None:
        serving = [lane for lane in self.lanes if self.workers[lane.node].serves]
        if self._backlog.common or all(lane.in_flight for lane in serving):
            return
        fullest = max(self.lanes, key=lambda lane: lane.in_flight)
        if fullest.in_flight > 1:
            self._backlog.common.extend(fullest.reclaim((fullest.in_flight + 1) // 2))
            self.feed()

    def place(self, node: int | None, near: Any, region: Region | None) -> int:
        """The number of the node asked for, -1 for any."""
        return node_of(self._handle, node, near, region)

    def withdraw(self, task: Task) -> bool:
        """Whether the task had not begun; then it never will."""
        return not self._foreign and self.lanes[task.lane].withdraw(task)

    def running(self, task: Task) -> bool:
        """Whether a node has begun the task."""
        return self.lanes[task.lane].begun(task)

    # ---- taking in -----------------------------------------------------------------------------

    def pump(self) -> None:
        """Takes what has come, hands it out, sends what there is room for. Does not wait."""
        if self._foreign:
            return
        with self._turn:
            before, self._leading = self._leading, threading.get_ident()
            try:
                for lane in self.lanes:
                    try:
                        if lane.take(self._arrived):
                            lane.adapt(BUSY_S)
                    except CorruptError:  # its successor's mailbox is empty
                        self.upkeep.kill(self.workers[lane.node])
                deliver(self._arrived, self._settle)
            finally:
                self._leading = before
            self._leadership.tell()
            if self._backlog:
                self.feed()
            self._balance()
            self._requests.flush()

    # An interrupt may come anywhere in these, and then they are called again with the same entry:
    # what cannot be done twice comes last, and the outcome leaves the task when it has arrived.

    def _settle(self, entry: Any) -> None:
        if not isinstance(entry, Task):
            self._heard(*entry)
            return
        task, sink = entry, entry.sink
        if isinstance(sink, Nested):
            sink.forward(task)
            task.sink = None
        elif sink is not None:
            settle_task(task, *self.outcome(task))
        if not isinstance(sink, Nested):
            self.parcels.drop(Parcels.keys_of(task.outcome_codec, task.outcome))
        self.parcels.drop(task.parcels)

    def outcome(self, task: Task) -> tuple[bool, Any]:
        """What an answered task came to: whether it is a result; the result or the exception."""
        good, value = self.parcels.outcome(task.outcome_codec, task.outcome, task.kind != ERROR)
        if task.kind == REFUSED and good:
            why = f"the initializer failed on node {task.lane}:\n{value}"
            return False, InitializerError(why)
        return good, value

    def _heard(
        self, node: int, kind: int, codec: int, slot: int, function: int, serial: int, value: Any
    ) -> None:
        if kind == READY:
            self._tell_path(node)
            self.workers[node].ready = True
            self.feed()
        elif kind == REQUEST:
            self._requests.take(node, serial, codec, value)

    def _tell_path(self, node: int) -> bool:
        setting = (sys.path, os.environ.get("PYTHONPATH"))
        told: bool = self.lanes[node].tell(SETTING, PICKLE, 0, 0, self.parcels.encode(setting)[0])
        return told

    def _follow_path(self) -> None:
        """Tells the nodes of a module path that has changed since they were last told."""
        path = [*sys.path]
        ready = [worker.node for worker in self.workers if worker.ready]
        if all(self._tell_path(node) for node in ready):  # otherwise again at the next call
            self._path = path

    def calls(self) -> queue.SimpleQueue[Any] | None:
        """The queue of the callbacks' thread, if this thread is the one that hands out results."""
        if self._leading != threading.get_ident():
            return None
        return self._callbacks.calls()

    # ---- waiting -------------------------------------------------------------------------------

    def wait_until(
        self,
        done: Callable[[], bool],
        timeout: float | None,
        condition: threading.Condition | None = None,
    ) -> bool:
        """Waits, taking in results for everybody if nobody else does, until `done()`.

        False when the time is over. `condition` is notified when `done()` may have become true;
        without it, whoever takes in results tells of each.
        """
        return self._leadership.wait_until(self, done, timeout, condition)

    def collect(self) -> tuple[int, int]:
        """One round of the collector: the deaths that it knows of, and how long it may wait."""
        deaths = self._bell.deaths()
        self.upkeep.look_around()
        if not self._leadership.taken():
            self.pump()
        watchful = self.upkeep.waits_for_one() or any(lane.timed for lane in self.lanes)
        return deaths, 1 if watchful else IDLE_SLICES

    def give_up(self, error: BaseException) -> None:
        """Without a collector, nodes are not replaced: ends all tasks, and takes no more."""
        self._closed = f"cluster {self._handle.name!r} can run no more tasks: {error!r}"
        with self._turn:
            self._fail(self._everything(), ClosedError(self._closed))

    def closed(self) -> bool:
        """Whether no more tasks are taken."""
        return bool(self._closed)

    # ---- what ends, comes and goes: for the upkeep ----------------------------------------------

    def bury(self, worker: Worker) -> None:
        """A process has ended: what it had begun counts a try, and what it had not is queued."""
        lane = self.lanes[worker.node]
        with self._turn:
            with contextlib.suppress(CorruptError):
                lane.take(self._arrived)
            deliver(self._arrived, self._settle)
            late, pid = worker.late, worker.pid
            worker.bury()
            begun, queued = lane.abandon()
            self._requests.forget(worker.node)
            for task in reversed(queued):
                self._backlog.put_back(task)
            for task in reversed(begun):
                task.tries += late is None or task is late
                if task.tries > task.retries:
                    self._fail([task], lost(task, worker, late))
                    self.parcels.drop(task.parcels)
                else:
                    self._backlog.put_back(task)
            self.parcels.drop_of(f"{worker.node}-{pid}", self._requests.forwarded())

    def judge(self, worker: Worker) -> None:
        """Fails the tasks that wait for a node that cannot be started."""
        if not worker.given_up:
            return
        tasks = self._backlog.take_bound(worker.node)
        if self.upkeep.nobody_left():
            tasks += self._backlog.take_free()
        self._fail(tasks, given_up(worker))

    def admit(self, worker: Worker) -> None:
        """A node id that has never been: its queue, its worker, its lane."""
        self._backlog.bound.append(deque())
        self.workers.append(worker)
        self.lanes.append(Lane(self._handle, worker.node))

    def release(self, worker: Worker) -> None:
        """What a node that is removed has not begun runs elsewhere."""
        with self._turn:
            lane, bound = self.lanes[worker.node], self._backlog.take_bound(worker.node)
            for task in [*lane.under_way(), *bound]:
                task.node = -1
            self._backlog.common.extend([*lane.reclaim(1 << 30), *bound])
            self.feed()

    # ---- maps ----------------------------------------------------------------------------------

    def cancel(self, gathering: Gathering, error: BaseException) -> None:
        """Takes back what has not begun of a map; the rest runs on, and nobody hears of it."""
        if self._foreign:
            return
        queued = [*self._backlog.common, *self._under_way()]
        for task in [task for task in queued if task.sink is gathering]:
            if self.withdraw(task):
                gathering.settle(task, False, error)
                self.parcels.drop(task.parcels)

    def _under_way(self) -> list[Task]:
        return [task for lane in self.lanes for task in lane.under_way()]

    def unfinished(self, gathering: Gathering) -> list[Task]:
        """Tasks of a map that have begun and not been answered."""
        return [task for task in self._under_way() if task.sink is gathering]

    def forget_surplus(self) -> None:
        """Lets the nodes drop functions that nobody has used for long."""
        for entry in self.functions.surplus():
            for lane in self.lanes:
                lane.forget(entry)


def _collect(reference: weakref.ref[Scheduler], bell: Bell) -> None:
    """The collector's thread; a scheduler that nobody else refers to ends with its cluster."""
    running = True
    while running:
        scheduler = reference()
        if scheduler is None or scheduler.closed():
            break
        try:
            deaths, slices = scheduler.collect()
        except ClosedError:
            break
        except BaseException as error:
            scheduler.give_up(error)  # nobody is to wait for what will not come
            raise
        del scheduler
        running = bell.wait(deaths, slices)
    bell.release()
