"""Checkpoints at intervals, and the last one when the cluster is closed.

A thread of the owner takes them. A checkpoint that fails is warned of, once per kind of failure in
a row, and tried again at the next interval: the cluster goes on, and the checkpoints that are there
stay. At close() one more is taken, so that an orderly end loses nothing.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

from dsm_native.exceptions import ClosedError

if TYPE_CHECKING:
    from dsm_native.cluster import Cluster


class CheckpointTimer:
    """Takes a checkpoint of the cluster every `interval` seconds, counted from the last one's end.

    `latest_error` is the failure of the latest one, None if it succeeded.
    """

    def __init__(self, cluster: Cluster, interval: float, path: str) -> None:
        self._cluster = cluster
        self._interval = interval
        self._path = path
        self._ended = threading.Event()
        self.latest_error: BaseException | None = None
        self.taken = 0
        self._thread = threading.Thread(target=self._run, name="dsm-checkpoints", daemon=True)
        self._thread.ends_with_cluster = True  # type: ignore[attr-defined]
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self._take()
            except RuntimeWarning as error:  # where warnings are errors; the next one is tried
                threading.excepthook(
                    threading.ExceptHookArgs(
                        (type(error), error, error.__traceback__, threading.current_thread())
                    )
                )

    def _take(self) -> None:
        try:
            self._cluster._fill_first()
            self._cluster.checkpoint(self._path)
        except ClosedError:
            return
        except Exception as error:  # whatever it is, the cluster and the next checkpoint go on
            known, self.latest_error = self.latest_error, error
            if type(error) is not type(known):
                warnings.warn(
                    f"checkpoint of cluster {self._cluster.name!r} to {self._path}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        else:
            self.latest_error = None
            self.taken += 1

    def close(self) -> None:
        """Ends the thread and takes the last checkpoint."""
        self._ended.set()
        self._thread.join()
        self._take()
