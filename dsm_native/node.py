"""The program of a node process: `python -m dsm_native.node CLUSTER NODE DESCRIPTOR`.

Attaches, starts the service thread, says "ready", then runs the tasks that come over the socket. It
ends when the cluster stops, which the service thread learns from the control segment or from the
death of the owner; a detached cluster's node goes on when the owner's end of the socket closes.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from dsm_native import cluster as cluster_module
from dsm_native._native.handle import Handle
from dsm_native.exceptions import ClosedError, ClusterNotFoundError

GRACE_S = 0.5  # for the main thread to end in order when the cluster has stopped


class _Tasks:
    """Runs what the owner sends. Functions are sent once per map."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.job = 0
        self.function: Any = None

    def serve_one(self) -> bool:
        """Handles one message; False when the owner's end is closed."""
        try:
            message = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            return False
        if message[0] == "path":
            sys.path[:] = message[1]
            _restore("PYTHONPATH", message[2])
        elif message[0] == "define":
            self.job, self.function = message[1], message[2]
        elif message[1] == self.job:
            return self._answer(message[2], message[3])
        return True

    def _answer(self, index: int, item: Any) -> bool:
        import cloudpickle  # type: ignore[import-untyped]

        good, trace = True, ""
        try:
            if isinstance(self.function, bytes):
                self.function = pickle.loads(self.function)
            result = cloudpickle.dumps(self.function(pickle.loads(item)), 5)
        except BaseException as error:  # SystemExit of a task is the task's, too
            good = False
            result, trace = _failure(error)
        try:
            self.connection.send_bytes(pickle.dumps((self.job, index, good, trace)))
            self.connection.send_bytes(result)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


def _failure(error: BaseException) -> tuple[bytes, str]:
    import traceback

    import cloudpickle

    trace = "".join(traceback.format_exception(error))
    try:
        answer = cloudpickle.dumps(error, 5)
        pickle.loads(answer)
        return answer, trace
    except Exception:  # an exception that does not survive pickling is told as text
        return pickle.dumps(RuntimeError(repr(error)), 5), trace


def serve(handle: Handle, connection: Connection, stopping: int) -> None:
    """Tasks until the cluster stops."""
    tasks = _Tasks(connection)
    watched = [stopping, connection.fileno()]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if stopping in ready:
            return
        if not tasks.serve_one():
            watched = [stopping]
            _let_go_of_output()


def _let_go_of_output() -> None:
    """The owner has left a detached cluster: who reads its output must see the end of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _end_busy(handle: Handle, stopping: int) -> None:
    """Ends the process when the cluster has stopped but a task is still running."""
    select.select([stopping], [], [])
    time.sleep(GRACE_S)
    handle.unlink()
    os._exit(0)


def main() -> None:
    """Entry point; see the module's text."""
    name, node, descriptor = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    try:
        handle = Handle.attach(name, node)
        cluster = cluster_module.Cluster._of(handle, 10.0)
    except (ClusterNotFoundError, ClosedError):
        return  # the owner was interrupted, and has cleaned up, before this process had started
    cluster_module.set_current(cluster)
    stopping = handle.start_service(node)
    threading.Thread(target=_end_busy, args=(handle, stopping), daemon=True).start()
    handle.ready()
    connection.send_bytes(b"ready")
    try:
        serve(handle, connection, stopping)
    finally:
        if handle.closed:
            handle.unlink()
        cluster.close()


if __name__ == "__main__":
    main()
