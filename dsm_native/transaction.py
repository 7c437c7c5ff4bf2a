"""Transactions: many keys of many regions, read and written as one.

Optimistic: reading takes no lock, writing is kept in the transaction, and the commit compares what
was read with what there is, changes everything, or nothing. See docs/guarantees.md.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from dsm_native._native.transaction import TransactionView
from dsm_native.exceptions import (
    CounterOverflowError,
    KeyNotFoundError,
    TransactionAbortedError,
    UsageError,
    ValueTypeError,
)

if TYPE_CHECKING:
    from dsm_native.region import Region

Result = TypeVar("Result")

RETRIES = 100
_FIRST_PAUSE_S = 20e-6
_LONGEST_PAUSE_S = 10e-3
_REQUIRED = object()


class TransactionRegion(TransactionView):
    """One region as a transaction sees it: item access, `get`, `put`, `delete`, `add`, `pop`, ….

    Reads show the transaction's own writes first. Values written are encoded at once: changing them
    later changes nothing. There is no iteration and no length: a transaction is over keys.
    """

    __slots__ = ()

    def add(self, key: Any, difference: int = 1) -> int:
        """Adds to the counter under the key and returns its new value; a missing one counts as 0.

        ValueTypeError if the object is no int of 64 bits, CounterOverflowError beyond them.
        """
        value = self.get(key, 0)
        for number in (value, difference):
            if type(number) is not int or not -(1 << 63) <= number < 1 << 63:
                raise ValueTypeError(
                    f"{key!r}: add() needs ints of 64 bits, not {type(number).__name__}"
                )
        total: int = value + difference
        if not -(1 << 63) <= total < 1 << 63:
            raise CounterOverflowError(
                f"{key!r}: {value} plus {difference} leaves the 64-bit range"
            )
        self.put(key, total)
        return total

    def pop(self, key: Any, default: Any = _REQUIRED) -> Any:
        """Removes the key and returns its value; `default`, or KeyNotFoundError."""
        value = self.get(key, _REQUIRED)
        if value is not _REQUIRED:
            self.delete(key)
            return value
        if default is _REQUIRED:
            raise KeyNotFoundError(key)
        return default

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of the key; if it is absent, writes and returns `default`."""
        value = self.get(key, _REQUIRED)
        if value is not _REQUIRED:
            return value
        self.put(key, default)
        return default

    def update(self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Writes all items."""
        pairs = other.items() if isinstance(other, Mapping) else other
        for key, value in pairs:
            self.put(key, value)

    __iter__ = None  # a transaction is over keys that are named


class Transaction(TransactionRegion):
    """Made by `Region.transaction` and `Cluster.transaction`; itself a view of that region.

    As a context manager it commits at the end of the block, and discards if the block raises.
    """

    __slots__ = ()

    def region(self, region: Region) -> TransactionRegion:
        """The view of another region of the same cluster within this transaction."""
        if region.handle is not self.core.handle:
            raise UsageError(
                f"region {region.name!r} is of cluster {region.handle.name!r}, or was opened by "
                f"another handle; the transaction is of cluster {self.core.handle.name!r}"
            )
        return TransactionRegion(region, core=self.core)

    @property
    def state(self) -> str:
        """ "open", "committed", "discarded" or "aborted"."""
        return self.core.state

    @property
    def reads(self) -> dict[tuple[str, Any], int]:
        """(region name, key) → version, of what was read so far; 0: it was absent."""
        return self.core.reads

    @property
    def versions(self) -> dict[tuple[str, Any], int]:
        """After the commit: (region name, key) → version, of the objects that it wrote."""
        return self.core.versions

    def commit(self) -> None:
        """Makes all writes visible at once, on every copy, or none of them.

        TransactionAbortedError: something that was read has changed; run the transaction again.
        LockTimeoutError names who held a stripe for the `timeout`. StoreFullError; LimitError
        beyond 4,096 copies of objects written. Nothing was changed then. Blocks for locks only.
        """
        self.core.commit()

    def discard(self) -> None:
        """Ends the transaction without a change. Idempotent."""
        self.core.discard()

    def __repr__(self) -> str:
        return f"<Transaction on {self.region_handle.name!r}, {self.core.state}>"


def pause(attempt: int) -> None:
    """Sleeps before the next attempt: a random time up to a bound that doubles."""
    bound = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(attempt, 20))
    time.sleep(random.uniform(0, bound))


def transact(
    region: Region,
    function: Callable[[Transaction], Result],
    retries: int,
    timeout: float | None,
) -> Result:
    """Runs function(transaction) and commits, again and again until a commit succeeds."""
    if type(retries) is not int or retries < 0:
        raise UsageError(f"retries must be an int from 0 on, not {retries!r}")
    end = None if timeout is None else time.monotonic() + timeout
    for attempt in range(retries + 1):
        left = None if end is None else max(0.0, end - time.monotonic())
        transaction = Transaction(region, left)
        try:
            with transaction:
                return function(transaction)
        except TransactionAbortedError as error:
            # One that belongs to another transaction, which the function ran inside, is its own.
            if error is not transaction.core.error:
                raise
            late = end is not None and time.monotonic() >= end
            if attempt == retries or late:
                error.add_note(f"attempts made: {attempt + 1}")
                raise
        pause(attempt)
    raise AssertionError("unreachable")
