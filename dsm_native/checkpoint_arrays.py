"""Arrays in a checkpoint: copied ahead, then the small rest at the cut.

Tiles are copied while they are written, in passes: each copies what changed since the one before.
When little is left, reading blocks on all arrays hold writers off for as long as it takes to copy
the rest into private memory and to open the cut; then they go on. A tile whose version is that of
the checkpoint before, in the same build, is not copied at all.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsm_native._native.array import ArrayMap
from dsm_native._native.array_directory import array_names, find_array
from dsm_native._native.checkpoint import Cut
from dsm_native._native.frames import FRAME_PAYLOAD_MAX
from dsm_native._native.handle import Handle
from dsm_native.checkpoint_frames import ARRAY, TILE, TILES, FrameWriter
from dsm_native.exceptions import LockTimeoutError

if TYPE_CHECKING:
    import numpy as np

REST_BYTES = 8 << 20  # copied while writers wait; more is copied by another pass, while it helps
PASSES = 6
HOLD_S = 0.02  # how long to wait for writers of all arrays before letting others go on


@dataclass(frozen=True)
class SavedArray:
    """What the checkpoint before holds of an array."""

    build: int
    versions: bytes


class ArraySaver:
    """One build of an array on its way into a checkpoint."""

    def __init__(self, mapping: ArrayMap, number: int, before: SavedArray | None) -> None:
        import numpy as np

        self.mapping = mapping
        self.number = number
        self.known: np.ndarray[Any, Any] = np.full(mapping.tile_count, 1 << 63, np.uint64)
        if before is not None and before.build == mapping.build and not mapping.raw:
            saved = np.frombuffer(before.versions, np.uint64)
            if saved.size == mapping.tile_count:
                self.known = saved.copy()
        self.rest: list[tuple[int, bytes]] = []
        self.announced = False

    def describe(self) -> dict[str, Any]:
        """What is needed to make it again."""
        mapping = self.mapping
        return {
            "name": mapping.name,
            "build": mapping.build,
            "shape": list(mapping.shape),
            "dtype": mapping.description,
            "order": "F" if mapping.fortran else "C",
            "tile_bytes": mapping.tile_bytes,
            "tiles": mapping.tile_count,
            "bytes": mapping.data_bytes,
            "replicas": mapping.replicas,
            "undo": mapping.undo,
        }

    def changed(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Versions of now, and which tiles have others than those copied."""
        import numpy as np

        versions: np.ndarray[Any, Any] = np.frombuffer(self.mapping.versions(), np.uint64)
        return versions, np.flatnonzero(versions != self.known)

    def ranges(self, tiles: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
        """The bytes of these tiles, as runs."""
        import numpy as np

        if not tiles.size:
            return []
        size, end = self.mapping.tile_bytes, self.mapping.data_bytes
        cuts = np.flatnonzero(np.diff(tiles) != 1) + 1
        return [
            (int(run[0]) * size, min((int(run[-1]) + 1) * size, end))
            for run in np.split(tiles, cuts)
        ]

    def copy_ahead(self, writer: FrameWriter) -> bool:
        """Copies what has changed; False if the name means another build by now."""
        if not self.announced:
            writer.add_text(ARRAY, self.describe(), self.number)
            self.announced = True
        versions, tiles = self.changed()
        scratch = bytearray(min(FRAME_PAYLOAD_MAX, self.mapping.data_bytes))
        for low, high in self.ranges(tiles):
            for start in range(low, high, FRAME_PAYLOAD_MAX):
                end = min(start + FRAME_PAYLOAD_MAX, high)
                part = memoryview(scratch)[: end - start]
                if not self.mapping.snapshot(start, end, part):
                    return False
                writer.add(TILE, part, self.number, start)
        self.known[tiles] = versions[tiles]
        return True

    def copy_rest(self, most: int) -> int:
        """With writers held off: keeps what has changed; its bytes, or -1 if they are too many."""
        versions, tiles = self.changed()
        ranges = self.ranges(tiles)
        size = sum(high - low for low, high in ranges)
        if size > most:
            return -1
        memory = memoryview(self.mapping)
        self.rest = [(low, bytes(memory[low:high])) for low, high in ranges]
        self.known[tiles] = versions[tiles]
        return size

    def write_rest(self, writer: FrameWriter) -> None:
        """What was kept."""
        for low, data in self.rest:
            for start in range(0, len(data), FRAME_PAYLOAD_MAX):
                part = data[start : start + FRAME_PAYLOAD_MAX]
                writer.add(TILE, part, self.number, low + start)
        self.rest = []


class ArraysSaver:
    """All arrays of a cluster, up to the cut."""

    def __init__(self, handle: Handle, before: dict[str, SavedArray]) -> None:
        self._handle = handle
        self._before = before
        self._savers: dict[str, ArraySaver] = {}
        self._numbers = 0
        self.pause_seconds = 0.0

    def _look(self) -> None:
        """The arrays of now; those whose build is known go on."""
        savers: dict[str, ArraySaver] = {}
        for name in array_names(self._handle):
            mapping = find_array(self._handle, name)
            if mapping is None:
                continue
            known = self._savers.get(name)
            if known is None or known.mapping.build != mapping.build:
                known = ArraySaver(mapping, self._numbers, self._before.get(name))
                self._numbers += 1
            savers[name] = known
        self._savers = savers

    def open(self, cut: Cut, writer: FrameWriter, gens_before: bytes | None) -> None:
        """Copies ahead, then opens the cut while nobody writes to an array."""
        patience = self._handle.lock_timeout
        deadline = time.monotonic() + patience
        tries = 0
        while True:
            total = cut.arrays_sum
            self.write_rest(writer)  # of an attempt that failed: it is as good as copied ahead
            self._look()
            if not all(saver.copy_ahead(writer) for saver in self._savers.values()):
                continue
            most = REST_BYTES if tries < PASSES else 1 << 62
            wait = HOLD_S if time.monotonic() < deadline else patience
            started = time.perf_counter()
            try:
                with ExitStack() as stack:
                    if self._hold(stack, wait, most) and cut.open(total, gens_before):
                        return
            except LockTimeoutError:
                if wait == patience:
                    raise
                time.sleep(HOLD_S / 4)
            finally:
                paused = time.perf_counter() - started if self._savers else 0.0
                self.pause_seconds = max(self.pause_seconds, paused)
            tries += 1

    def _hold(self, stack: ExitStack, wait: float, most: int) -> bool:
        """Holds writers off and keeps the rest; False if it would take too long."""
        for saver in self._savers.values():
            mapping = saver.mapping
            block = mapping.begin(0, mapping.data_bytes, False, wait)
            if block is None:
                return False
            stack.callback(block.cancel)
        for saver in self._savers.values():
            size = saver.copy_rest(most)
            if size < 0:
                return False
            most -= size
        return True

    def write_rest(self, writer: FrameWriter) -> None:
        """What changed last, after the cut."""
        for saver in self._savers.values():
            saver.write_rest(writer)

    def write_state(self, writer: FrameWriter) -> None:
        """Which arrays there are, and the versions of their tiles."""
        for saver in self._savers.values():
            writer.add_text(ARRAY, saver.describe() | {"final": True}, saver.number)
            writer.add_words(TILES, saver.known.tobytes(), saver.number)

    @property
    def totals(self) -> tuple[int, int]:
        """(arrays, bytes of their elements)"""
        return len(self._savers), sum(s.mapping.data_bytes for s in self._savers.values())
