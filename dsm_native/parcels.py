"""Arguments and results as bytes: small ones in the record, large buffers in shared memory.

What pickles plainly is pickled by the C pickler; what it refuses, and what refers to `__main__`,
goes by cloudpickle, which carries code by value. Buffers over 32 KiB are left out of the pickle
(protocol 5) and stored as one object of a region of our own, without a second copy; the receiver's
arrays look at them in place, pinned and read-only. The pickle itself stays in the record, whose
checksum is compared before it is loaded, or carries one. Arrays of numbers that stand alone or as
arguments of a call need no pickle at all (array_parcel.pyx).
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import struct
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from dsm_native._native.array_parcel import ARRAYS_HEAD_BYTES, Arrays, arrays_again, arrays_among
from dsm_native._native.handle import Handle
from dsm_native._native.mailbox import (
    ARRAY,
    CALL,
    CALL_ARRAYS,
    CALL_PARCEL,
    PARCEL,
    PICKLE,
    RECORD_BYTES_MAX,
)
from dsm_native._native.parcel import checksum, store
from dsm_native.exceptions import CorruptError, KeyNotFoundError
from dsm_native.outcomes import failure_of
from dsm_native.region import Region

REGION = "\0parcels"  # no user's region begins with a zero
LARGE_BYTES = 32768
INLINE_BYTES = RECORD_BYTES_MAX - 2048  # what a record holds beside a parcel's own description
_HEAD = struct.Struct("<HHIQ")  # bytes of the key, buffers, bytes of the pickle, its checksum
_ALIGNMENT = 64
STORED = (PARCEL, CALL_PARCEL, ARRAY, CALL_ARRAYS)  # codecs whose payload begins with bytes of key
CALLS = (CALL, CALL_PARCEL, CALL_ARRAYS)  # codecs of (args, kwargs)

Encoded = tuple[bytes, int, "tuple[bytes, ...] | None"]  # payload, codec, keys of its parcels


class _Raw:
    """Stands for long `bytes`, which pickle would copy into its stream."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.data),)


def _shielded(value: Any) -> Any:
    return _Raw(value) if type(value) is bytes and len(value) > LARGE_BYTES else value


def pickled(
    value: Any,
    keep: Callable[[pickle.PickleBuffer], Any] | None = None,
    begin_again: Callable[[], None] = lambda: None,
) -> bytes:
    """The value's pickle; `keep` is asked for each buffer whether it stays in (true) or not.

    `begin_again` is called when what was kept so far is void.
    """
    if not cloudpickle.list_registry_pickle_by_value():
        try:
            data = pickle.dumps(value, 5, buffer_callback=keep)
            if b"__main__" not in data:
                return data
        except (pickle.PicklingError, AttributeError, TypeError):
            pass  # of those that cloudpickle cannot pickle either, it tells
    begin_again()
    return bytes(cloudpickle.dumps(value, 5, buffer_callback=keep))


