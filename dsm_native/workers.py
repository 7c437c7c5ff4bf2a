"""The owner's side of the nodes: starting their processes, and running tasks on them.

A node is started by executing our own module, so scripts without a main guard, notebooks and
standard input work. Tasks go over one socket pair per node, one at a time; a node that is killed
closes its end, which is how its death is learnt, and its task is run again elsewhere.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]

from dsm_native.exceptions import ClosedError, NodeLostError, UsageError, WorkerLostError

if TYPE_CHECKING:
    from dsm_native.cluster import Cluster

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0


class RemoteTraceback(Exception):  # noqa: N818 - it is a cause, not an error of its own
    """The traceback of a task's exception on its node; the cause of the exception raised here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Worker:
    """One node process and our end of its socket pair."""

    def __init__(self, cluster: str, node: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dsm_native.node"),
                    *(cluster, str(node), str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,  # Ctrl-C in a terminal is for the owner, who ends the nodes
            )
        self.node = node
        self.connection = Connection(ours.detach())
        self.job = 0  # of the function that it has
        self.task: tuple[int, int] | None = None  # job and index of what it is running
        self.alive = True

    def send(self, message: tuple[Any, ...]) -> bool:
        try:
            self.connection.send_bytes(pickle.dumps(message, 5))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True


def _environment() -> dict[str, str]:
    """Ours, with our module path: a node imports what we would, and nothing of where it stands."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = [os.path.abspath(entry) for entry in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*path, folder])}


class Workers:
    """The node processes of a cluster. One map runs at a time; a lock keeps threads apart."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        if not sys.executable:
            raise UsageError("sys.executable is empty, so no node process can be started")
        self._lock = threading.RLock()
        self._closing = False
        self._job = 0
        self._workers: list[_Worker] = []
        try:
            for node in range(count):
                self._workers.append(_Worker(cluster.name, node))
            for worker in self._workers:
                self._await_ready(worker)
                worker.send(("path", sys.path, os.environ.get("PYTHONPATH")))
        except BaseException:
            cluster._handle.stop()
            self.close(wait=True)
            raise

    @staticmethod
    def _await_ready(worker: _Worker) -> None:
        if worker.connection.poll(START_TIMEOUT_S):
            try:
                worker.connection.recv_bytes()
                return
            except EOFError:
                worker.process.wait(END_TIMEOUT_S)
        raise NodeLostError(
            f"node {worker.node} (pid {worker.process.pid}) was not ready within "
            f"{START_TIMEOUT_S:g} s; {_ending(worker.process)}"
        )

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        retries: int,
        progress: Callable[[int], None] | None,
    ) -> list[Any]:
        with self._lock:
            self._job += 1
            try:
                run = _Map(self._job, self._workers, function, list(items), retries, progress)
                return run.run()
            except WorkerLostError as error:
                if not self._closing:
                    raise
                raise ClosedError("the cluster was closed while map() was running") from error

    def close(self, wait: bool) -> None:
        """Lets go of the nodes; with `wait`, once every one has ended, by SIGKILL at last."""
        self._closing = True
        if not wait:
            for worker in self._workers:
                worker.connection.close()
                worker.process.returncode = 0  # it lives on by itself; no warning when collected
            return
        deadline = time.monotonic() + END_TIMEOUT_S
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        # A map in another thread has learnt of the ends by now, and reads no more.
        with self._lock:
            for worker in self._workers:
                worker.connection.close()


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    if code is None:
        return "it is still running"
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with status {code}"


class _Map:
    """One run of map(): what is queued, what runs where, what came back."""

    def __init__(
        self,
        job: int,
        workers: list[_Worker],
        function: Callable[[Any], Any],
        items: list[Any],
        retries: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.job = job
        self.workers = [worker for worker in workers if worker.alive]
        self.function = cloudpickle.dumps(function, 5)
        self.items = items
        self.results: list[Any] = [None] * len(items)
        self.tries = [0] * len(items)
        self.queue = deque(range(len(items)))
        self.retries = retries
        self.progress = progress
        self.missing = len(items)
        self.error: BaseException | None = None

    def run(self) -> list[Any]:
        while self.missing and self.error is None:
            self._hand_out()
            self._collect()
        # Running tasks of a failed map are waited for, so that no result of theirs comes later.
        while any(worker.task and worker.task[0] == self.job for worker in self.workers):
            self._collect()
        if self.error is not None:
            raise self.error
        return self.results

    def _hand_out(self) -> None:
        for worker in list(self.workers):
            if worker.task is None and self.queue and self.error is None:
                self._hand_to(worker)
        if not self.workers and self.error is None:
            self.error = WorkerLostError(
                f"no node process is left to run the remaining {self.missing} tasks"
            )

    def _hand_to(self, worker: _Worker) -> None:
        index = self.queue[0]
        try:
            item = cloudpickle.dumps(self.items[index], 5)
        except Exception as error:
            self.error = error
            return
        self.queue.popleft()
        self.tries[index] += 1
        worker.task = (self.job, index)
        defined = worker.job == self.job or worker.send(("define", self.job, self.function))
        worker.job = self.job
        if not defined or not worker.send(("run", self.job, index, item)):
            self._lost(worker)

    def _collect(self) -> None:
        busy = {worker.connection: worker for worker in self.workers if worker.task is not None}
        for connection in wait(list(busy)) if busy else []:
            worker = busy[connection]  # type: ignore[index]
            try:
                job, index, good, trace = pickle.loads(worker.connection.recv_bytes())
                answer = worker.connection.recv_bytes()
            except (EOFError, ConnectionResetError):
                self._lost(worker)
                continue
            worker.task = None
            if job == self.job:  # an answer to a map that was interrupted is nobody's
                self._take(index, good, answer, trace)

    def _take(self, index: int, good: bool, answer: bytes, trace: str) -> None:
        try:
            result = pickle.loads(answer)
        except Exception as error:
            good, result = False, error
        if good:
            self.results[index] = result
            self.missing -= 1
            if self.progress is not None:
                self.progress(1)
        elif self.error is None:
            result.__cause__ = RemoteTraceback(trace)
            self.error = result

    def _lost(self, worker: _Worker) -> None:
        worker.alive = False
        self.workers.remove(worker)
        worker.process.wait()
        task, worker.task = worker.task, None
        if task is None or task[0] != self.job:
            return
        index = task[1]
        if self.tries[index] <= self.retries:
            self.queue.appendleft(index)
        elif self.error is None:
            self.error = WorkerLostError(
                f"task {index} was lost {self.tries[index]} times, last on node {worker.node} (pid "
                f"{worker.process.pid}; {_ending(worker.process)}); retries={self.retries}"
            )
