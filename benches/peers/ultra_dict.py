"""UltraDict: a local dict in each process, kept equal by a stream of updates in shared memory.

`shared_lock=True` is what its documentation asks for when several processes write.
"""

from UltraDict import UltraDict

from peers.peer import MappingPeer

BUFFER_BYTES = 1 << 24


class UltraDictionary(MappingPeer):
    note = "shared_lock=True; every process holds a full copy"

    def __init__(self) -> None:
        super().__init__(
            UltraDict(
                buffer_size=BUFFER_BYTES,
                full_dump_size=BUFFER_BYTES,
                shared_lock=True,
                recurse=False,
            )
        )

    def close(self) -> None:
        self.mapping.unlink()
        self.mapping.close()


def open_store() -> UltraDictionary:
    return UltraDictionary()
