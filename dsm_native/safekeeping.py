"""Keeping what a cluster holds: verifying it, what to do about losses, saving it.

A part of `Cluster` in a file of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dsm_native.arrays import check_array
from dsm_native.checking import check_objects, check_synchronisation
from dsm_native.contents import Contents
from dsm_native.membership import Membership
from dsm_native.recovery import LossReport, accept_lost, find_lost
from dsm_native.reports import CheckReport
from dsm_native.settings import check_flag, check_lock_timeout

if TYPE_CHECKING:
    from dsm_native.checkpoint import CheckpointReport
    from dsm_native.filling import FillReport, LossFiller


class Safekeeping(Contents, Membership):
    """The methods of `Cluster` that verify, give up, fill and save objects and arrays."""

    _filler: LossFiller | None

    def check(self, repair: bool = False) -> CheckReport:
        """Verifies everything in the segments, while they are used; see CheckReport.
        Objects of synchronisation too, but for bare numbers (counters, atomic arrays, who has a
        lock).

        repair: mend what replicas still tell: damaged objects and tables are taken from a replica
        that validates, counts are recomputed, memory that nothing refers to is freed, and a segment
        that is beyond mending is replaced, for which it waits, at most lock_timeout. Blocks for one
        stripe at a time; LockTimeoutError if a stopped process holds one.
        """
        report = check_objects(self._handle, repair, self.recovery != "none")
        report = report.joined(*check_synchronisation(self._handle, repair))
        for name in self.arrays:
            report = report.joined(*check_array(self._handle, name, repair))
        return report

    def lost(self) -> LossReport:
        """What no replica has any more; see LossReport. Looks at every key if there is anything.

        Reading a lost key raises NoReplicasAvailableError until it is put, deleted or accepted;
        so does reading an absent key of a stripe that has lost keys which nobody knows.
        """
        return find_lost(self._handle, self._all_regions())

    def accept_loss(self) -> LossReport:
        """Lets what is lost be absent from now on, and returns what that was.

        Blocks for one stripe at a time; LockTimeoutError.
        """
        return accept_lost(self._handle, self._all_regions())

    def recover_from(self, path: str | os.PathLike[str]) -> FillReport:
        """Puts an older copy, from a checkpoint, in the place of each object that is lost.

        path: a directory of `checkpoint`, or a file. Only what `lost` tells comes back, with new
        versions: keys that are known to be lost, and in stripes with unknown losses all keys that
        are absent, so also ones that were deleted since the checkpoint. What was put meanwhile
        stays. What is in no checkpoint stays lost, until it is put or accepted. Recorded as an
        event "filled" (see `failures`). Arrays are not touched.

        From any attached process; may be called again, also after a kill. Blocks for as long as the
        saved stripes take to be read. CorruptError or OSError of a checkpoint that was needed,
        after the ones before it were tried; UsageError if it is not of this cluster;
        LockTimeoutError, StoreFullError.
        """
        from dsm_native.checkpoint_directory import path_of
        from dsm_native.filling import fill_now

        return fill_now(self._handle, os.path.abspath(path_of(path)))

    def _fill_first(self) -> None:
        """Before a checkpoint: it should not lack what an earlier one could have given back."""
        if self._filler is not None:
            self._filler.attempt()

    def checkpoint(
        self, path_or_file: Any, *, full: bool = False, timeout: float | None = None
    ) -> CheckpointReport:
        """Saves all objects and arrays as they are at one instant, while everybody goes on.

        path_or_file: a directory (made if need be), which then keeps the two latest checkpoints
        (and the latest that shares no file with them, if they share one), and into which only
        changes are written when it can be (full: not even then); or anything with write(bytes),
        which gets the whole as a stream. `dsm_native.restore` makes a cluster of
        either. From any participant; one at a time: timeout, default lock_timeout, is how long to
        wait for another one, then LockTimeoutError.

        Writers of objects do not wait; writers of arrays do, while the latest changes are copied,
        for milliseconds. Not saved: locks, queues, counters and the like by name. StoreFullError if
        /dev/shm has no room for what is replaced meanwhile; OSError of the disk; TornWriteError and
        CorruptError for what is damaged: the checkpoints before stay as they were.
        """
        check_flag("full", full)
        if timeout is not None:
            timeout = check_lock_timeout(timeout, "timeout")
        if hasattr(path_or_file, "write"):
            from dsm_native.checkpoint import stream_checkpoint

            return stream_checkpoint(self._handle, path_or_file, timeout)
        from dsm_native.checkpoint_directory import directory_checkpoint, path_of

        return directory_checkpoint(self._handle, path_of(path_or_file), full, timeout)
