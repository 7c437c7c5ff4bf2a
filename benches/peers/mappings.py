"""Stores that behave as a dict: the plain one, the standard library's, UltraDict and diskcache.

Each is opened as its own documentation advises for several processes; what needs a package imports
it only when it is opened.
"""

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable

from peers.peer import Peer

BUFFER_BYTES = 1 << 24


class MappingPeer(Peer):
    """Everything follows from the mapping's `get` and `__setitem__`; `end` cleans up."""

    def __init__(self, mapping, note: str, end: Callable[[], object]) -> None:
        self.mapping = mapping
        self.note = note
        self.end = end

    def load(self, keys: Iterable, value: bytes) -> None:
        self.put_each(keys, value)

    def get_each(self, keys: Iterable) -> None:
        get = self.mapping.get
        for key in keys:
            get(key)

    def put_each(self, keys: Iterable, value: bytes) -> None:
        mapping = self.mapping
        for key in keys:
            mapping[key] = value

    def single_get(self) -> Callable:
        return self.mapping.get

    def single_put(self) -> Callable:
        return self.mapping.__setitem__

    def close(self) -> None:
        self.end()


def open_dict() -> MappingPeer:
    """The floor: it shares nothing with anybody."""
    plain: dict = {}
    return MappingPeer(plain, "one process, no sharing", plain.clear)


def open_manager() -> MappingPeer:
    """Spawned, not forked: a fork would take the other stores' connections along."""
    manager = multiprocessing.get_context("spawn").Manager()
    return MappingPeer(manager.dict(), "standard library, one server process", manager.shutdown)


def open_ultradict() -> MappingPeer:
    """A local dict in each process, kept equal by a stream of updates in shared memory."""
    from UltraDict import UltraDict

    shared = UltraDict(
        buffer_size=BUFFER_BYTES, full_dump_size=BUFFER_BYTES, shared_lock=True, recurse=False
    )

    def end() -> None:
        shared.unlink()
        shared.close()

    return MappingPeer(shared, "shared_lock=True; every process holds a full copy", end)


def open_diskcache() -> MappingPeer:
    """SQLite underneath; eviction is switched off so that it is a store."""
    import diskcache

    folder = tempfile.mkdtemp(prefix="bench-diskcache-", dir="/dev/shm")
    cache = diskcache.Cache(folder, eviction_policy="none")

    def end() -> None:
        cache.close()
        shutil.rmtree(folder)

    return MappingPeer(cache, "/dev/shm, no eviction", end)
