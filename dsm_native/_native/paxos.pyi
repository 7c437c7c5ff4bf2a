from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

KINDS: tuple[str, ...]
OUTCOMES: tuple[str, ...]
COLLECTOR_PHASES: tuple[str, ...]
CLIENT: int

class Outputs(NamedTuple):
    send_now: tuple[Any, ...]
    persist: tuple[Any, ...]
    send_after_persist: tuple[Any, ...]
    apply: tuple[Any, ...]

class Ballot(NamedTuple):
    counter: int
    node: int
    incarnation: int

class Config(NamedTuple):
    prepare_nodes: frozenset[int]
    accept_nodes: frozenset[int]
    prepare_quorum: int
    accept_quorum: int

class Step(NamedTuple):
    config: Config
    rescan: bool

NO_BALLOT: Ballot
NOTHING: Outputs

_Ballot = Ballot | tuple[int, int, int]

def majority(nodes: Iterable[int]) -> Config: ...
def compatible(one: Config, other: Config) -> bool: ...
def expand(nodes: Iterable[int], node: int) -> list[Step]: ...
def shrink(nodes: Iterable[int], node: int) -> list[Step]: ...

class PaxosMessage:
    def __init__(
        self,
        source: int,
        target: int,
        kind: str,
        key: int,
        ballot: _Ballot,
        *,
        value: bytes | None = None,
        accepted: _Ballot = ...,
        next: _Ballot = ...,
        age: int = 0,
        about: int = 0,
    ) -> None: ...
    @property
    def source(self) -> int: ...
    @property
    def target(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> int: ...
    @property
    def ballot(self) -> Ballot: ...
    @property
    def accepted(self) -> Ballot: ...
    @property
    def next(self) -> Ballot: ...
    @property
    def age(self) -> int: ...
    @property
    def about(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...

class ClientMessage(NamedTuple):
    source: int
    target: int
    kind: str
    body: Any

_Sent = tuple[tuple[PaxosMessage, ...], tuple[PaxosMessage, ...]]
_Acceptor = tuple[Ballot, Ballot, bytes | None]

class _Machine:
    @property
    def persist(self) -> bool: ...
    @property
    def persist_identity(self) -> bool: ...
    @property
    def persist_fence(self) -> bool: ...
    @property
    def change_wanted(self) -> bool: ...
    @property
    def outcome(self) -> str: ...

class Identity(_Machine):
    def __init__(self, node: int, incarnation: int, counter: int = 0, age: int = 0) -> None: ...
    @property
    def durable(self) -> tuple[int, int, int]: ...
    def forget(self, message: PaxosMessage) -> _Sent: ...

class Acceptor(_Machine):
    def __init__(self, node: int, durable: _Acceptor | None = None) -> None: ...
    @property
    def durable(self) -> _Acceptor | None: ...
    def receive(self, message: PaxosMessage) -> _Sent: ...

class Options:
    def __init__(
        self, *, resend_us: int = 50_000, backoff_us: int = 20_000, seed: int = 0
    ) -> None: ...

class Proposer(_Machine):
    def __init__(
        self,
        key: int,
        config: Config,
        learners: Iterable[int],
        identity: Identity,
        options: Options,
    ) -> None: ...
    @property
    def chosen(self) -> bytes | None: ...
    def propose(self, value: bytes, now: int) -> _Sent: ...
    def receive(self, message: PaxosMessage, now: int) -> _Sent: ...
    def tick(self, now: int) -> _Sent: ...

class Register(_Machine):
    def __init__(
        self, key: int, config: Config, identity: Identity, options: Options
    ) -> None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def busy(self) -> bool: ...
    @property
    def stable(self) -> bool: ...
    def configure(self, config: Config) -> None: ...
    def begin(self, now: int, deadline: int, repeatable: bool = False) -> _Sent: ...
    def change(self, value: bytes | None, now: int) -> _Sent: ...
    def receive(self, message: PaxosMessage, now: int) -> _Sent: ...
    def tick(self, now: int) -> _Sent: ...

class Fence(_Machine):
    def __init__(self, node: int, ages: Iterable[tuple[int, int]] = ()) -> None: ...
    @property
    def durable(self) -> tuple[tuple[int, int], ...]: ...
    def admits(self, message: PaxosMessage) -> bool: ...
    def receive(self, message: PaxosMessage) -> _Sent: ...

class Collector(_Machine):
    def __init__(
        self,
        key: int,
        config: Config,
        proposers: Iterable[int],
        identity: Identity,
        options: Options,
    ) -> None: ...
    @property
    def phase(self) -> str: ...
    def begin(self, now: int) -> _Sent: ...
    def receive(self, message: PaxosMessage, now: int) -> _Sent: ...
    def tick(self, now: int) -> _Sent: ...

class _Node:
    node: int
    identity: Identity
    acceptors: dict[int, Acceptor]
    fence: Fence

class PaxosNode(_Node):
    config: Config
    proposers: dict[int, Proposer]
    asked: set[int]
    def __init__(
        self,
        node: int,
        durable: Mapping[Any, Any],
        seed: int,
        now: int,
        *,
        nodes: Iterable[int],
        **options: int,
    ) -> None: ...
    def step(self, message: Any, now: int) -> Outputs: ...
    def tick(self, now: int) -> Outputs: ...

class RegisterNode(_Node):
    config: Config
    registers: dict[int, Register]
    collectors: dict[int, tuple[Any, Collector]]
    def __init__(
        self,
        node: int,
        durable: Mapping[Any, Any],
        seed: int,
        now: int,
        *,
        config: Config,
        proposers: Iterable[int],
        changes: Mapping[str, Callable[..., bytes | None]],
        repeatable: Iterable[str] = ("read",),
        timeout_us: int = 2_000_000,
        **options: int,
    ) -> None: ...
    def step(self, message: Any, now: int) -> Outputs: ...
    def tick(self, now: int) -> Outputs: ...
