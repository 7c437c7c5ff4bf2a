"""A plain `dict`: the floor. It shares nothing with anybody."""

from peers.peer import MappingPeer


class Dictionary(MappingPeer):
    note = "one process, no sharing"

    def __init__(self) -> None:
        super().__init__({})

    def close(self) -> None:
        self.mapping.clear()


def open_store() -> Dictionary:
    return Dictionary()
