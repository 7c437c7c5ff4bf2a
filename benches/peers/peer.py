"""What a store must offer to be measured.

An adapter hands out *loops*, not calls: `get_each` and `put_each` contain the `for` statement with
the store's own bound method in a local variable, written as a user of that store would write it, so
that no adapter adds a Python call per operation to its store's time. `single_get` and `single_put`
are for the clock around each operation, where a wrapper is unavoidable for some.
Adapters copy nothing, cache nothing and are used by one thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable


class PeerAbsentError(Exception):
    """The store cannot be measured here; the message is the reason to print."""


class Peer(ABC):
    """An opened store. `key_kind` is the type of key that it takes without conversion."""

    key_kind: type = str
    note: str = ""

    @abstractmethod
    def load(self, keys: Iterable, value: bytes) -> None:
        """Store `value` under every key, untimed."""

    @abstractmethod
    def get_each(self, keys: Iterable) -> None:
        """Read every key, one operation per key."""

    @abstractmethod
    def put_each(self, keys: Iterable, value: bytes) -> None:
        """Overwrite every key, one operation per key."""

    @abstractmethod
    def single_get(self) -> Callable:
        """The cheapest callable that reads one key."""

    @abstractmethod
    def single_put(self) -> Callable:
        """The cheapest callable that writes one key and one value."""

    @abstractmethod
    def close(self) -> None:
        """Stop what was started and remove what was written."""

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
