"""Running functions on a cluster's nodes: `executor`, `submit` and `map`.

A part of `Cluster` in a file of its own. Tasks are for the process that started the cluster,
through its scheduler, and for tasks on its nodes, which ask that one; the pools that `submit` and
`map` use are made once per pair of settings and live as long as the cluster's handle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from dsm_native.contents import Contents
from dsm_native.exceptions import ClosedError, ForkedError, UsageError
from dsm_native.region import Region

if TYPE_CHECKING:  # a node needs none of these before its first task
    from dsm_native.executor import ClusterExecutor, TaskFuture
    from dsm_native.requester import Requester
    from dsm_native.scheduler import Scheduler


class Tasks(Contents):
    """The methods of `Cluster` that run functions on its nodes."""

    _owner_pid: int
    _scheduler: Scheduler | Requester | None
    _pools: dict[Any, ClusterExecutor]

    def executor(
        self,
        *,
        retries: int = 1,
        task_timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> ClusterExecutor:
        """A `concurrent.futures.Executor` on the nodes; any number of them at once.

        retries: how often a task runs again whose worker was lost; 0 for tasks that must not
        repeat. task_timeout: seconds after which a task's worker is killed and replaced.
        initializer(*initargs) runs once in each worker before the executor's first task there.
        """
        from dsm_native.executor import ClusterExecutor

        backend = self._backend("executor()")
        own = partial(_check_owner, self._owner_pid)
        return ClusterExecutor(backend, own, retries, task_timeout, initializer, initargs)

    def submit(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        node: int | None = None,
        near: Any = None,
        region: Region | None = None,
        retries: int = 1,
        task_timeout: float | None = None,
        **kwargs: Any,
    ) -> TaskFuture:
        """Schedules function(*args, **kwargs) on a node; returns a `concurrent.futures.Future`.

        node: on that node. near: on the node that holds the primary of that key, of the region
        `region` (default: the cluster's default region). retries, task_timeout: see executor().
        For keyword arguments of these names, use executor().
        """
        pool = self._pool("submit()", retries, task_timeout)
        if near is not None and region is None:
            region = self.default
        return pool.submit_to(pool._backend.place(node, near, region), function, args, kwargs)

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        retries: int = 1,
        progress: Callable[[int], None] | bool | None = None,
        task_timeout: float | None = None,
    ) -> list[Any]:
        """Runs function(item) for each item on the nodes; returns the results in order.

        Functions travel by cloudpickle, so lambdas and functions of `__main__` work; in them,
        `dsm_native.current()` is this cluster. An exception of a task is raised here, with the
        remote traceback as its cause. If a worker is killed, it is replaced, and what it was
        running runs again, up to `retries` times, then WorkerLostError: tasks should be idempotent.
        `progress` is called with 1 for each finished task; True shows a bar on standard error.
        task_timeout: see executor(). Blocks. Only the owner and tasks on nodes can run tasks.
        """
        from dsm_native.executor import run_map
        from dsm_native.progress import Bar

        pool = self._pool("map()", retries, task_timeout)
        items = list(items)
        if progress is not True:
            return run_map(pool, function, items, progress or None)
        with Bar(len(items)) as bar:
            return run_map(pool, function, items, bar.advance)

    def _backend(self, what: str) -> Scheduler | Requester:
        _check_owner(self._owner_pid, what)
        if self._handle.closed:
            raise ClosedError(f"cluster {self.name!r} is closed")
        if self._scheduler is None:
            raise UsageError(
                f"{what} is for the process that started the cluster and for tasks on its nodes; "
                f"this process has attached itself"
            )
        return self._scheduler

    def _pool(self, what: str, retries: int, task_timeout: float | None) -> ClusterExecutor:
        backend = self._backend(what)
        pool = self._pools.get((retries, task_timeout))
        if pool is None:
            from dsm_native.executor import ClusterExecutor

            own = partial(_check_owner, self._owner_pid)
            pool = ClusterExecutor(backend, own, retries, task_timeout, at_exit=False)
            self._pools[retries, task_timeout] = pool
        return pool


def _check_owner(owner_pid: int, what: str) -> None:
    if owner_pid and os.getpid() != owner_pid:
        raise ForkedError(
            f"{what} is for process {owner_pid}, which started the cluster; this is its forked "
            f"child {os.getpid()}"
        )
