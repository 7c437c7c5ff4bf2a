"""Tasks that no node has: one queue for any, one of tasks of tasks, one per node that is asked for.

Each change is a single call on a deque, which no other thread and no interrupt sees half done. Any
thread queues; who hands out takes from the queues (`Lane.offer`).
"""

from __future__ import annotations

import contextlib
from collections import deque

from dsm_native._native.lane import Task
from dsm_native.workers import Worker


class Backlog:
    """The queues. `workers` is the scheduler's list, one per node id, which grows."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self.common: deque[Task] = deque()
        self.nested: deque[Task] = deque()  # tasks of tasks, the latest in front
        self.bound: list[deque[Task]] = [deque() for _ in workers]

    def __bool__(self) -> bool:
        return bool(self.common or self.nested or any(self.bound))

    def _queue_of(self, task: Task) -> deque[Task]:
        if task.node >= 0:
            if task.node < len(self._workers) and not self._workers[task.node].leaving:
                return self.bound[task.node]
            task.node = -1  # its node has been removed: it runs on any other
        return self.nested if task.nested else self.common

    def add(self, task: Task) -> None:
        """Queues a task that is new."""
        queued = self._queue_of(task)
        (queued.appendleft if task.nested else queued.append)(task)

    def put_back(self, task: Task) -> None:
        """Queues a task that a node had, before all others."""
        self._queue_of(task).appendleft(task)

    def take_bound(self, node: int) -> list[Task]:
        """Empties the queue of what is to run on that node."""
        return _emptied(self.bound[node])

    def take_free(self) -> list[Task]:
        """Empties the queues of what may run on any node."""
        return [*_emptied(self.common), *_emptied(self.nested)]

    def take_all(self) -> list[Task]:
        """Empties all queues."""
        tasks = self.take_free()
        for node in range(len(self.bound)):
            tasks += self.take_bound(node)
        return tasks


def _emptied(queued: deque[Task]) -> list[Task]:
    tasks: list[Task] = []
    with contextlib.suppress(IndexError):  # another thread may take the last one
        while queued:
            tasks.append(queued.popleft())
    return tasks
