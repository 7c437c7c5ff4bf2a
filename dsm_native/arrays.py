"""Shared arrays: N-dimensional memory that processes read and write in place.

An array is divided into *tiles*, runs of consecutive rows. `writing` takes the tiles that an index
touches and publishes them as a whole; `snapshot` and `reading` see whole blocks only; `np.asarray`
is the raw memory, for those who order their accesses by other means. A kill restores, see
docs/guarantees.md. Every method may be called from any process and thread at once. numpy is
imported by what needs it, so that programs without arrays do not wait for it.

Longer than 400 lines: all that users can ask of an array is one class.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsm_native._native.array import ArrayCore, ArrayMap
from dsm_native._native.array_check import check_mapping, heal_array, look_at_array
from dsm_native._native.array_directory import (
    array_names,
    create_array,
    find_array,
    replace_array,
)
from dsm_native._native.handle import Handle
from dsm_native._native.nodes import node_state, node_table
from dsm_native.array_blocks import Reading, Writing
from dsm_native.array_geometry import (
    checked_dtype,
    checked_shape,
    dtype_of,
    extent_of,
    geometry_of,
    keeping_axes,
    rows_of,
)
from dsm_native.exceptions import (
    KeyNotFoundError,
    LockTimeoutError,
    NoReplicasAvailableError,
    StoreFullError,
    UsageError,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Array", "Tile", "array_names", "check_array", "open_array"]


@dataclass(frozen=True)
class Tile:
    """One tile: its number, the index of its rows, the node that is to work on it, its version.

    `array[index]`-style use: `np.asarray(array)[tile.index]`, `array.writing(tile.index)`.
    """

    number: int
    index: tuple[Any, ...]
    node: int
    version: int


def open_array(
    handle: Handle,
    replicas: int,
    name: str,
    shape: int | Iterable[int] | None,
    dtype: Any,
    settings: dict[str, Any],
) -> Array:
    """Opens the array of that name, or creates it; see `Cluster.array`."""
    array = Array(handle, name)
    while True:
        if array._find() is not None:
            array._compare(shape, dtype, settings)
            return array
        if shape is None:
            raise KeyNotFoundError(f"no array {name!r}; give a shape to create it")
        asked = geometry_of(
            checked_shape(shape),
            checked_dtype("f8" if dtype is None else dtype),
            settings["order"] or "C",
            settings["tile_rows"],
            settings["replication_factor"] or replicas,
            settings["undo"] is not False,
        )
        made = create_array(handle, name, asked)
        if made is not None:
            array._adopt(made)
            return array


def check_array(handle: Handle, name: str, repair: bool) -> tuple[int, int, list[str], list[str]]:
    """(problems, repaired, texts, texts of repairs) of one array. Repair makes lost copies anew,
    and a damaged one from a sound one."""
    healed = 0
    try:
        if repair:
            healed = heal_array(handle, name)
        seen = look_at_array(handle, name)
        if seen is None:
            return healed, healed, [], []
        problems, repaired, texts, repairs = check_mapping(seen, repair)
        if healed:
            repairs.insert(0, f"array {name!r}: {healed} copies or words of tiles were made anew")
        return problems + healed, repaired + healed, repairs[:1] * (healed > 0) + texts, repairs
    except (NoReplicasAvailableError, LockTimeoutError, StoreFullError) as error:
        return 1, 0, [str(error)], []


class Array(ArrayCore):
    """A shared array of fixed-size elements. Made by `Cluster.array`; see there for settings.

    `np.asarray(array)`, `memoryview(array)` and DLPack give its memory itself: writable, in every
    process, without a copy, and valid until it is dropped, also after `delete`, `resize` and
    `close`. What is written that way is seen by all at once, in no order, is not undone by a kill,
    and reaches the backups with the next `writing` of these bytes. A handle pickles, and attaches
    where it is unpickled.
    """

    _map: ArrayMap | None

    def __init__(self, handle: Handle, name: str) -> None:
        self._map = None
        self._base: np.ndarray[Any, Any] | None = None

    # ---- which memory ---------------------------------------------------------------------------

    def _adopt(self, mapping: ArrayMap) -> ArrayMap:
        import numpy as np

        dtype = dtype_of(ast.literal_eval(mapping.description))
        order: Any = "F" if mapping.fortran else "C"
        self._base = np.ndarray(mapping.shape, dtype, buffer=memoryview(mapping), order=order)
        self._map = mapping
        return mapping

    def _find(self) -> ArrayMap | None:
        found = find_array(self.handle, self.name)
        return None if found is None else self._adopt(found)

    def _mapping(self) -> ArrayMap:
        """The mapping of what the name means now."""
        if self._map is not None and self._map.current:
            return self._map
        found = self._find()
        if found is None:
            raise KeyNotFoundError(f"array {self.name!r} was deleted")
        return found

    def _ndarray(self) -> np.ndarray[Any, Any]:
        self._mapping()
        assert self._base is not None
        return self._base.view()

    def _compare(self, shape: Any, dtype: Any, settings: dict[str, Any]) -> None:
        asked: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
        if shape is not None:
            asked["shape"] = checked_shape(shape)
        if dtype is not None:
            asked["dtype"] = checked_dtype(dtype)
        for label, value in asked.items():
            has = getattr(self, label)
            if has != value and not (label == "tile_rows" and value > has == self._rows()):
                raise UsageError(f"array {self.name!r} exists with {label}={has}, not {value}")

    def exported(self) -> np.ndarray[Any, Any]:
        """The whole array as an ndarray on the shared memory: what `np.asarray` gives."""
        base = self._ndarray()
        self._mapping().mark_raw()
        return base

    def buffer_source(self) -> np.ndarray[Any, Any]:
        """The same for consumers of buffers; BufferError if a buffer cannot tell the dtype."""
        import numpy as np

        base = self._ndarray()
        try:
            told = np.asarray(memoryview(base.data)).dtype
        except (ValueError, TypeError):
            told = None
        if told != base.dtype:
            raise BufferError(f"no format of the buffer protocol stands for {base.dtype}")
        return self.exported()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        base = self.exported()
        wanted = base.dtype if dtype is None else np.dtype(dtype)
        if wanted == base.dtype:
            return base.copy(order="K") if copy else base
        if copy is False:
            raise ValueError(f"{base.dtype} cannot become {wanted} without a copy")
        return base.astype(wanted)

    def __dlpack__(self, **options: Any) -> Any:
        """A DLPack capsule of the shared memory (CPU), writable and without a copy."""
        return self.exported().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._ndarray().__dlpack_device__()

    # ---- what it is -----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along the axes, as of now: another process may resize."""
        return tuple(self._mapping().shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        found: np.dtype[Any] = self._ndarray().dtype
        return found

    @property
    def order(self) -> str:
        """ "C" (rows are along the first axis) or "F" (along the last)."""
        return "F" if self._mapping().fortran else "C"

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, of one copy."""
        return int(self._mapping().data_bytes)

    @property
    def replication_factor(self) -> int:
        """Number of copies."""
        return int(self._mapping().replicas)

    @property
    def undo(self) -> bool:
        """Whether a kill inside `writing` restores."""
        return bool(self._mapping().undo)

    @property
    def tile_rows(self) -> int:
        """Rows of a tile; the last one may have fewer."""
        mapping = self._mapping()
        rows = self._rows()
        row_bytes = mapping.data_bytes // rows if rows else 0
        return int(mapping.tile_bytes // row_bytes) if row_bytes else 1

    def _rows(self) -> int:
        return rows_of(self.shape, self.order)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    # ---- blocks ---------------------------------------------------------------------------------

    def writing(self, index: Any = ..., *, timeout: float | None = None) -> Writing:
        """A block for writing: `with array.writing(slice(0, 100)) as block: block[:] = …`

        index: slices, ints, None, Ellipsis, as numpy's basic indexing. On entry the tiles from the
        first to the last that the index touches are taken (blocks for at most `timeout` seconds,
        default the handle's lock_timeout; LockTimeoutError names the holder or reader), and `block`
        is a writable view of the shared memory, as it was left. On exit all of the block appears at
        once to snapshots and readers, its tiles get new versions, and the pages that changed are
        copied to the backups. An exception, Ctrl-C included, restores what was there before, and
        so does a kill. With `undo=False` an exception publishes what was written, and after a kill
        the next holder gets TornWriteError.

        StoreFullError: no memory for the undo image (replication_factor 1); nothing was changed. A
        thread may have one block of an array open at a time.
        """
        return Writing(self, index, timeout)

    def reading(self, index: Any = ..., *, timeout: float | None = None) -> Reading:
        """A block for reading: a read-only view without a copy, which nobody's `writing` changes.

        Waits for writers of the tiles; later writers of them wait until the block ends, and their
        LockTimeoutError names this process. Any number of processes may read at once.
        """
        return Reading(self, index, timeout)

    def snapshot(self, index: Any = ..., *, timeout: float | None = None) -> np.ndarray[Any, Any]:
        """A private copy of the index, all of it as of one instant; takes no lock.

        A block that is being written is seen as it was before. Only if writers follow each other so
        fast that 32 attempts were in vain, or a tile without image is being written, it waits as
        `reading` does.
        """
        import numpy as np

        keeps = keeping_axes(index)
        while True:
            base = self._ndarray()
            view = base[keeps]
            low, high = extent_of(view, base)
            copy = np.empty(high - low, np.uint8)
            if self._mapping().snapshot(low, high, copy, timeout):
                break
        if view.size == 0:
            return np.empty(view.shape, view.dtype)
        start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0] - low
        shown = np.ndarray(view.shape, view.dtype, copy, start, view.strides)
        whole = shown.flags.c_contiguous or shown.flags.f_contiguous
        return shown if whole else shown.copy()

    def __getitem__(self, index: Any) -> Any:
        raise TypeError(
            "an Array is not indexed itself: use snapshot(index), reading(index), writing(index), "
            "or np.asarray(array)[index] for the raw memory"
        )

    def fill(self, value: Any) -> None:
        """Sets all elements, as one block."""
        with self.writing() as block:
            block[...] = value

    def copy_from(self, source: Any, index: Any = ...) -> None:
        """Copies anything that broadcasts to the index into it, as one block."""
        import numpy as np

        values = np.asarray(source)
        with self.writing(index) as block:
            block[...] = values

    # ---- tiles ----------------------------------------------------------------------------------

    def tiles(self) -> Iterator[Tile]:
        """The tiles in ascending order, dealt to the living nodes in even, contiguous shares."""
        mapping = self._mapping()
        rows, step, count = self._rows(), self.tile_rows, int(mapping.tile_count)
        living = [
            entry["node"]
            for entry in self.handle.participants()
            if entry["node"] is not None
            and entry["alive"]
            and node_state(self.handle, entry["node"]) == "up"
        ] or list(node_table(self.handle))
        for number in range(count):
            part = slice(number * step, min((number + 1) * step, rows))
            index = (part,) if self.order == "C" else (..., part)
            node = living[number * len(living) // count]
            yield Tile(number, index if self.ndim else (), node, mapping.version(number))

    def versions(self) -> list[int]:
        """Versions of all tiles. A tile's grows with every block that wrote to it."""
        mapping = self._mapping()
        return [mapping.version(tile) for tile in range(mapping.tile_count)]

    def torn(self) -> dict[int, int]:
        """Tiles that killed writers left torn, with their pids; empty unless undo=False."""
        return dict(self._mapping().torn())

    def accept(self, tiles: Iterable[int] | None = None) -> None:
        """Takes torn tiles (default: all) as they are, and copies them to the backups."""
        self._mend(tiles, False)

    def restore(self, tiles: Iterable[int] | None = None) -> None:
        """Brings torn tiles (default: all) back from a backup. UsageError if there is none."""
        self._mend(tiles, True)

    def _mend(self, tiles: Iterable[int] | None, restores: bool) -> None:
        mapping = self._mapping()
        torn = dict(mapping.torn())
        if restores and mapping.replicas < 2:
            raise UsageError(
                f"array {self.name!r} has replication_factor=1 and undo=False, so there is nothing "
                f"to restore from; accept(), or write the tiles anew and accept() them"
            )
        for tile in sorted(torn) if tiles is None else tiles:
            if tile not in torn:
                continue
            low = tile * mapping.tile_bytes
            high = min(low + mapping.tile_bytes, mapping.data_bytes)
            block = mapping.begin(low, high, True, accepts_torn=True)
            if block is not None and restores:
                block.restore()
            elif block is not None:
                block.publish()

    # ---- as a whole -----------------------------------------------------------------------------

    def resize(self, shape: int | Iterable[int], *, timeout: float | None = None) -> None:
        """Gives the array another shape, with as many axes; what both shapes have is kept.

        New elements are zero. Waits for open blocks. Other handles see the new shape at their next
        use; views of the old memory stay valid, and show it. Raw writes that run meanwhile may be
        missed. StoreFullError changes nothing; neither does a kill before the last step.
        """
        sizes = checked_shape(shape)
        while True:
            mapping = self._mapping()
            old = self._ndarray()
            if len(sizes) != old.ndim:
                raise UsageError(f"array {self.name!r} has {old.ndim} axes, {shape!r} has others")
            rows = self.tile_rows if old.size else None
            asked = geometry_of(
                sizes, old.dtype, self.order, rows, mapping.replicas, bool(mapping.undo)
            )

            def fill(made: ArrayMap, old: np.ndarray[Any, Any] = old) -> None:
                import numpy as np

                order: Any = "F" if made.fortran else "C"
                new = np.ndarray(sizes, old.dtype, buffer=memoryview(made), order=order)
                shared = tuple(slice(min(pair)) for pair in zip(sizes, old.shape, strict=True))
                new[shared] = old[shared]

            made = replace_array(mapping, asked, fill, timeout)
            if made is not False:
                self._adopt(made)
                return

    def delete(self, *, timeout: float | None = None) -> None:
        """Removes the array for everybody; views stay valid. KeyNotFoundError if it is gone."""
        while replace_array(self._mapping(), None, None, timeout) is False:
            pass

    def stats(self) -> dict[str, Any]:
        """Shape, sizes, open blocks, as plain data."""
        mapping = self._mapping()
        return {
            "shape": self.shape,
            "dtype": str(self.dtype),
            "order": self.order,
            "bytes": self.nbytes,
            "replication_factor": self.replication_factor,
            "undo": self.undo,
            "tiles": int(mapping.tile_count),
            "tile_rows": self.tile_rows,
            **mapping.usage(),
        }

    def check(self, repair: bool = False) -> tuple[int, int, list[str]]:
        """(problems, repaired, texts) of this array; `Cluster.check` sums them up."""
        return check_array(self.handle, self.name, repair)[:3]

    def __repr__(self) -> str:
        return f"<Array {self.name!r} of cluster {self.handle.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from dsm_native.cluster import reattach_array

        return reattach_array, (self.handle.name, self.name)
