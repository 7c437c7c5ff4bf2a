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
from multiprocessing.connection import Connection
from typing import Any

from dsm_native import cluster as cluster_module
from dsm_native._native.handle import Handle


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
        elif message[0] == "define":
            self.job, self.function = message[1], message[2]
        elif message[1] == self.job:
            return self._answer(message[2], message[3])
        return True

    def _answer(self, index: int, item: Any) -> bool:
        import cloudpickle

        try:
            if isinstance(self.function, bytes):
                self.function = pickle.loads(self.function)
            answer = cloudpickle.dumps((index, True, self.function(item), ""), 5)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a task is the task's, too
            answer = _failure(index, error)
        try:
            self.connection.send_bytes(answer)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True


def _failure(index: int, error: BaseException) -> bytes:
    import traceback

    import cloudpickle

    trace = "".join(traceback.format_exception(error))
    try:
        answer = cloudpickle.dumps((index, False, error, trace), 5)
        pickle.loads(answer)
        return answer
    except Exception:  # an exception that does not survive pickling is told as text
        return cloudpickle.dumps((index, False, RuntimeError(repr(error)), trace), 5)


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


def main() -> None:
    """Entry point; see the module's text."""
    name, node, descriptor = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    handle = Handle.attach(name, node)
    cluster = cluster_module.Cluster._of(handle, 10.0)
    cluster_module.set_current(cluster)
    stopping = handle.start_service(node)
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
