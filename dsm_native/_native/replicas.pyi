import enum
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias, final

class Version(NamedTuple):
    stamp: int
    node: int
    checksum: int
    handle: int = 0

class Item(NamedTuple):
    key_hash: int
    key_check: int
    version: Version

class Move(NamedTuple):
    item: Item
    source: int
    targets: tuple[int, ...]

class Policy(enum.IntEnum):
    LAST_WRITE_WINS = 0
    FIRST_WRITE_WINS = 1
    CUSTOM = 2

class VoteResult(enum.IntEnum):
    PENDING = 0
    LOST = 1
    WON = 2

_Version: TypeAlias = tuple[int, int, int, int]
_Item: TypeAlias = tuple[int, int, _Version]

def resolve(
    versions: Iterable[_Version],
    policy: Policy = ...,
    resolver: Callable[[list[Version]], int] | None = None,
) -> Version: ...
def repair_set(replicas: Iterable[Iterable[_Item]], policy: Policy = ...) -> list[Move]: ...

@final
class Quorum:
    def __init__(self, incoming: Iterable[int], outgoing: Iterable[int] = ()) -> None: ...
    def reached(self, nodes: Iterable[int]) -> bool: ...
    def vote(self, yes: Iterable[int], no: Iterable[int]) -> VoteResult: ...
    def committed(self, acknowledged: Mapping[int, int]) -> int | None: ...

@final
class DigestTree:
    def __init__(self, depth: int = 3) -> None: ...
    @property
    def depth(self) -> int: ...
    @property
    def root(self) -> int: ...
    def valid(self) -> bool: ...
    def bucket(self, key_hash: int) -> int: ...
    def add(self, item: _Item) -> None: ...
    def remove(self, item: _Item) -> None: ...
    def respond(self, query: bytes) -> bytes: ...

@final
class Exchange:
    def __init__(self, tree: DigestTree, first_round: int = 0) -> None: ...
    def next_query(self) -> bytes | None: ...
    def receive(self, answer: bytes) -> list[int]: ...
