"""The thread that makes the calls of `add_done_callback`, made when the first one comes.

Such a call may wait for other tasks, so who takes in results must not make it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Callbacks:
    """A queue of calls, and the thread that makes them in order."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] | None = None

    def calls(self) -> queue.SimpleQueue[Callable[[], None] | None]:
        """The queue; for `settling.settle`."""
        if self._calls is None:
            calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
            threading.Thread(target=_make, args=(calls,), daemon=True).start()
            self._calls = calls
        return self._calls

    def close(self) -> None:
        """The thread ends when it has made what is queued."""
        if self._calls is not None:
            self._calls.put(None)


def _make(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
