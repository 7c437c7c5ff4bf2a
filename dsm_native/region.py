"""A region: a namespace of objects with the interface of a dict, shared by processes.

The hot methods (`get put delete add get_many put_many view …`) are the native type's own; here are
the ones that are built from them. Every method may be called from any process and thread at once.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any

from dsm_native._native.region import RegionCore
from dsm_native.exceptions import KeyNotFoundError, VersionConflictError

_MISSING = object()


class _Items(ItemsView):  # type: ignore[type-arg]
    """Pairs of keys and values; a key that is deleted meanwhile is left out."""

    _mapping: Region

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        region = self._mapping
        for stripe in range(region.handle.stripes):
            keys = region.stripe_keys(stripe)
            for key, value in zip(keys, region.get_many(keys, _MISSING), strict=True):
                if value is not _MISSING:
                    yield key, value


class _Values(ValuesView):  # type: ignore[type-arg]
    _mapping: Region

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)

    def __iter__(self) -> Iterator[Any]:
        for _key, value in _Items(self._mapping):
            yield value


class Region(RegionCore, MutableMapping[Any, Any]):
    """Objects under keys, strongly consistent, replicated. Made by `Cluster.region`.

    Keys: `str`, `bytes`, `int` and tuples of them. Values: anything; `None`, `bool`, `int`,
    `float`, `str`, `bytes` and numpy arrays travel without pickle. A value read is a private copy
    (`view` shows bytes and arrays in place); changing it changes nothing until it is put again.
    """

    __slots__ = ()

    def items(self) -> ItemsView[Any, Any]:
        """A view of (key, value); each value as of when it is reached."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """A view of the values, each as of when it is reached."""
        return _Values(self)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Removes the key and returns its value, atomically; `default`, or KeyNotFoundError."""
        while True:
            try:
                value, version = self.get_versioned(key)
                self.delete(key, if_version=version)
                return value
            except VersionConflictError:
                continue
            except KeyNotFoundError:
                if default is _MISSING:
                    raise
                return default

    def popitem(self) -> tuple[Any, Any]:
        """Removes and returns some (key, value); KeyError if the region is empty."""
        for key in self:
            value = self.pop(key, _MISSING)
            if value is not _MISSING:
                return key, value
        raise KeyNotFoundError("popitem(): region is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of the key; if it is absent, stores and returns `default`. Atomic."""
        while True:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                return value
            try:
                self.put(key, default, if_version=0)
            except VersionConflictError:
                continue
            return default

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Stores all items; each is atomic, the whole is not."""
        if hasattr(other, "keys") and not hasattr(other, "items"):
            other = [(key, other[key]) for key in other.keys()]  # noqa: SIM118
        self.put_many(other)
        if more:
            self.put_many(more)

    def clear(self) -> None:
        """Removes every key that is present throughout the call."""
        for key in self:
            self.pop(key, None)

    def __repr__(self) -> str:
        return f"<Region {self.name!r} of cluster {self.handle.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from dsm_native.cluster import reattach_region

        return reattach_region, (self.handle.name, self.name)
