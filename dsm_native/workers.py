"""The node processes: starting them, learning of their end, starting them again.

A node is started by executing our own module, so scripts without a main guard, notebooks and
standard input work. Its socket tells it that we have gone; tasks go through shared memory. All
methods but those of start and end are for the collector's thread (upkeep.py), which Ctrl-C
does not reach, so that no replacement is left half done.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from dsm_native.settings import START_TIMEOUT_S

END_TIMEOUT_S = 5.0
ATTEMPTS_MAX = 8  # starts in a row that came to nothing
_BACK_OFF_S = 0.05


class Worker:
    """One node's process, and those that follow it."""

    def __init__(self, cluster: str, node: int, options: tuple[str, ...] = ()) -> None:
        self.cluster, self.node, self.options = cluster, node, options
        self.process: subprocess.Popen[bytes] | None = None
        self.socket: socket.socket | None = None
        self.ready = False
        self.late: object | None = None  # the task for whose time-out it was killed
        self.ending = ""  # how the latest process ended
        self.code = 0  # its exit status, or minus the signal
        self.forsaken = False  # it is not to be started again, whatever its attempts
        self.leaving = False  # its node is being removed, or is no more
        self.dismissed_at = 0.0
        self.pid = 0
        self.started_at = 0.0
        self.start_at = 0.0  # when to start again
        self.attempts = 0

    def start(self) -> None:
        """Starts a process; it will say that it is ready by its mailbox."""
        self.ready, self.late = False, None
        self.started_at = time.monotonic()
        self.attempts += 1
        ours, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dsm_native.node", *self.options),
                    *(self.cluster, str(self.node), str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,  # Ctrl-C in a terminal is for the owner, who ends the nodes
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self.process.pid
        self.socket = ours

    def ended(self) -> bool:
        """Whether the process has ended; it is reaped, and how it ended is known."""
        if self.process is None:
            return False
        code = self.process.poll()
        if code is None:
            return False
        self.code = code
        self.ending = _ending(code)
        return True

    def bury(self) -> None:
        """After the end: lets go of the process and says when the next one may start."""
        now = time.monotonic()
        if self.ready:  # it was not a vain start, however soon it was killed
            self.attempts = 0
        self.process, self.ready = None, False
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.start_at = now + (0 if self.attempts < 3 else _BACK_OFF_S * 2 ** (self.attempts - 3))

    @property
    def given_up(self) -> bool:
        """Whether it is not started again: it was often in vain, or nobody is replaced."""
        return self.process is None and (self.forsaken or self.attempts >= ATTEMPTS_MAX)

    @property
    def serves(self) -> bool:
        """Whether it takes tasks."""
        return self.ready and not self.leaving

    @property
    def gone(self) -> bool:
        """Whether there is no such node any more, nor a process of it."""
        return self.leaving and self.process is None

    def leave(self) -> None:
        """The node is being removed: no more tasks, and no other process."""
        self.leaving = self.forsaken = True

    def arrive(self) -> None:
        """The id has a node again."""
        self.leaving = self.forsaken = False
        self.attempts, self.dismissed_at, self.start_at = 0, 0.0, 0.0

    def dismiss(self) -> None:
        """Lets the process of a removed node end, which it does when its socket closes."""
        if self.socket is not None:
            self.dismissed_at = time.monotonic()
            self.socket.close()
            self.socket = None

    def dismissed_for_long(self) -> bool:
        """Kills the process if it did not end by itself; True once it has."""
        if not self.dismissed_at or time.monotonic() - self.dismissed_at < END_TIMEOUT_S:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def overdue_start(self) -> bool:
        """Whether it should have been ready by now."""
        late = time.monotonic() - self.started_at > START_TIMEOUT_S
        return self.process is not None and not self.ready and late

    def let_go(self) -> None:
        """The process lives on by itself; no warning when this object is collected."""
        if self.socket is not None:
            self.socket.close()
        if self.process is not None:
            self.process.returncode = 0

    def end(self, deadline: float) -> None:
        """Waits for a process that was asked to end; kills it when the time is over."""
        if self.process is not None:
            try:
                self.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill()
        if self.socket is not None:
            self.socket.close()

    def described(self) -> str:
        """For messages: who it was and how it ended."""
        return f"node {self.node} (pid {self.pid}; {self.ending or 'it is still running'})"


def _environment() -> dict[str, str]:
    """Ours, with our module path: a node imports what we would, and nothing of where it stands."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = [os.path.abspath(entry) for entry in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*path, folder])}


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"it was ended by {signal.Signals(-code).name}"
        except ValueError:  # most real-time signals have no name
            return f"it was ended by signal {-code}"
    return f"it ended with status {code}"
