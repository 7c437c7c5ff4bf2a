"""Older copies from a checkpoint for objects of which no replica is left, where that is allowed.

Each stripe that has lost something takes from the newest checkpoint what the cluster misses: keys
that are marked as lost, and, while the stripe has lost keys that nobody knows, keys that are
absent. Whether one is missed is decided under the stripe's lock with each put, so what was put
since is never replaced, and who is killed at it is followed by whoever looks next. A checkpoint
that was taken when the stripe had lost something already, or that is damaged there, is followed by
the one before it.

`LossFiller` does so by itself, in the owner and, when that is gone, in the keeper among the nodes.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from dataclasses import dataclass

from dsm_native._native.handle import Handle
from dsm_native._native.members import report_filled, report_unfilled
from dsm_native._native.recovery import counters, lost_stripes
from dsm_native.checkpoint_chain import numbers_of
from dsm_native.exceptions import ClosedError, DSMError
from dsm_native.saved import SavedCheckpoint

LOOK_S = 0.1
RETRY_S = 0.1
RETRY_MAX_S = 30.0
PATIENCE = 6  # tries that the cluster refuses, as it does while a segment is replaced, unmentioned


@dataclass(frozen=True)
class FillReport:
    """What came back from checkpoints.

    objects, value_bytes: put, with new versions. stripes: that had lost something. unfilled: of
    these, that still have: objects that were put after the checkpoint was taken are in none.
    checkpoints: numbers of those that were used, the newest first.
    """

    objects: int
    value_bytes: int
    stripes: int
    unfilled: int
    checkpoints: tuple[int, ...]


class RefusedError(Exception):
    """The cluster, and not the checkpoint, is why an object could not be put."""

    def __init__(self, error: DSMError | OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Filling:
    """One attempt: which stripes still want something, and what was met on the way."""

    def __init__(self, handle: Handle, node: int) -> None:
        self._handle, self._node = handle, node
        self.wanting = set(lost_stripes(handle))
        self.objects = self.value_bytes = 0
        self.used: list[int] = []
        self.errors: list[DSMError | OSError] = []

    def take(self, source: str, number: int) -> None:
        """What one checkpoint has for the stripes that want something."""
        try:
            saved = SavedCheckpoint(source, number)
        except (DSMError, OSError) as error:
            self.errors.append(error)
            return
        with saved:
            reloader = saved.reloader(self._handle, lost=True)
            filled, before = 0, 0
            try:
                for stripe in sorted(self.wanting):
                    try:
                        saved.put_back(reloader, stripe)
                    except (DSMError, OSError) as error:
                        if reloader.refused:
                            raise RefusedError(error) from error
                        self.errors.append(error)
                    else:
                        if not saved.lacks(stripe):
                            self.wanting.discard(stripe)
                    filled += reloader.objects > before
                    before = reloader.objects
            finally:
                self._tell(saved, filled, reloader.objects, reloader.value_bytes)

    def _tell(self, saved: SavedCheckpoint, stripes: int, objects: int, size: int) -> None:
        if objects:
            self.objects += objects
            self.value_bytes += size
            self.used.append(saved.number)
        taken_ns = int(saved.taken_at * 1e9)
        report_filled(self._handle, self._node, stripes, size, saved.number, taken_ns)


def fill_lost(handle: Handle, source: str, node: int = -1) -> FillReport:
    """Puts back what the checkpoints of a directory, or a file, have of what the cluster has lost.

    Raises what a checkpoint that was needed raises, after the others were tried; RefusedError.
    """
    filling = _Filling(handle, node)
    stripes = len(filling.wanting)
    numbers = numbers_of(source) if stripes else []
    if stripes:
        for number in numbers or [0]:  # an empty directory holds no number at all, which is told
            if filling.wanting:
                filling.take(source, number)
    left = set(lost_stripes(handle))
    if left & filling.wanting and filling.errors:
        raise filling.errors[0]
    return FillReport(filling.objects, filling.value_bytes, stripes, len(left), tuple(filling.used))


def fill_now(handle: Handle, source: str) -> FillReport:
    """As above, for a caller who waits for it."""
    try:
        return fill_lost(handle, source)
    except RefusedError as refused:
        raise refused.error from None


class LossFiller:
    """Fills, as long as this process is the keeper, what is lost; `close` ends it.

    node: that of this process, or -1 in the owner. `latest_error` is why the latest attempt failed.
    """

    def __init__(self, handle: Handle, source: str, node: int = -1) -> None:
        self._handle, self._source, self._node = handle, source, node
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._settled = 0  # the number of objects lost with which nothing is left to be done
        self._retry_at = 0.0
        self._failures = 0
        self.latest_error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dsm-filler", daemon=True)
        self._thread.ends_with_cluster = True  # type: ignore[attr-defined]
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._ended.wait(LOOK_S):
                if time.monotonic() >= self._retry_at and self._keeps():
                    self.attempt()
        except ClosedError:
            pass

    def _keeps(self) -> bool:
        lost = counters(self._handle)["objects_lost"]
        if lost == self._settled or self._node < 0:
            return lost != self._settled
        for entry in self._handle.participants():
            lower = entry["node"] is not None and entry["node"] < self._node
            if entry["alive"] and (lower or entry["kind"] == "owner"):
                return False
        return True

    def attempt(self) -> None:
        """Fills what is lost now; a failure is warned of, once per kind, and tried again."""
        with self._turn:
            lost = counters(self._handle)["objects_lost"]
            if lost == self._settled:
                return
            try:
                report = fill_lost(self._handle, self._source, self._node)
            except ClosedError:
                raise
            except (
                Exception
            ) as error:  # whatever it is, what is lost stays so, and all else goes on
                self._failed(error)
            else:
                self.latest_error, self._failures, self._settled = None, 0, lost
                if report.unfilled:
                    report_unfilled(self._handle, self._node, report.unfilled)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        pause = min(RETRY_MAX_S, RETRY_S * 2 ** min(self._failures, 16))
        self._retry_at = time.monotonic() + pause
        if isinstance(error, RefusedError):
            if self._failures < PATIENCE:
                return
            error = error.error
        known, self.latest_error = self.latest_error, error
        if type(error) is type(known):
            return
        report_unfilled(self._handle, self._node, len(lost_stripes(self._handle)))
        try:
            warnings.warn(
                f"objects that cluster {self._handle.name!r} has lost cannot be taken from the "
                f"checkpoint {os.fspath(self._source)!r}, and stay lost for now: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
        except RuntimeWarning as warning:  # where warnings are errors
            threading.excepthook(
                threading.ExceptHookArgs(
                    (type(warning), warning, warning.__traceback__, threading.current_thread())
                )
            )

    def close(self) -> None:
        """Ends the thread, after the stripe that it is at."""
        self._ended.set()
        self._thread.join()
