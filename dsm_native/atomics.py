"""Counters and arrays of atomic numbers that processes share by name.

They are memory and nothing else: no operation waits for anybody, and there is nothing that a killed
process could leave half done. Their bytes carry no checksum.
"""

from __future__ import annotations

from typing import Any

from dsm_native._native.atomics import DTYPES, NDIM_MAX, AtomicCore, CounterCore
from dsm_native._native.handle import Handle
from dsm_native.exceptions import UsageError
from dsm_native.settings import check_count, check_object_name
from dsm_native.sync import agree, made_again

ELEMENTS_MAX = 1 << 23


class Counter(CounterCore):
    """A signed 64-bit counter by name: `add` (CounterOverflowError), `get`, `reset`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Counter {self.name!r}, {self.get()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, (self.handle.name, "counter", self.name)


class AtomicArray(AtomicCore):
    __doc__ = AtomicCore.__doc__

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<AtomicArray {self.name!r}, {self.dtype} {self.shape}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, (self.handle.name, "atomic", self.name, self.dtype, self.shape)


def open_counter(handle: Handle, name: str) -> Counter:
    """Opens or makes the counter."""
    return Counter(handle, check_object_name(name))


def open_atomic(
    handle: Handle, name: str, dtype: Any, shape: int | tuple[int, ...] | None
) -> AtomicArray:
    """Opens or makes the array; UsageError if it exists with another type or shape."""
    import numpy

    described = numpy.dtype("int64" if dtype is None else dtype)
    if described.name not in DTYPES or not described.isnative:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    asked = () if shape is None else shape
    lengths = (asked,) if isinstance(asked, int) else tuple(asked)
    if len(lengths) > NDIM_MAX:
        raise UsageError(f"shape has {len(lengths)} dimensions; at most {NDIM_MAX} are possible")
    elements = 1
    for length in lengths:
        elements *= check_count("each length of shape", length, 1, ELEMENTS_MAX)
    check_count("the number of elements", elements, 1, ELEMENTS_MAX)
    number = DTYPES.index(described.name)
    made = AtomicArray(handle, check_object_name(name), number, lengths)
    agree(
        *("atomic", name),
        dtype=(None if dtype is None else described.name, made.dtype),
        shape=(None if shape is None else lengths, made.shape),
    )
    return made
