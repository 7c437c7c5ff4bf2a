"""Arrays out of a checkpoint: made anew, then filled with the newest bytes of each tile.

Within a file later bytes replace earlier ones; of an older file only those tiles are taken that no
newer one has, and only if both mean the same build.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsm_native._native.array import ArrayMap
from dsm_native._native.array_directory import create_array, replace_array
from dsm_native._native.handle import Handle
from dsm_native.array_geometry import checked_dtype, checked_shape, geometry_of, rows_of
from dsm_native.checkpoint_frames import ARRAY, TILE, Frame, FrameReader
from dsm_native.exceptions import CorruptError, UsageError

if TYPE_CHECKING:
    import numpy as np

DTYPE_BYTES_MAX = 65535


@dataclass
class Loaded:
    """An array that is being filled."""

    build: int
    mapping: ArrayMap
    target: memoryview
    owned: np.ndarray[Any, Any]  # tiles that a newer file has
    fresh: np.ndarray[Any, Any]  # tiles that this file has
    final: bool = False


class ArrayLoader:
    """All arrays of a chain, file by file, the newest first."""

    def __init__(self, handle: Handle, factor_then: int) -> None:
        self._handle = handle
        self._factor_then = factor_then
        self._arrays: dict[str, Loaded] = {}
        self._numbers: dict[int, Loaded | None] = {}
        self._reader: FrameReader | None = None
        self._newest = False

    def next_file(self, reader: FrameReader) -> None:
        """What follows is of that file."""
        self._newest = self._reader is None
        self._reader = reader
        self._numbers = {}
        if not self._newest:
            self._drop_unfinished()
        for loaded in self._arrays.values():
            loaded.owned |= loaded.fresh
            loaded.fresh[:] = False

    def take(self, frame: Frame) -> None:
        """One ARRAY, TILE or TILES frame."""
        if frame.kind == ARRAY:
            self._take_array(frame)
        elif frame.kind == TILE:
            self._take_tile(frame)

    def finish(self) -> None:
        """Every byte is there: the copies are made."""
        self._drop_unfinished()
        assert self._reader is not None
        for name, loaded in self._arrays.items():
            missing = int((~(loaded.owned | loaded.fresh)).sum()) if loaded.target.nbytes else 0
            if missing:
                raise self._reader.damaged(
                    f"{missing} tiles of array {name!r} are missing; it ends"
                )
            loaded.target.release()
            loaded.mapping.replicate()

    def _drop_unfinished(self) -> None:
        # Deleted, or replaced, while the checkpoint was being taken.
        for name, loaded in list(self._arrays.items()):
            if not loaded.final:
                loaded.target.release()
                replace_array(loaded.mapping, None, None)
                del self._arrays[name]

    def _take_array(self, frame: Frame) -> None:
        assert self._reader is not None
        reader = self._reader
        content = reader.text(frame)
        name = reader.field(content, "name", str)
        build = reader.field(content, "build", int, 1)
        known = self._arrays.get(name)
        if known is not None and known.build == build:
            self._numbers[frame.subject] = known
            known.final |= self._newest and bool(content.get("final"))
            return
        self._numbers[frame.subject] = None
        if not self._newest:
            return
        if known is not None:
            known.target.release()
            replace_array(known.mapping, None, None)
            del self._arrays[name]
        self._numbers[frame.subject] = self._arrays[name] = self._make(reader, content, build)
        self._arrays[name].final = bool(content.get("final"))

    def _make(self, reader: FrameReader, content: dict[str, Any], build: int) -> Loaded:
        import numpy as np

        name = content["name"]
        asked = self._geometry(reader, content)
        made = create_array(self._handle, name, asked)
        if made is None or made.tile_count != reader.field(content, "tiles", int):
            raise reader.damaged(f"array {name!r} makes no sense, before the one")
        none: np.ndarray[Any, Any] = np.zeros(made.tile_count, bool)
        return Loaded(build, made, memoryview(made), none, none.copy())

    def _geometry(self, reader: FrameReader, content: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        try:
            text = reader.field(content, "dtype", str)
            if len(text) > DTYPE_BYTES_MAX:
                raise ValueError("a dtype of too many bytes")
            dtype = checked_dtype(np.lib.format.descr_to_dtype(ast.literal_eval(text)))
            shape = checked_shape(reader.field(content, "shape", list))
            order = reader.field(content, "order", str)
            saved = reader.field(content, "replicas", int, 1, 5)
            factor = self._handle.replicas
            replicas = factor if saved == self._factor_then else min(saved, factor)
            tile_bytes = reader.field(content, "tile_bytes", int, 1)
            undo = reader.field(content, "undo", bool)
            rows = rows_of(shape, order)
            size = math.prod(shape) * dtype.itemsize
            tile_rows = max(1, tile_bytes // (size // rows)) if rows and size else None
            asked = geometry_of(shape, dtype, order, tile_rows, replicas, undo)
        except (ValueError, SyntaxError, TypeError, MemoryError, UsageError) as error:
            name = content.get("name")
            raise reader.damaged(f"array {name!r}: {error}; before the one") from None
        if order not in ("C", "F") or asked["data_bytes"] != content.get("bytes"):
            raise reader.damaged(f"array {content['name']!r} makes no sense, before the one")
        return asked

    def _take_tile(self, frame: Frame) -> None:
        assert self._reader is not None
        if frame.subject not in self._numbers:
            raise self._reader.damaged("a tile of an array that was not named, before the one")
        loaded = self._numbers[frame.subject]
        if loaded is None:
            return
        low, high = frame.first, frame.first + len(frame.payload)
        if high > loaded.mapping.data_bytes or low == high:
            raise CorruptError(
                f"{self._reader.name}: bytes {low:,} to {high:,} of an array of "
                f"{loaded.mapping.data_bytes:,}, at offset {frame.offset:,}"
            )
        size = loaded.mapping.tile_bytes
        first, last = low // size, (high - 1) // size
        if not loaded.owned[first : last + 1].any():
            loaded.target[low:high] = frame.payload
        else:
            for tile in range(first, last + 1):
                if loaded.owned[tile]:
                    continue
                start, end = max(tile * size, low), min((tile + 1) * size, high)
                loaded.target[start:end] = frame.payload[start - low : end - low]
        loaded.fresh[first : last + 1] = True
