"""Our own region, by its public face alone: a cluster of 4 nodes, bound methods of a region."""

from collections.abc import Callable, Iterable

import dsm_native
from peers.peer import Peer

NODES = 4


class DsmRegion(Peer):
    """A region of its own cluster; `region` is what the other measurements use directly."""

    def __init__(self, replication_factor: int, **options) -> None:
        self.cluster = dsm_native.Cluster(
            nodes=NODES, replication_factor=replication_factor, **options
        )
        self.region = self.cluster.region("bench")
        self.note = f"{NODES} nodes, replication {replication_factor}"

    def load(self, keys: Iterable, value: bytes) -> None:
        self.region.put_many(dict.fromkeys(keys, value))

    def get_each(self, keys: Iterable) -> None:
        get = self.region.get
        for key in keys:
            get(key)

    def put_each(self, keys: Iterable, value: bytes) -> None:
        put = self.region.put
        for key in keys:
            put(key, value)

    def get_batches(self, lists: Iterable[list]) -> None:
        get_many = self.region.get_many
        for keys in lists:
            get_many(keys)

    def put_batches(self, mappings: Iterable[dict]) -> None:
        put_many = self.region.put_many
        for items in mappings:
            put_many(items)

    def view_each(self, keys: Iterable) -> None:
        view = self.region.view
        for key in keys:
            view(key)

    def single_get(self) -> Callable:
        return self.region.get

    def single_put(self) -> Callable:
        return self.region.put

    def close(self) -> None:
        self.cluster.close()


def open_store(replication_factor: int = 2, **options) -> DsmRegion:
    return DsmRegion(replication_factor, **options)
