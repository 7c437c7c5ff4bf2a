"""diskcache on `/dev/shm`: SQLite underneath, eviction switched off so that it is a store."""

import shutil
import tempfile

import diskcache

from peers.peer import MappingPeer


class DiskCache(MappingPeer):
    note = "/dev/shm, no eviction"

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="bench-diskcache-", dir="/dev/shm")
        super().__init__(diskcache.Cache(self.folder, eviction_policy="none"))

    def close(self) -> None:
        self.mapping.close()
        shutil.rmtree(self.folder)


def open_store() -> DiskCache:
    return DiskCache()
