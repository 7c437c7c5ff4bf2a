"""Forked children that tests talk with, stop and kill.

The child runs a function of one argument, by which it says things to the test; the test hears them
in order. A child that fails says so with its traceback.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

PATIENCE_S = 20.0


class Child:
    """A forked process that runs `work(say)`; as a context manager, killed at the end."""

    def __init__(self, work: Callable[[Callable[[Any], None]], None]) -> None:
        self._ear, mouth = multiprocessing.Pipe(False)
        self._ended = False
        self.pid = os.fork()
        if self.pid:
            mouth.close()
            return
        status = 1
        try:
            self._ear.close()
            work(lambda said: mouth.send(("said", said)))
            status = 0
        except BaseException:
            mouth.send(("failed", traceback.format_exc()))
        finally:
            os._exit(status)

    def hears(self) -> Any:
        """What the child says next."""
        assert self._ear.poll(PATIENCE_S), f"child {self.pid} says nothing"
        kind, said = self._ear.recv()
        assert kind == "said", said
        return said

    def silent(self, seconds: float) -> bool:
        """Whether it says nothing for so long."""
        return not self._ear.poll(seconds)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns at once."""
        self.signal(signal.SIGKILL)

    def ends(self) -> int:
        """Waits for its end; the signal that ended it, or 0."""
        self._ended = True
        _, status = os.waitpid(self.pid, 0)
        if status and not os.WIFSIGNALED(status):
            raise AssertionError(self._ear.recv()[1])
        return os.WTERMSIG(status) if status else 0

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            self.signal(signal.SIGCONT)
            self.kill()
            os.waitpid(self.pid, 0)
        self._ear.close()
