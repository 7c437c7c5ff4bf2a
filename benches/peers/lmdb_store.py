"""py-lmdb on `/dev/shm`, without syncing and with a writable map: its fastest safe set-up.

`with env.begin()` is the idiom of its documentation. Reads are measured in two ways: a transaction
per read, which sees the newest value each time as ours does, and one long transaction, which does
not, and is the faster for it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable

import lmdb

from peers.peer import Peer

MAP_BYTES = 1 << 30


class LmdbStore(Peer):
    key_kind = bytes
    note = "/dev/shm, sync=False, writemap=True, a transaction per operation"

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="bench-lmdb-", dir="/dev/shm")
        self.environment = lmdb.open(
            self.folder, map_size=MAP_BYTES, sync=False, writemap=True, lock=True
        )

    def load(self, keys: Iterable, value: bytes) -> None:
        with self.environment.begin(write=True) as transaction:
            for key in keys:
                transaction.put(key, value)

    def get_each(self, keys: Iterable) -> None:
        begin = self.environment.begin
        for key in keys:
            with begin() as transaction:
                transaction.get(key)

    def get_each_in_one_transaction(self, keys: Iterable) -> None:
        with self.environment.begin() as transaction:
            get = transaction.get
            for key in keys:
                get(key)

    def put_each(self, keys: Iterable, value: bytes) -> None:
        begin = self.environment.begin
        for key in keys:
            with begin(write=True) as transaction:
                transaction.put(key, value)

    def view_each(self, keys: Iterable) -> None:
        begin = self.environment.begin
        for key in keys:
            with begin(buffers=True) as transaction:
                transaction.get(key)

    def single_get(self) -> Callable:
        begin = self.environment.begin

        def get(key: bytes) -> bytes | None:
            with begin() as transaction:
                return transaction.get(key)

        return get

    def single_put(self) -> Callable:
        begin = self.environment.begin

        def put(key: bytes, value: bytes) -> None:
            with begin(write=True) as transaction:
                transaction.put(key, value)

        return put

    def close(self) -> None:
        self.environment.close()
        shutil.rmtree(self.folder)


def open_store() -> LmdbStore:
    return LmdbStore()
