"""A region: a namespace of objects with the interface of a dict, shared by processes.

The hot methods (`get put delete add get_many put_many view …`) are the native type's own; here are
the ones that are built from them. Every method may be called from any process and thread at once.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.region import RegionCore
from dsm_native.exceptions import KeyNotFoundError, VersionConflictError
from dsm_native.key_lock import KeyLock
from dsm_native.key_wait import wait_for, wait_for_async
from dsm_native.transaction import RETRIES, Result, Transaction, pause, transact

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
            with contextlib.suppress(KeyNotFoundError):
                self.delete(key)

    def transaction(self, *, timeout: float | None = None) -> Transaction:
        """A transaction over keys of this region, and of others by its `region(other)`.

            with accounts.transaction() as tx:
                tx["alice"] -= 10
                tx["bob"] += 10

        Strictly serialisable. Leaving the block commits: TransactionAbortedError if another process
        changed something that was read (`transact` tries again), LockTimeoutError after `timeout`
        seconds (default: the cluster's lock_timeout). It belongs to the thread that made it.
        """
        return Transaction(self, timeout)

    def transact(
        self,
        function: Callable[[Transaction], Result],
        *,
        retries: int = RETRIES,
        timeout: float | None = None,
    ) -> Result:
        """Runs function(transaction), commits, and returns what it returned.

        If something that it read is changed by another process meanwhile, it runs again, up to
        `retries` times and, if `timeout` is given, for so many seconds, with growing random pauses;
        then TransactionAbortedError. So it should have no other effects than through the
        transaction.
        """
        return transact(self, function, retries, timeout)

    def apply(
        self,
        key: Any,
        function: Callable[[Any], Any],
        *,
        default: Any = _MISSING,
        timeout: float | None = None,
    ) -> tuple[Any, int]:
        """Replaces the value by function(value), atomically; returns the new value and its version.

        The function runs without any lock, and again if another process changed the object
        meanwhile: it should have no effects. An absent key counts as `default`, or raises
        KeyNotFoundError. `timeout`: for the store, as for put().
        """
        for attempt in itertools.count():
            try:
                value, version = self.get_versioned(key)
            except KeyNotFoundError:
                if default is _MISSING:
                    raise
                value, version = default, 0
            result = function(value)
            try:
                return result, self.put(key, result, if_version=version, timeout=timeout)
            except VersionConflictError:
                pause(attempt)
        raise AssertionError("unreachable")

    def wait(
        self, key: Any, *, newer_than: int | None = None, timeout: float | None = None
    ) -> tuple[Any, int]:
        """Blocks until the key has a version above `newer_than`; returns (value, version).

        newer_than=0 waits until there is an object; None (default) for the next change from now on.
        A deletion counts as a change: (None, 0) is returned at once for an absent key, unless
        newer_than is 0. Changes in between may be missed, the latest never. Woken by the writer, of
        whatever process, or by who repairs its change; nothing is polled. WaitTimeoutError after
        `timeout` seconds, ClosedError when the cluster stops; Ctrl-C works.
        """
        return wait_for(self, key, newer_than, timeout)

    async def wait_async(
        self, key: Any, *, newer_than: int | None = None, timeout: float | None = None
    ) -> tuple[Any, int]:
        """wait() for asyncio: other tasks go on; a cancelled wait leaves nothing behind."""
        return await wait_for_async(self, key, newer_than, timeout)

    def lock(self, key: Any) -> KeyLock:
        """The lock of one address: for all processes, whether the key holds an object or not.

            with shop.lock("till"):
                ...

        It excludes other holders of the same lock, and nothing else: get, put and transactions go
        on. Who is killed holding it loses it at once. See KeyLock.
        """
        return KeyLock(self, key)

    def __repr__(self) -> str:
        return f"<Region {self.name!r} of cluster {self.handle.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from dsm_native.cluster import reattach_region

        return reattach_region, (self.handle.name, self.name)


def own_region(handle: Handle, name: str) -> Region:
    """A region of the package itself, whose name begins with OWN_REGIONS; opened or created."""
    index, replicas, pickles = handle.open_region(name, handle.replicas, True, False)
    return Region(handle, name, index, replicas, pickles)
