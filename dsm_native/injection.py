"""Faults on purpose: killing and pausing nodes, damaging and unlinking their segments.

Only in a cluster that was made with `faults=True`; from any process that is attached to it. What is
done to a segment is done through its file, as a stray process or a bad memory cell would do it.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.members import areas, signal_node, watching
from dsm_native._native.nodes import node_state, node_table
from dsm_native.exceptions import NodeLostError, UsageError
from dsm_native.settings import check_flag
from dsm_native.sweep import FOLDER, segment_of

AREAS = ("header", "unsettled", "routes", "subs", "pages", "data", "any")


@dataclass(frozen=True)
class Damage:
    """What `corrupt` did: bytes changed, by their offset in the node's segment."""

    node: int
    area: str
    seed: int
    zeroed: bool
    offsets: tuple[int, ...]


class Faults:
    """`cluster.faults`: does to nodes what failures do. Each call names its node by id."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return f"<Faults of cluster {self._handle.name!r}>"

    def kill(self, node: int) -> int:
        """SIGKILL of the node's process; returns its pid. NodeLostError if there is none."""
        self.check()
        return signal_node(self._handle, node, "kill")

    def pause(self, node: int) -> int:
        """SIGSTOP of the node's process: it hangs until `resume`, or until it is found hung."""
        self.check()
        return signal_node(self._handle, node, "stop")

    def resume(self, node: int) -> int:
        """SIGCONT of the node's process; returns its pid."""
        self.check()
        return signal_node(self._handle, node, "continue")

    def corrupt(
        self,
        node: int,
        *,
        area: str = "data",
        flips: int = 1,
        zero: bool = False,
        offset: int | None = None,
        size: int = 4096,
        seed: int = 0,
    ) -> Damage:
        """Damages bytes of the node's segment that are in use; returns which.

        area: "header", "unsettled", "routes", "subs", "pages" (the page map), "data" (tables and
        objects), or "any". flips: so many single bits, chosen by `seed`. zero: zeroes a range of
        `size` bytes instead, from `offset` in the segment on, or from a place chosen by `seed`
        (`flips` then means nothing; `offset` is for zeroing alone).
        The same seed damages the same places while the segment has the same memory.
        """
        self.check()
        if area not in AREAS:
            raise UsageError(f"area must be one of {', '.join(map(repr, AREAS))}, not {area!r}")
        for name, value, low in (("flips", flips, 1), ("size", size, 1), ("seed", seed, 0)):
            if type(value) is not int or value < low:
                raise UsageError(f"{name} must be an int from {low} on, not {value!r}")
        check_flag("zero", zero)
        end = areas(self._handle)["end"]
        if size > end:
            raise UsageError(f"size must be an int from 1 to {end:,}, not {size:,}")
        if offset is not None:
            if not zero:
                raise UsageError("offset is where to zero: it needs zero=True; flips choose places")
            _check_range(offset, size, end)
        chance = random.Random(seed)
        with self._opened(node) as file:
            ranges = list(_backed(file, *self._limits(area)))
            total = sum(end - start for start, end in ranges)
            if not total:
                raise UsageError(f"area {area!r} of node {node} has no memory yet")
            if zero:
                first = _place(ranges, chance.randrange(total)) if offset is None else offset
                first = min(first, end - size)
                os.pwrite(file, bytes(size), first)
                return Damage(node, area, seed, True, (first, first + size))
            offsets = [_place(ranges, chance.randrange(total)) for _ in range(flips)]
            for at in offsets:
                old = os.pread(file, 1, at)[0]
                os.pwrite(file, bytes([old ^ 1 << chance.randrange(8)]), at)
            return Damage(node, area, seed, False, tuple(offsets))

    def unlink(self, node: int) -> str:
        """Removes the name of the node's segment; who has it mapped keeps it. Returns the name."""
        self.check()
        name = self._segment(node)
        try:
            os.unlink(f"{FOLDER}/{name}")
        except FileNotFoundError:
            raise NodeLostError(f"the segment {name} of node {node} has no name any more") from None
        return name

    # ---- inside ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises UsageError unless the cluster allows faults."""
        if not watching(self._handle)[-1]:
            raise UsageError(
                f"cluster {self._handle.name!r} was made without faults=True, so none are injected"
            )

    def _segment(self, node: int) -> str:
        if type(node) is not int or not node_state(self._handle, node):
            known = sorted(node_table(self._handle))
            raise UsageError(f"node must be one of {known}, not {node!r}")
        return segment_of(self._handle.name, node)

    @contextlib.contextmanager
    def _opened(self, node: int) -> Iterator[int]:
        name = self._segment(node)
        try:
            file = os.open(f"{FOLDER}/{name}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NodeLostError(f"the segment {name} of node {node} has no name any more") from None
        try:
            yield file
        finally:
            os.close(file)

    def _limits(self, area: str) -> tuple[int, int]:
        begins = areas(self._handle)
        if area == "any":
            return 0, begins["end"]
        names = list(begins)
        return begins[area], begins[names[names.index(area) + 1]]


def _backed(file: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """The ranges between two offsets that have memory."""
    at = low
    while at < high:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        if start < high:
            yield start, min(end, high)
        at = end


def _place(ranges: list[tuple[int, int]], number: int) -> int:
    for start, end in ranges:
        if number < end - start:
            return start + number
        number -= end - start
    raise IndexError(number)


def _check_range(first: Any, size: int, end: int) -> None:
    if type(first) is not int or not 0 <= first <= end - size:
        raise UsageError(
            f"offset must be an int from 0 to {end - size:,} for {size:,} bytes, not {first!r}"
        )
