"""The owner's scheduler: which task goes to which node, and what follows the end of a node.

Tasks wait in one queue, or in that of the node that they are bound to. Each node has a short window
of tasks under way, as long as keeps it busy for a moment; when a node runs dry, tasks that another
has not begun are taken back for it. Nobody waits behind somebody else's long task.

Threads. Whoever waits for a result becomes the leader, if there is none, and takes from the rings
what comes, for all. When nobody waits, the collector's thread does; it alone deals with the ends
and time-outs of nodes. Callbacks of futures run in a third thread, made when the first one comes.
Queues and lanes change by single calls that no other thread and no interrupt can see half done.

Longer than 400 lines: handing out, taking in and replacing share the queues and one order of locks.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.lane import Bell, Gathering, Lane, Task, deliver
from dsm_native._native.mailbox import ERROR, PICKLE, READY, REFUSED, REQUEST, SETTING
from dsm_native._native.members import report_exit, report_strike
from dsm_native._native.nodes import node_state, node_table
from dsm_native._native.settling import Condition, leading
from dsm_native.exceptions import (
    ClosedError,
    CorruptError,
    ForkedError,
    InitializerError,
    NodeLostError,
)
from dsm_native.functions import Functions
from dsm_native.losses import given_up, lost
from dsm_native.nesting import Nested, Requests
from dsm_native.outcomes import failure_of
from dsm_native.parcels import Parcels
from dsm_native.placement import node_of
from dsm_native.region import Region
from dsm_native.settings import START_TIMEOUT_S
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

    def __init__(self, handle: Handle, count: int, replaces: bool = True) -> None:
        self._handle = handle
        self._replaces = replaces  # whether a node that has died is started again
        self._foreign = False  # in a forked child: the mailboxes are the parent's alone
        _schedulers.add(self)
        self.parcels = Parcels(handle, f"owner-{os.getpid()}")
        self.functions = Functions(self.parcels.encode_function)
        self.workers = [Worker(handle.name, node) for node in range(count)]
        self.lanes = [Lane(handle, node) for node in range(count)]
        self._bell = self.lanes[0]
        self._second = Bell(handle)
        self._pending: deque[Task] = deque()
        self._nested: deque[Task] = deque()  # tasks of tasks, the latest in front
        self._bound: list[deque[Task]] = [deque() for _ in range(count)]
        self._epoch = 0  # of the node table as it was last followed
        self._arrived: deque[Any] = deque()
        self._turn = threading.RLock()  # held while records are taken and handed out
        self._leader = threading.Lock()  # held by the thread that listens first
        self._leading = 0  # its identity while it hands out
        self._news = Condition()
        self._followers = 0  # threads that wait for news of what the leader takes in
        self._pumped = 0  # how often they were told
        self._requests = Requests(weakref.proxy(self))  # no cycle: see _collect
        self._callbacks: queue.SimpleQueue[Callable[[], None] | None] | None = None
        self._path: list[str] = []  # the module path as the nodes were told
        self._closed = ""  # why no more tasks are taken
        self._collector: threading.Thread | None = None
        self._start_all()

    # ---- starting and ending -------------------------------------------------------------------

    def _start_all(self) -> None:
        try:
            for worker in self.workers:
                worker.start()
            deadline = time.monotonic() + START_TIMEOUT_S

            def started() -> bool:
                for worker in self.workers:
                    if not worker.ready and (worker.ended() or time.monotonic() > deadline):
                        raise NodeLostError(
                            f"{worker.described()} was not ready within {START_TIMEOUT_S:g} s"
                        )
                return all(worker.ready for worker in self.workers)

            self.wait_until(started, None)
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
        deadline = time.monotonic() + END_TIMEOUT_S
        for worker in self.workers:
            if wait:
                worker.end(deadline)
            else:
                worker.let_go()
        with self._turn:
            self._fail(self._everything(), ClosedError(f"{self._closed} before the task was done"))
        if self._callbacks is not None:
            self._callbacks.put(None)

    def _everything(self) -> list[Task]:
        tasks = [*self._pending, *self._nested]
        tasks += [entry for entry in self._arrived if isinstance(entry, Task)]
        for queued, lane in zip(self._bound, self.lanes, strict=True):
            tasks += [*queued, *lane.under_way()]
        self._pending.clear()
        self._nested.clear()
        return tasks

    def _fail(self, tasks: Iterable[Task], error: BaseException) -> None:
        for task in tasks:
            sink, task.sink = task.sink, None
            if sink is not None:
                sink.settle(task, False, error)

    # ---- handing out ---------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._foreign:
            raise ForkedError(
                f"process {os.getpid()} was forked from the one that started the cluster; tasks "
                f"are submitted and awaited there"
            )

    def check_open(self) -> None:
        """ClosedError if no more tasks are taken; ForkedError in a forked child."""
        self._check_process()
        if self._closed:
            raise ClosedError(self._closed)
        if all(worker.given_up for worker in self.workers):
            for worker in self.workers:
                worker.attempts = 0
            self._bell.wake_second()
        if sys.path != self._path:
            self._follow_path()

    def _queue_of(self, task: Task) -> deque[Task]:
        if task.node >= 0:
            if task.node < len(self.workers) and not self.workers[task.node].leaving:
                return self._bound[task.node]
            task.node = -1  # its node has been removed: it runs on any other
        return self._nested if task.nested else self._pending

    def submit(self, tasks: Iterable[Task]) -> None:
        """Queues tasks and sends what the windows admit."""
        for task in tasks:
            queued = self._queue_of(task)
            (queued.appendleft if task.nested else queued.append)(task)
        self.feed()
        for worker in self.workers:
            if worker.forsaken:
                self._judge(worker)
        if self._closed:  # closed since the caller's look
            self._fail(self._everything(), ClosedError(self._closed))

    def feed(self) -> None:
        """Sends queued tasks: first one to each idle node, then up to the windows."""
        if self._nested:
            for lane in sorted(self.lanes, key=lambda lane: lane.in_flight):
                # One that is busy and waits for nobody would not begin it.
                begins = not lane.in_flight or self._requests.asked_by(lane.node)
                if self._nested and self.workers[lane.node].serves and begins:
                    lane.offer_nested(self._nested)
        for limit in (1, LARGE_WINDOW):
            for lane in self.lanes:
                if self.workers[lane.node].serves:
                    if self._bound[lane.node]:
                        lane.offer_nested(self._bound[lane.node])
                        lane.offer(self._bound[lane.node], limit)
                    if self._pending:
                        lane.offer(self._pending, limit)

    def _balance(self) -> None:
        idle = [
            lane for lane in self.lanes if not lane.in_flight and self.workers[lane.node].serves
        ]
        if self._pending or not idle:
            return
        fullest = max(self.lanes, key=lambda lane: lane.in_flight)
        if fullest.in_flight > 1:
            self._pending.extend(fullest.reclaim((fullest.in_flight + 1) // 2))
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
                    except CorruptError:
                        self._kill(self.workers[lane.node])  # its successor's mailbox is empty
                deliver(self._arrived, self._settle)
            finally:
                self._leading = before
            if self._followers:
                with self._news:
                    self._pumped += 1
                    self._news.notify_all()
            if self._pending or self._nested or any(self._bound):
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
        elif sink is not None:
            sink.settle(task, *self._outcome(task))
        task.sink = None
        if not isinstance(sink, Nested):
            self.parcels.drop(Parcels.keys_of(task.outcome_codec, _bytes_of(task)))
        self.parcels.drop(task.parcels)

    def _outcome(self, task: Task) -> tuple[bool, Any]:
        value = task.outcome
        if task.outcome_codec >= PICKLE:
            try:
                value = self.parcels.decode(task.outcome_codec, value)
            except Exception as error:
                return False, error
        if task.kind == ERROR:
            return False, failure_of(*value)
        if task.kind == REFUSED:
            return False, InitializerError(f"the initializer failed on node {task.lane}:\n{value}")
        return True, value

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
        if self._callbacks is None:
            calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
            threading.Thread(target=self._call_back, args=(calls,), daemon=True).start()
            self._callbacks = calls
        return self._callbacks

    @staticmethod
    def _call_back(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while (call := calls.get()) is not None:
            call()

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
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            self._check_process()
            left = 0.05 if deadline is None else min(0.05, deadline - time.monotonic())
            if left <= 0:
                return False
            if self._closed:
                raise ClosedError(self._closed)
            if not leading(self._leader, partial(self._lead, done, deadline)):
                self._follow(done, left, condition)
        return True

    def _follow(
        self, done: Callable[[], bool], left: float, condition: threading.Condition | None
    ) -> None:
        if condition is not None:
            with condition:
                if not done():
                    condition.wait(left)
            return
        with self._news:
            self._followers += 1
            seen = self._pumped
        try:
            if not done():
                with self._news:
                    if self._pumped == seen:
                        self._news.wait(left)
        finally:
            with self._news:
                self._followers -= 1

    def _lead(self, done: Callable[[], bool], deadline: float | None) -> None:
        deaths = self._bell.deaths()
        try:
            self._bell.lead()
            while not self._closed:
                deaths = self._bell.deaths()
                self.pump()
                if done() or (deadline is not None and time.monotonic() >= deadline):
                    return
                self._bell.listen_first(deaths, 1)
        finally:
            self._bell.leave(deaths)

    def collect(self) -> tuple[int, int]:
        """One round of the collector: the deaths that it knows of, and how long it may wait."""
        deaths = self._bell.deaths()
        self._follow_members()
        self._look_around()
        if not self._leader.locked():
            self.pump()
        watchful = any(not worker.ready and not worker.gone for worker in self.workers)
        return deaths, 1 if watchful or any(lane.timed for lane in self.lanes) else IDLE_SLICES

    def give_up(self, error: BaseException) -> None:
        """Without a collector, nodes are not replaced: ends all tasks, and takes no more."""
        self._closed = f"cluster {self._handle.name!r} can run no more tasks: {error!r}"
        with self._turn:
            self._fail(self._everything(), ClosedError(self._closed))

    def closed(self) -> bool:
        """Whether no more tasks are taken."""
        return bool(self._closed)

    # ---- ends of nodes -------------------------------------------------------------------------

    def _look_around(self) -> None:
        for worker in self.workers:
            if worker.leaving and self._part(worker):
                continue
            if worker.process is None:
                if not worker.given_up and time.monotonic() >= worker.start_at:
                    self._start(worker)
                continue
            late = self.lanes[worker.node].overdue()
            if late is not None:
                worker.late = late
                self._kill(worker)
            elif worker.overdue_start():
                self._kill(worker)
            if worker.ended():
                self._replace(worker)

    def _kill(self, worker: Worker) -> None:
        report_strike(self._handle, worker.node)
        worker.kill()

    def _start(self, worker: Worker) -> None:
        try:
            worker.start()
        except OSError as error:
            worker.ending = f"it could not be started: {error}"
            worker.bury()
            self._judge(worker)

    def _replace(self, worker: Worker) -> None:
        lane = self.lanes[worker.node]
        if not worker.leaving:
            report_exit(self._handle, worker.node, worker.pid, worker.code)
        worker.forsaken = worker.leaving or not self._replaces
        with self._turn:
            with contextlib.suppress(CorruptError):
                lane.take(self._arrived)
            deliver(self._arrived, self._settle)
            late, pid = worker.late, worker.pid
            worker.bury()
            begun, queued = lane.abandon()
            self._requests.forget(worker.node)
            for task in reversed(queued):
                self._again(task)
            for task in reversed(begun):
                task.tries += late is None or task is late
                if task.tries > task.retries:
                    self._fail([task], lost(task, worker, late))
                    self.parcels.drop(task.parcels)
                else:
                    self._again(task)
            self.parcels.drop_of(f"{worker.node}-{pid}", self._requests.forwarded())
        self._judge(worker)
        if not worker.given_up and time.monotonic() >= worker.start_at:
            self._start(worker)
        self.feed()

    def _again(self, task: Task) -> None:
        self._queue_of(task).appendleft(task)

    def _judge(self, worker: Worker) -> None:
        """Fails the tasks that wait for a node that cannot be started."""
        if not worker.given_up:
            return
        tasks = [*self._bound[worker.node]]
        self._bound[worker.node].clear()
        if all(other.given_up for other in self.workers):
            tasks += [*self._pending, *self._nested]
            self._pending.clear()
            self._nested.clear()
        self._fail(tasks, given_up(worker))

    # ---- nodes that come and go ------------------------------------------------------------------

    def _follow_members(self) -> None:
        """Takes up nodes that were added and gives up those that are removed, by whomever."""
        if self._handle.epoch == self._epoch:
            return
        epoch, table = self._handle.epoch, node_table(self._handle)
        for node in range(max([len(self.workers) - 1, *table]) + 1):
            up = table.get(node, ("",))[0] in ("up", "lost")
            if node == len(self.workers):
                self._bound.append(deque())
                self.workers.append(Worker(self._handle.name, node))
                self.workers[node].leave()
                self.lanes.append(Lane(self._handle, node))
            worker = self.workers[node]
            if up and worker.leaving:
                if worker.process is not None:
                    return  # its former process is still to be buried: again at the next look
                worker.arrive()
            elif not up and not worker.leaving:
                worker.leave()
                with self._turn:
                    self._release(worker)
        self._epoch = epoch

    def _release(self, worker: Worker) -> None:
        """What a node that is removed has not begun runs elsewhere."""
        lane, bound = self.lanes[worker.node], self._bound[worker.node]
        for task in [*lane.under_way(), *bound]:
            task.node = -1
        self._pending.extend([*lane.reclaim(1 << 30), *bound])
        bound.clear()
        self.feed()

    def _part(self, worker: Worker) -> bool:
        """Sees a node off that is removed; True while there is nothing else to do for it."""
        if worker.process is None:
            return True
        if worker.ended():
            return False
        if self.lanes[worker.node].in_flight == 0 and node_state(self._handle, worker.node) in (
            "leaving",
            "",
        ):
            worker.dismiss()
        return not worker.dismissed_for_long()

    # ---- maps ----------------------------------------------------------------------------------

    def cancel(self, gathering: Gathering, error: BaseException) -> None:
        """Takes back what has not begun of a map; the rest runs on, and nobody hears of it."""
        if self._foreign:
            return
        tasks = [task for task in [*self._pending, *self._under_way()] if task.sink is gathering]
        for task in tasks:
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


def _bytes_of(task: Task) -> bytes:
    return task.outcome if isinstance(task.outcome, bytes) else b""


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
