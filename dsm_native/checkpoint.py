"""Taking a checkpoint of a running cluster: one instant, without stopping writers.

What is in it: every object of every region, with its version, and every array, as they all were at
the instant at which the cut was opened (csrc/store/cut.h). A write that returned before the call is
in it, one that began after the call returned is not, and a transaction is in it as a whole or not
at all. What is not: locks, semaphores, barriers, events, conditions, queues, counters and atomics
by name, which tell of running processes, and regions of the package's own.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import Any

from dsm_native._native.checkpoint import Cut
from dsm_native._native.handle import Handle
from dsm_native._native.nodes import node_table
from dsm_native._native.recovery import lost_stripes
from dsm_native.checkpoint_arrays import ArraysSaver, SavedArray
from dsm_native.checkpoint_frames import BEGIN, END, FORMAT, GENS, REGIONS, FrameWriter


@dataclass(frozen=True)
class CheckpointReport:
    """What a checkpoint wrote.

    number: in its directory, 0 for a stream. incremental: whether it holds changes only. objects,
    value_bytes: written now. arrays: how many there are. bytes: size of what was written. seconds:
    for the whole call; pause_seconds: at most so long could writers of arrays wait.
    """

    number: int
    incremental: bool
    objects: int
    value_bytes: int
    arrays: int
    bytes: int
    seconds: float
    pause_seconds: float


@dataclass(frozen=True)
class Before:
    """What an incremental checkpoint builds on: the file before, and what it knows."""

    file: int
    generations: bytes
    arrays: dict[str, SavedArray]


@dataclass(frozen=True)
class Taken:
    """What was written, for who keeps the file."""

    file: int
    state_offset: int
    bytes: int
    objects: int
    value_bytes: int
    arrays: int
    pause_seconds: float


def region_table(handle: Handle) -> list[dict[str, Any]]:
    """The regions in order of creation; those of the package's own are named, but not saved."""
    table = []
    for name in handle.region_names():
        _, replicas, pickles = handle.open_region(name, 1, True, False)
        table.append({"name": name, "replicas": replicas, "allow_pickle": bool(pickles)})
    return table


def write_checkpoint(
    handle: Handle,
    cut: Cut,
    write: Callable[[Any], Any],
    before: Before | None,
    number: int,
    threaded: bool,
) -> Taken:
    """Writes one file's worth of frames; the cut was begun, and is ended by the caller."""
    writer = FrameWriter(write, threaded)
    lost = set(lost_stripes(handle))
    try:
        cluster, seed = cut.identity
        began = {
            "format": FORMAT,
            "cluster": f"{cluster:016x}",
            "seed": f"{seed:016x}",
            "name": handle.name,
            "stripes": handle.stripes,
            "nodes": sum(state == "up" for state, _, _ in node_table(handle).values()),
            "replicas": handle.replicas,
            "number": number,
            "before": f"{before.file:016x}" if before else "",
            "taken_at": time.time(),
        }
        writer.add_text(BEGIN, began)
        arrays = ArraysSaver(handle, before.arrays if before else {})
        arrays.open(cut, writer, before.generations if before else None)
        writer.add_text(REGIONS, region_table(handle))
        arrays.write_rest(writer)
        writer.walk(cut)
        state_offset = writer.offset
        arrays.write_state(writer)
        writer.add_words(GENS, cut.generations)
        cut.check()
        objects, value_bytes, _ = cut.totals
        lost.update(lost_stripes(handle))
        end = {
            "objects": objects,
            "value_bytes": value_bytes,
            "arrays": arrays.totals[0],
            "lost": f"{sum(1 << stripe for stripe in lost):x}",
        }
        writer.add_text(END, end)
        writer.finish()
        return Taken(
            writer.file,
            state_offset,
            writer.offset,
            objects,
            value_bytes,
            arrays.totals[0],
            arrays.pause_seconds,
        )
    finally:
        writer.stop()


def hand_over(file: Any, buffer: Any) -> None:
    """Everything in the buffer to a stream, as bytes, which it may keep: the buffer is used again.

    OSError if it takes nothing, or tells of more than it was given; TypeError if it tells no count.
    """
    left = memoryview(whole := bytes(buffer))
    done = file.write(whole)
    while done is not None:  # many files say nothing when they took all of it
        if isinstance(done, bool):
            raise TypeError(f"write() of {file!r} returned {done}, which is no number of bytes")
        if not 0 < index(done) <= len(left):
            raise OSError(f"write() of {file!r} tells that it took {done:,} of {len(left):,} bytes")
        left = left[index(done) :]
        if not len(left):
            return
        done = file.write(left)
    if isinstance(file, io.RawIOBase):  # there it means that nothing could be written now
        raise BlockingIOError(
            f"{file!r} does not block, so the rest of the checkpoint is not in it"
        )


def stream_checkpoint(handle: Handle, file: Any, timeout: float | None) -> CheckpointReport:
    """A whole checkpoint to anything with write(bytes); see `Cluster.checkpoint`."""
    started = time.perf_counter()

    cut = Cut(handle)
    cut.begin(timeout)
    try:
        taken = write_checkpoint(handle, cut, partial(hand_over, file), None, 0, False)
    finally:
        cut.end()
    if hasattr(file, "flush"):
        file.flush()
    return report_of(taken, 0, False, started)


def report_of(taken: Taken, number: int, incremental: bool, started: float) -> CheckpointReport:
    """The report of what was taken."""
    return CheckpointReport(
        number,
        incremental,
        taken.objects,
        taken.value_bytes,
        taken.arrays,
        taken.bytes,
        time.perf_counter() - started,
        taken.pause_seconds,
    )
