"""`concurrent.futures.Executor` on the nodes of a cluster, and the futures and maps under it.

Several executors may use the same nodes at once; each has its own initializer, retries and time-out
and its own end. The same code serves the owner and, by requests to the owner, tasks on nodes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TYPE_CHECKING, Any, TypeAlias

from dsm_native._native.lane import MISSING, Failed, Function, Gathering, Task, map_tasks
from dsm_native._native.mailbox import plain
from dsm_native._native.settling import Condition, settle
from dsm_native.exceptions import ClosedError, InitializerError
from dsm_native.region import Region
from dsm_native.settings import check_count, check_seconds

if TYPE_CHECKING:
    from dsm_native.requester import Requester
    from dsm_native.scheduler import Scheduler

    Backend: TypeAlias = Scheduler | Requester

FEED = 256  # tasks of a map that are made between two looks at what has come
_open: weakref.WeakSet[ClusterExecutor]


class TaskFuture(futures.Future[Any]):
    """The future of one task. Waiting for it may take in the results of others as well."""

    def __init__(self, backend: Backend, pool: ClusterExecutor) -> None:
        super().__init__()
        self._condition = Condition()
        self._backend = backend
        self._pool = pool
        self._task: Task | None = None

    def settle(self, task: Task, good: bool, value: Any) -> None:
        """Takes the outcome; for the scheduler. Again is harmless, should it be interrupted."""
        told = self._done_callbacks or self._waiters  # type: ignore[attr-defined]
        settle(self, good, value, self._backend.calls() if told else None)
        self._task = None
        self._pool._settled(self, value if not good else None)

    def cancel(self) -> bool:
        """Cancels the task if no node has begun it."""
        task = self._task
        if not self.done():
            if task is None or not self._backend.withdraw(task):
                return False
            self._backend.parcels.drop(task.parcels)
            self._task = None
            self._pool._settled(self, None)
        cancelled = super().cancel()
        if cancelled and self._state == "CANCELLED":
            self.set_running_or_notify_cancel()
        return cancelled

    def running(self) -> bool:
        """Whether a node has begun the task and it is not done."""
        task = self._task
        return not self.done() and task is not None and self._backend.running(task)

    def call_back(self) -> None:
        """Makes the calls of add_done_callback; for `settle`."""
        super()._invoke_callbacks()  # type: ignore[misc]

    def _await(self, timeout: float | None) -> None:
        if not self.done() and not self._backend.wait_until(self.done, timeout, self._condition):
            raise TimeoutError

    def result(self, timeout: float | None = None) -> Any:
        """The task's result. TimeoutError, CancelledError, or what the task raised."""
        self._await(timeout)
        return super().result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None."""
        self._await(timeout)
        return super().exception()


class ClusterExecutor(futures.Executor):
    """Runs calls on the nodes of a cluster. Made by `Cluster.executor`; a context manager.

    As the standard library's executors; arrays over 32 KiB in arguments and results are read-only
    views of shared memory. Tasks of killed nodes run again, so they should be idempotent unless
    `retries=0`. Safe from any number of threads of the process that made it.
    """

    def __init__(
        self,
        backend: Backend,
        own: Callable[[str], None],
        retries: int = 1,
        task_timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        at_exit: bool = True,
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._backend, self._own = backend, own
        self._retries = check_count("retries", retries, 0, 1_000_000)
        self._timeout = 0.0 if task_timeout is None else check_seconds("task_timeout", task_timeout)
        self._setup: Function | None = None
        if initializer is not None:
            setup = (initializer, tuple(initargs))
            self._setup = backend.functions.setup(setup)
        self._lock = threading.Lock()
        self._shut = False
        self._broken: BaseException | None = None
        self._futures: set[TaskFuture] = set()
        self._gatherings: list[Gathering] = []
        if at_exit:
            _open.add(self)

    # ---- submitting ----------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Schedules fn(*args, **kwargs) on a node and returns its future.

        What cannot be pickled raises here. RuntimeError after shutdown(), InitializerError once
        the initializer has failed, ClosedError after the cluster's end. Does not block.
        """
        return self.submit_to(-1, fn, args, kwargs)

    def submit_to(
        self, node: int, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskFuture:
        """The same on one node, or with -1 on any."""
        self._check()
        backend = self._backend
        entry = self._entry(fn)
        body: Any
        parcels = None
        if len(args) == 1 and not kwargs:
            body, codec = args[0], 0
            if not plain(body):
                body, codec, parcels = backend.parcels.encode(body)
        else:
            body, codec, parcels = backend.parcels.encode_call(args, kwargs)
        future = TaskFuture(backend, self)
        task = Task(entry, future, -1, body, codec, self._retries, node, self._timeout)
        task.index = task.serial
        task.parcels = parcels
        future._task = task
        try:
            self._futures.add(future)
            backend.submit((task,))
        except BaseException:  # nobody has the future, so nobody wants the task
            task.sink = None
            self._futures.discard(future)
            raise
        return future

    def _entry(self, function: Any) -> Function:
        entry = self._backend.functions.entry(function, self._setup)
        self._backend.forget_surplus()
        return entry

    def _check(self) -> None:
        self._own("an executor")
        if self._broken is not None:
            raise InitializerError(str(self._broken)) from self._broken
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._backend.check_open()

    def _settled(self, future: TaskFuture, error: BaseException | None) -> None:
        self._futures.discard(future)
        self._failed(error)

    def _failed(self, error: BaseException | None) -> None:
        if isinstance(error, InitializerError):
            self._broken = error

    # ---- maps ----------------------------------------------------------------------------------

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """As the standard library's: an iterator of the results, in order.

        The iterables are consumed at once (with `buffersize`, as results are taken); tasks that
        have not begun are cancelled when the iterator ends early. `chunksize` items make one task;
        small tasks are sent together in any case. TimeoutError `timeout` seconds after this call.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        end = None if timeout is None else time.monotonic() + timeout
        if buffersize is not None:
            check_count("buffersize", buffersize, 1, 1 << 30)
            return self._buffered(fn, iterables, end, buffersize)
        self._check()
        if chunksize > 1:
            rows = zip(*iterables, strict=False)
            chunks = [
                list(chunk) for chunk in iter(lambda: [*itertools.islice(rows, chunksize)], [])
            ]
            gathering = self.start_map(_Chunk(fn), chunks)
            return itertools.chain.from_iterable(self._results(gathering, end))
        if len(iterables) == 1:
            gathering = self.start_map(fn, list(iterables[0]))
        else:
            gathering = self.start_map(_Star(fn), list(zip(*iterables, strict=False)))
        return self._results(gathering, end)

    def start_map(self, fn: Callable[..., Any], items: list[Any]) -> Gathering:
        """Queues a task per item; the results are gathered by index."""
        backend = self._backend
        entry = self._entry(fn)
        gathering = Gathering(len(items))
        self._gatherings = [known for known in self._gatherings if known.missing]
        self._gatherings.append(gathering)
        try:
            for first in range(0, len(items), FEED):
                tasks: list[Task] = []
                map_tasks(
                    *(entry, gathering, items, first, FEED, self._retries, self._timeout),
                    *(backend.parcels.encode, tasks),
                )
                backend.submit(tasks)
        except BaseException:
            backend.cancel(gathering, futures.CancelledError())
            gathering.missing = 0
            raise
        return gathering

    def _results(self, gathering: Gathering, end: float | None) -> Iterator[Any]:
        results = gathering.results
        try:
            for index in range(len(results)):
                if results[index] is MISSING:
                    self._await_result(results, index, end)
                result, results[index] = results[index], None
                if type(result) is Failed:
                    self._failed(result.error)
                    raise result.error
                yield result
        finally:
            if gathering.missing:
                self._backend.cancel(gathering, futures.CancelledError())

    def _await_result(self, results: list[Any], index: int, end: float | None) -> None:
        left = None if end is None else end - time.monotonic()
        if not self._backend.wait_until(lambda: results[index] is not MISSING, left):
            raise TimeoutError

    def _buffered(
        self, fn: Callable[..., Any], iterables: tuple[Any, ...], end: float | None, size: int
    ) -> Iterator[Any]:
        waiting: list[TaskFuture] = []
        rows = zip(*iterables, strict=False)
        try:
            for row in itertools.islice(rows, size):
                waiting.append(self.submit(fn, *row))
            while waiting:
                first = waiting.pop(0)
                result = first.result(None if end is None else end - time.monotonic())
                for row in itertools.islice(rows, 1):
                    waiting.append(self.submit(fn, *row))
                yield result
        finally:
            for future in waiting:
                future.cancel()

    # ---- ending --------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more tasks; with `cancel_futures`, those that have not begun are cancelled.

        With `wait`, returns when all others are done. The nodes stay.
        """
        self._shut = True
        if cancel_futures:
            for future in list(self._futures):
                future.cancel()
            for gathering in self._gatherings:
                self._backend.cancel(gathering, futures.CancelledError())
        if wait:
            with contextlib.suppress(ClosedError):  # the cluster's end was that of all tasks
                self._backend.wait_until(self._idle, None)

    def _idle(self) -> bool:
        return not self._futures and not any(known.missing for known in self._gatherings)

    # ---- placing -------------------------------------------------------------------------------

    def at(
        self, *, node: int | None = None, near: Any = None, region: Region | None = None
    ) -> Placed:
        """Submits to one node: `node`, or the one that holds the primary of the key `near`."""
        return Placed(self, self._backend.place(node, near, region))


class Placed:
    """An executor's calls on one node; made by `ClusterExecutor.at`."""

    def __init__(self, pool: ClusterExecutor, node: int) -> None:
        self._pool = pool
        self.node = node

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """As the executor's, on this node."""
        return self._pool.submit_to(self.node, fn, args, kwargs)


class _Star:
    """Calls with the items of a tuple as arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, row: tuple[Any, ...]) -> Any:
        return self.function(*row)


class _Chunk(_Star):
    """Calls for each row of a list, and returns the list of results."""

    def __call__(self, rows: Any) -> Any:
        function = self.function
        return [function(*row) for row in rows]


def run_map(
    pool: ClusterExecutor,
    function: Callable[[Any], Any],
    items: list[Any],
    progress: Callable[[int], None] | None,
) -> list[Any]:
    """All results in order; the first failure is raised once nothing of the map runs any more."""
    backend = pool._backend
    gathering = pool.start_map(function, items)
    told = 0

    def done() -> bool:
        nonlocal told
        if progress is not None:
            while told < len(items) - gathering.missing and gathering.failure is None:
                told += 1
                progress(1)
        return not gathering.missing or gathering.failure is not None

    try:
        backend.wait_until(done, None)
        if gathering.failure is not None:
            pool._failed(gathering.failure)
            backend.cancel(gathering, futures.CancelledError())
            backend.wait_until(lambda: not backend.unfinished(gathering), None)
            raise gathering.failure
    finally:
        if gathering.missing:
            backend.cancel(gathering, futures.CancelledError())
    return gathering.results


_open = weakref.WeakSet()


def _finish_all() -> None:
    """At the interpreter's end, what was submitted is done first, as the standard library does."""
    for pool in list(_open):
        pool.shutdown(wait=True)


threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
# A forked child ends without waiting for what its parent submitted.
os.register_at_fork(after_in_child=_open.clear)
