"""Delivery of a cluster's events to a callback, in order, each exactly once per subscription.

One daemon thread per subscription sleeps in the core until an event is recorded; it reads from the
ring in shared memory by its own cursor, so that subscribers neither share nor slow anything. A
subscription belongs to the process that made it: a forked child has none, and subscribes itself.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

from dsm_native._native.handle import Handle
from dsm_native._native.members import Reader
from dsm_native.exceptions import UsageError
from dsm_native.failures import NodeEvent, event_of

END_TIMEOUT_S = 5.0


class Subscription:
    """Calls `callback(event)` until it is closed, or the cluster stops. Made by `subscribe`."""

    def __init__(
        self, handle: Handle, callback: Callable[[NodeEvent], object], since: int | None
    ) -> None:
        if not callable(callback):
            raise UsageError(f"callback must be callable, not {callback!r}")
        if since is not None and (type(since) is not int or not 1 <= since < 1 << 63):
            raise UsageError(f"since must be the sequence number of an event, not {since!r}")
        self._callback = callback
        self._reader = Reader(handle, since)
        self._pid = os.getpid()
        self._thread = threading.Thread(
            target=self._deliver, name=f"dsm events of {handle.name}", daemon=True
        )
        self._thread.ends_with_cluster = True  # type: ignore[attr-defined]
        self._thread.start()

    def _deliver(self) -> None:
        reader = self._reader
        reader.begin()
        try:
            while not reader.over:
                sequence = reader.next
                entry = reader.take()
                if entry is not None:
                    self._call(event_of(entry, sequence))
                elif not reader.wait():
                    break
            # What was recorded before the cluster stopped is still told.
            while not reader.over and (entry := reader.take()) is not None:
                self._call(event_of(entry, reader.next - 1))
        finally:
            reader.release()

    def _call(self, event: NodeEvent) -> None:
        try:
            self._callback(event)
        except BaseException as error:  # sys.exit() too: the next event is delivered all the same
            sys.unraisablehook(
                SimpleNamespace(
                    exc_type=type(error),
                    exc_value=error,
                    exc_traceback=error.__traceback__,
                    err_msg=f"Exception ignored in a callback for {event.kind!r} events",
                    object=self._callback,
                )
            )

    @property
    def active(self) -> bool:
        """Whether events are still delivered, in this process."""
        return os.getpid() == self._pid and self._thread.is_alive()

    def close(self) -> None:
        """Ends the delivery; no call begins after this has returned. Idempotent.

        Waits for a callback that is under way, unless it is called from that callback.
        """
        self._reader.over = True
        if os.getpid() == self._pid and self._thread is not threading.current_thread():
            self._thread.join(END_TIMEOUT_S)

    def __repr__(self) -> str:
        state = "active" if self.active else "ended"
        return f"<Subscription to {self._thread.name[len('dsm ') :]}, {state}>"

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
