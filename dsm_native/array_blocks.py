"""The blocks of `with`: an index of an array that is written, or held still, for a while.

A block takes its tiles on entry and gives them back on exit, whatever happens between.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from dsm_native._native.array import ArrayBlock
from dsm_native.array_geometry import extent_of, keeping_axes
from dsm_native.exceptions import UsageError

if TYPE_CHECKING:
    import numpy as np

    from dsm_native.arrays import Array


class _Block:
    """`with` of one array block: takes tiles on entry, gives them back on exit."""

    def __init__(self, array: Array, index: Any, timeout: float | None) -> None:
        self._array = array
        self._index = keeping_axes(index)
        self._timeout = timeout
        self._block: ArrayBlock | None = None
        self._view: np.ndarray[Any, Any] | None = None

    def _open(self, writes: bool) -> np.ndarray[Any, Any]:
        if self._block is not None:
            raise UsageError("a block is for one `with`; call the method again for another")
        while self._block is None:
            base = self._array._ndarray()
            view: np.ndarray[Any, Any] = base[self._index]
            low, high = extent_of(view, base)
            self._block = self._array._mapping().begin(low, high, writes, self._timeout)
        view.flags.writeable = writes
        self._view = view
        return view

    def _ended(self) -> ArrayBlock:
        assert self._block is not None
        assert self._view is not None
        # What is kept of the block shows the array; changes go through another block.
        self._view.flags.writeable = False
        return self._block


class Writing(_Block):
    """What `Array.writing` returns."""

    def __enter__(self) -> np.ndarray[Any, Any]:
        return self._open(True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        block = self._ended()
        if kind is None or not self._array.undo:
            block.publish()
        else:
            block.restore()


class Reading(_Block):
    """What `Array.reading` returns."""

    def __enter__(self) -> np.ndarray[Any, Any]:
        return self._open(False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended().cancel()
