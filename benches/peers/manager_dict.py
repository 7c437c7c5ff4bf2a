"""`multiprocessing.Manager().dict()`: the standard library's answer, a server process and a socket."""

import multiprocessing

from peers.peer import MappingPeer


class ManagerDict(MappingPeer):
    note = "standard library, one server process"

    def __init__(self) -> None:
        # Spawned, not forked: a fork would take the other stores' connections along.
        self.manager = multiprocessing.get_context("spawn").Manager()
        super().__init__(self.manager.dict())

    def close(self) -> None:
        self.manager.shutdown()


def open_store() -> ManagerDict:
    return ManagerDict()
