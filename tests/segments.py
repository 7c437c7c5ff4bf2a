"""A cluster's segments as files, for tests that damage them."""

from __future__ import annotations

import mmap
import os

SMALL = 16 << 20  # a segment small enough to be searched


class Segment:
    """The bytes of node `node` (or of the control segment) of a running cluster."""

    def __init__(self, name: str, node: int | None = None) -> None:
        tail = "" if node is None else f"-n{node}"
        self.path = f"/dev/shm/dsm-{os.getuid()}-{name}{tail}"
        descriptor = os.open(self.path, os.O_RDWR)
        self.bytes = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        os.close(descriptor)

    def flip(self, needle: bytes, at: int = 0, bit: int = 1) -> bool:
        """Flips a bit `at` bytes behind the start of the first place that holds the needle."""
        found = self.bytes.find(needle)
        if found >= 0:
            self.bytes[found + at] ^= bit
        return found >= 0

    def find_all(self, needle: bytes) -> list[int]:
        """Every place that holds the needle."""
        places, at = [], self.bytes.find(needle)
        while at >= 0:
            places.append(at)
            at = self.bytes.find(needle, at + 1)
        return places

    def empty(self) -> None:
        """Zeroes all at once, before anybody can copy a part of it to where it is safe."""
        self.bytes.madvise(mmap.MADV_REMOVE)

    def zero(self, start: int = 0, end: int | None = None) -> None:
        """Zeroes a range, or all."""
        end = len(self.bytes) if end is None else end
        for at in range(start, end, 1 << 20):
            self.bytes[at : min(at + (1 << 20), end)] = bytes(min(1 << 20, end - at))