class Parcels:
    """Encodes and decodes on behalf of one process; opens the region when it is first needed."""

    def __init__(self, handle: Handle, sender: str) -> None:
        self._handle = handle
        self._sender = sender  # in every key, so that what a killed process left can be told
        self._numbers = itertools.count()
        self._region: Region | None = None

    @property
    def region(self) -> Region:
        if self._region is None:
            index, replicas, pickles = self._handle.open_region(REGION, 1, True, False)
            self._region = Region(self._handle, REGION, index, replicas, pickles)
        return self._region

    def encode(self, value: Any) -> Encoded:
        """One value: an argument that stands alone, or a result."""
        arrays = arrays_among((value,), LARGE_BYTES)
        if arrays is not None:
            return self._store(arrays, b"", ARRAY)
        return self._encode(_shielded(value), PICKLE, PARCEL)

    def encode_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Encoded:
        """All arguments of a call."""
        args = tuple(_shielded(value) for value in args)
        kwargs = {name: _shielded(value) for name, value in kwargs.items()}
        arrays = arrays_among(args, LARGE_BYTES)
        if arrays is not None:
            rest, large = self._pickled((arrays.without(args), kwargs))
            # One of them may be among what is large in the rest, and must not become two.
            if not large and len(rest) <= INLINE_BYTES:
                return self._store(arrays, rest, CALL_ARRAYS)
        return self._encode((args, kwargs), CALL, CALL_PARCEL)

    def _store(self, arrays: Arrays, rest: bytes, codec: int) -> Encoded:
        key = self._new_key()
        return arrays.store(self._handle, self.region.index, key, rest), codec, (key,)

    def _new_key(self) -> bytes:
        return f"{self._sender}.{next(self._numbers)}".encode()

    @staticmethod
    def _pickled(value: Any) -> tuple[bytes, list[memoryview]]:
        """The value's pickle, and the large buffers that it does not hold."""
        buffers: list[memoryview] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes <= LARGE_BYTES:
                return True
            buffers.append(raw)
            return False

        return pickled(value, keep, buffers.clear), buffers

    def _encode(self, value: Any, small: int, large: int) -> Encoded:
        data, buffers = self._pickled(value)
        if not buffers and len(data) <= INLINE_BYTES:
            return data, small, None
        return self.pack(data, buffers, large)

    def encode_function(self, data: bytes) -> Encoded:
        """A pickled function, which stays for as long as the cluster does."""
        return (data, PICKLE, None) if len(data) <= INLINE_BYTES else self.pack(data, [], PARCEL)

    def pack(self, data: bytes, buffers: list[memoryview], codec: int) -> Encoded:
        """Stores the buffers, and the pickle too if a record cannot hold it."""
        key = self._new_key()
        inline = len(data) + 8 * len(buffers) <= INLINE_BYTES
        parts: list[Any] = []
        for part in buffers if inline else [memoryview(data), *buffers]:
            parts += [part, bytes(-part.nbytes % _ALIGNMENT)]
        store(self._handle, self.region.index, key, parts)
        head = _HEAD.pack(len(key), len(buffers), len(data), 0 if inline else checksum(data))
        sizes = struct.pack(f"<{len(buffers)}Q", *(buffer.nbytes for buffer in buffers))
        return head + key + sizes + (data if inline else b""), codec, (key,)

    def outcome(self, codec: int, payload: Any, good: bool) -> tuple[bool, Any]:
        """What a task came to: whether it is a result, and the result or the exception."""
        if codec >= PICKLE:
            try:
                payload = self.decode(codec, payload)
            except Exception as error:
                return False, error
        return (True, payload) if good else (False, failure_of(*payload))

    def decode(self, codec: int, payload: bytes) -> Any:
        """The value again. Arrays of a parcel are read-only views of it. May raise anything."""
        if codec in (PICKLE, CALL):
            return pickle.loads(payload)
        if codec not in STORED:
            raise CorruptError(f"a payload of unknown codec {codec}")
        (key,) = self.keys_of(codec, payload) or ()
        view = memoryview(self.region.view(key))
        if codec in (ARRAY, CALL_ARRAYS):
            arrays, rest = arrays_again(payload, view)
            if codec == ARRAY:
                return arrays[0][1]
            args, kwargs = pickle.loads(rest)
            args = list(args)
            for position, array in arrays:
                args[position] = array
            return args, kwargs
        _, count, length, check = _HEAD.unpack_from(payload)
        at = _HEAD.size + len(key)
        sizes = struct.unpack_from(f"<{count}Q", payload, at)
        data: Any = payload[at + 8 * count :]
        start = 0
        if not data:
            data, start = view[:length], length + -length % _ALIGNMENT
            if checksum(data) != check:
                raise CorruptError(f"the pickle of parcel {key!r} does not verify")
        buffers = []
        for size in sizes:
            buffers.append(view[start : start + size])
            start += size + -size % _ALIGNMENT
        return pickle.loads(data, buffers=buffers)

    @staticmethod
    def keys_of(codec: int, payload: bytes) -> tuple[bytes, ...] | None:
        """The keys of the parcels that an encoded value needs."""
        if codec not in STORED:
            return None
        at = ARRAYS_HEAD_BYTES if codec in (ARRAY, CALL_ARRAYS) else _HEAD.size
        return (payload[at : at + int.from_bytes(payload[:2], "little")],)

    def drop(self, keys: tuple[bytes, ...] | None) -> None:
        """Deletes parcels; whoever looks at them keeps his view."""
        for key in keys or ():
            with contextlib.suppress(KeyNotFoundError):
                self.region.delete(key)

    def drop_of(self, sender: str, but: set[bytes]) -> None:
        """Deletes what a dead process had sent, except what is still to be read."""
        if REGION not in self._handle.region_names():
            return
        prefix = f"{sender}.".encode()
        for key in list(self.region):
            if key.startswith(prefix) and key not in but:
                self.drop((key,))
