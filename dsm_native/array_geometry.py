"""What an array may be, and where an index lies in it: shapes, dtypes, tiles, byte ranges. Pure.

numpy is imported by what needs it, so that programs without arrays do not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dsm_native.exceptions import UsageError

if TYPE_CHECKING:
    import numpy as np

TILE_BYTES = 256 << 10
TILE_BYTES_MAX = 1 << 20
PAGE_BYTES = 4096
DATA_BYTES_MAX = 1 << 46


def checked_shape(shape: int | Iterable[int]) -> tuple[int, ...]:
    import numpy as np

    try:
        sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        checked = tuple(int(size) for size in sizes if size == int(size))
    except (TypeError, ValueError):
        raise UsageError(f"shape must be an int or a tuple of ints, not {shape!r}") from None
    if len(checked) != len(sizes) or any(size < 0 for size in checked):
        raise UsageError(f"shape must be of ints from 0 on, not {shape!r}")
    return checked


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    import numpy as np

    found: np.dtype[Any] = np.dtype(dtype)
    if found.hasobject:
        raise UsageError(f"dtype {found} refers to objects of one process; use a fixed-size one")
    if found.subdtype is not None or found.itemsize == 0:
        raise UsageError(f"dtype {found} is no element type; put its dimensions into the shape")
    if dtype_of(described(found)) != found:
        raise UsageError(f"dtype {found} is no element type; use its base type and a view of that")
    return found


def described(dtype: np.dtype[Any]) -> Any:
    """The dtype as a literal that `dtype_of` understands: as in .npy files where these can.

    Those cannot tell of structures whose fields overlap or lie in another order than their names.
    """
    import numpy as np

    if dtype.names is None or dtype.type is not np.void:
        return np.lib.format.dtype_to_descr(dtype)
    try:
        return np.lib.format.dtype_to_descr(dtype)
    except ValueError:
        found: Any = dtype.fields
        fields = [found[name] for name in dtype.names]
    return {
        "names": list(dtype.names),
        "formats": [(described(field[0].base), field[0].shape) for field in fields],
        "offsets": [field[1] for field in fields],
        "titles": [field[2] if len(field) > 2 else None for field in fields],
        "itemsize": dtype.itemsize,
    }


def dtype_of(description: Any) -> np.dtype[Any]:
    import numpy as np

    found: np.dtype[Any]
    if not isinstance(description, dict):
        found = np.lib.format.descr_to_dtype(description)
        return found
    formats = [(dtype_of(base), shape) for base, shape in description["formats"]]
    layout: Any = {**description, "formats": formats}
    found = np.dtype(layout)
    return found


def geometry_of(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    order: str,
    tile_rows: int | None,
    replicas: int,
    undo: bool,
) -> dict[str, Any]:
    data_bytes = math.prod(shape) * dtype.itemsize
    if data_bytes > DATA_BYTES_MAX:
        raise UsageError(f"{shape} of {dtype} takes {data_bytes:,} bytes, more than 64 TiB")
    rows = rows_of(shape, order)
    row_bytes = data_bytes // rows if rows else dtype.itemsize
    if tile_rows is None:
        tile_rows = rows_of_tile(row_bytes, rows)
    return {
        "shape": shape,
        "description": repr(described(dtype)),
        "data_bytes": data_bytes,
        "item_bytes": dtype.itemsize,
        "tile_bytes": max(1, tile_rows * row_bytes),
        "replicas": replicas,
        "undo": undo,
        "fortran": order == "F",
    }


def rows_of(shape: tuple[int, ...], order: str) -> int:
    if not shape:
        return 1
    return shape[-1] if order == "F" else shape[0]


def rows_of_tile(row_bytes: int, rows: int) -> int:
    """About TILE_BYTES, and whole pages where rows permit."""
    count = max(1, round(TILE_BYTES / row_bytes)) if row_bytes else 1
    whole = PAGE_BYTES // math.gcd(PAGE_BYTES, row_bytes or PAGE_BYTES)
    if whole * row_bytes <= TILE_BYTES_MAX:
        count = max(1, round(count / whole)) * whole
    return max(1, min(count, rows))


def keeping_axes(index: Any) -> tuple[Any, ...]:
    """The index as a tuple that gives a view in any case; UsageError for fancy indexing."""
    import numpy as np

    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        plain = part is None or part is Ellipsis or isinstance(part, int | np.integer | slice)
        if not plain or isinstance(part, bool | np.bool_):
            raise UsageError(
                f"an index of slices, ints, None and Ellipsis is needed, since only these give "
                f"views; not {part!r}"
            )
    return parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis)


def extent_of(view: np.ndarray[Any, Any], base: np.ndarray[Any, Any]) -> tuple[int, int]:
    """First and one-beyond-last byte of a view, counted from the base's."""
    if view.size == 0:
        return 0, 0
    start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    reach = [(size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True)]
    low = start + sum(step for step in reach if step < 0)
    return low, start + sum(step for step in reach if step > 0) + view.itemsize
