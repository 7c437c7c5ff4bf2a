"""A node process: `python -m dsm_native.node [--recover-from PATH] CLUSTER NODE DESCRIPTOR`.

Attaches, starts the service thread, says "ready" by its mailbox, then runs the tasks that come. It
ends when the cluster stops, which it learns from the control segment, or when the owner has died; a
detached cluster's node goes on when the owner's end of the socket closes. Started by another node
(csrc/node/starter.h), it has no owner to begin with: DESCRIPTOR is -1.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import time
from typing import Any

from dsm_native import cluster as cluster_module
from dsm_native._native.handle import Handle
from dsm_native._native.mailbox import (
    ERROR,
    PICKLE,
    READY,
    REFUSED,
    REPLY,
    REPLY_ERROR,
    RESULT,
    SETTING,
)
from dsm_native._native.members import set_starter
from dsm_native._native.nodes import node_state
from dsm_native._native.station import Station
from dsm_native.exceptions import ClosedError, ClusterNotFoundError, UsageError
from dsm_native.outcomes import failure
from dsm_native.parcels import CALLS, Parcels
from dsm_native.requester import Requester

GRACE_S = 0.5  # for the main thread to end in order when the cluster has stopped
RECURSION_LIMIT = 5000  # tasks that wait for tasks stand on one stack
IDLE_SLICES = 20


class Tasks:
    """All that the station does not do by itself: functions, large values, errors, replies."""

    def __init__(self, handle: Handle, node: int) -> None:
        self.parcels = Parcels(handle, f"{node}-{os.getpid()}")
        self.station = Station(handle, node, self)
        self.requester = Requester(self.station, self.parcels)
        self._set_up: dict[int, str] = {}  # initializers that ran: how they failed, or ""
        self._setting_up: dict[int, threading.RLock] = {}  # tasks run in several threads

    def handle(self, kind: int, codec: int, function: int, serial: int, value: Any) -> None:
        """A record that is no task."""
        if kind == SETTING:
            path, variable = pickle.loads(value)
            sys.path[:] = path
            _restore("PYTHONPATH", variable)
        elif kind in (REPLY, REPLY_ERROR):
            self.requester.answered(kind, codec, serial, value)

    def run(self, codec: int, slot: int, function: int, serial: int, value: Any) -> None:
        """A task whose function is new, or whose arguments are not one small value."""
        try:
            refused = self._load(function)
            if refused:
                self.station.send(REFUSED, PICKLE, slot, 0, serial, pickle.dumps(refused))
                return
            call = self.station.functions[function]
            if codec >= PICKLE:
                value = self.parcels.decode(codec, value)
            if codec in CALLS:
                args, kwargs = value
                del value
                result = call(*args, **kwargs)
                del args, kwargs
            else:
                result = call(value)
                del value
        except BaseException as error:  # SystemExit of a task is the task's, too
            self.fail(slot, serial, error)
        else:
            self.answer(slot, serial, result)

    def _load(self, function: int) -> str:
        """Makes the function ready to be called; says why not, if its initializer has failed."""
        if function in self.station.functions:
            return ""
        codec, payload, setup = self.station.defined[function]
        if setup and setup not in self._set_up:
            with self._setting_up.setdefault(setup, threading.RLock()):
                if setup not in self._set_up:
                    self._set_up[setup] = self._initialize(setup)
        if setup and self._set_up[setup]:
            return self._set_up[setup]
        self.station.functions[function] = self.parcels.decode(codec, payload)
        return ""

    def _initialize(self, setup: int) -> str:
        codec, payload, _ = self.station.defined[setup]
        try:
            initializer, arguments = self.parcels.decode(codec, payload)
            initializer(*arguments)
        except BaseException as error:
            return failure(error)[1]
        return ""

    def answer(self, slot: int, serial: int, result: Any) -> None:
        """Sends a result that is no small plain value."""
        try:
            payload, codec, _ = self.parcels.encode(result)
        except BaseException as error:
            self.fail(slot, serial, error)
            return
        self.station.send(RESULT, codec, slot, 0, serial, payload)

    def fail(self, slot: int, serial: int, error: BaseException) -> None:
        """Sends what a task has raised."""
        if isinstance(error, ClosedError) and self.station.handle.closed:
            raise error
        payload, codec, _ = self.parcels.encode(failure(error))
        self.station.send(ERROR, codec, slot, 0, serial, payload)

    def serve(self) -> None:
        """Tasks until the cluster stops."""
        self.station.send(READY, PICKLE, 0, 0, 0, b"")
        step, wait = self.station.step, self.station.wait
        while True:
            while step():
                pass
            wait(IDLE_SLICES)


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


def _let_go_of_output() -> None:
    """The owner has left a detached cluster: who reads its output must see the end of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _leave_if_removed(handle: Handle, node: int) -> None:
    """Ends the process if its node is no more: nothing waits here that would be lost."""
    try:
        removed = node_state(handle, node) in ("leaving", "")
    except ClosedError:
        return
    if removed:
        os._exit(0)


def _watch(handle: Handle, tasks: Tasks, stopping: int, descriptor: int) -> None:
    """A thread that ends the process when the cluster has stopped but a task is still running.

    And when this node has been removed: the owner then closes its end, or, without an owner, the
    service thread tells.
    """
    owner = [] if descriptor < 0 else [descriptor]
    ready, _, _ = select.select([stopping, *owner], [], [])
    _leave_if_removed(handle, tasks.station.node)
    if stopping not in ready:
        tasks.station.deaf = True
        _let_go_of_output()
        select.select([stopping], [], [])
        _leave_if_removed(handle, tasks.station.node)
    time.sleep(GRACE_S)
    handle.unlink()
    os._exit(0)


def _prepare_successors(handle: Handle, options: list[str]) -> None:
    """Notes how this process starts other nodes, should it become the keeper of the cluster."""
    command = [sys.executable, "-P", "-m", "dsm_native.node", *options, handle.name]
    environment = [name + b"=" + value for name, value in os.environb.items()]
    set_starter(handle, [os.fsencode(word) for word in command], environment)


def main() -> None:
    """Entry point; see the module's text."""
    *options, name, number, end = sys.argv[1:]
    node, descriptor = int(number), int(end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if descriptor >= 0:
        os.set_inheritable(descriptor, False)
    sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))
    try:
        handle = Handle.attach(name, node)
        _prepare_successors(handle, options)
        # At once: from its joining on the others expect it to beat.
        stopping = handle.start_service(node)
        cluster = cluster_module.Cluster._of(handle, 10.0)
    except (ClusterNotFoundError, ClosedError):
        return  # the owner was interrupted, and has cleaned up, before this process had started
    except UsageError as error:  # somebody else has started this node, too, and was faster
        print(f"node {node} of cluster {name!r} was not started: {error}", file=sys.stderr)
        sys.exit(1)
    tasks = Tasks(handle, node)
    tasks.station.deaf = descriptor < 0
    cluster._scheduler = tasks.requester
    cluster_module.set_current(cluster)
    watch = threading.Thread(target=_watch, args=(handle, tasks, stopping, descriptor), daemon=True)
    watch.start()
    handle.ready()
    if options:
        from dsm_native.filling import LossFiller

        LossFiller(handle, options[1], node)
    try:
        tasks.serve()
    except ClosedError:
        pass
    finally:
        if handle.closed:
            handle.unlink()
        cluster.close()


if __name__ == "__main__":
    main()
