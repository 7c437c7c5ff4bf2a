from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

from dsm_native.exceptions import DSMError

@final
class RaftEntry:
    index: int
    term: int
    session: int
    sequence: int
    payload: bytes
    def __init__(
        self,
        index: int = 0,
        term: int = 0,
        kind: str = "command",
        payload: bytes = b"",
        *,
        session: int = 0,
        sequence: int = 0,
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

class RaftMembership(NamedTuple):
    voters: frozenset[int]
    outgoing: frozenset[int] = ...
    learners: frozenset[int] = ...
    learners_next: frozenset[int] = ...
    auto_leave: bool = ...

class RaftSnapshot(NamedTuple):
    index: int  # type: ignore[assignment]
    term: int
    membership: RaftMembership
    sessions: tuple[tuple[int, int, int], ...]
    state: Any

class RaftApplied(NamedTuple):
    entry: RaftEntry
    verdict: str

class RaftRead(NamedTuple):
    context: int
    index: int  # type: ignore[assignment]
    valid_until: int

class RaftPeer(NamedTuple):
    match: int
    next: int
    mode: str
    inflight: int
    recently_active: bool
    paused: bool

class RaftOutputs(NamedTuple):
    send_now: tuple[RaftMessage, ...] = ...
    persist: tuple[tuple[Hashable, Any], ...] = ...
    send_after_persist: tuple[RaftMessage, ...] = ...
    apply: tuple[RaftApplied | RaftRead | RaftSnapshot, ...] = ...

@final
class RaftMessage:
    source: int
    target: int
    term: int
    index: int
    log_term: int
    commit: int
    hint: int
    context: int
    entries: tuple[RaftEntry, ...]
    snapshot: RaftSnapshot | None
    reject: bool
    force: bool
    def __init__(
        self,
        kind: str,
        source: int,
        target: int,
        term: int,
        *,
        index: int = 0,
        log_term: int = 0,
        commit: int = 0,
        hint: int = 0,
        context: int = 0,
        entries: Iterable[RaftEntry] = (),
        snapshot: RaftSnapshot | None = None,
        reject: bool = False,
        force: bool = False,
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

class RaftRefusedError(DSMError, RuntimeError):
    reason: str
    leader: int | None
    retry: bool
    def __init__(self, reason: str, leader: int | None, retry: bool) -> None: ...

def changed_membership(
    membership: RaftMembership, transition: str, steps: Sequence[tuple[str, int]]
) -> RaftMembership: ...

@final
class Raft:
    started: RaftOutputs
    def __init__(
        self,
        node: int,
        voters: Collection[int],
        *,
        learners: Collection[int] = (),
        seed: int = 0,
        durable: Mapping[Hashable, Any] | None = None,
        now: int = 0,
        election_timeout_us: int = 150_000,
        heartbeat_us: int = 30_000,
        clock_drift_ppm: int = 0,
        log_capacity: int = 1024,
        payload_capacity_bytes: int = 65536,
        entries_per_message_max: int = 64,
        payload_bytes_per_message_max: int = 16384,
        inflight_max: int = 16,
        message_capacity: int = 512,
        read_capacity: int = 64,
        session_capacity: int = 64,
        pre_vote: bool = True,
        check_quorum: bool = True,
        lease_reads: bool = False,
    ) -> None: ...
    def step(self, message: RaftMessage, now: int) -> RaftOutputs: ...
    def tick(self, now: int) -> RaftOutputs: ...
    def campaign(self, now: int) -> RaftOutputs: ...
    def propose(self, entries: Sequence[RaftEntry], now: int) -> RaftOutputs: ...
    def propose_change(
        self, transition: str, steps: Sequence[tuple[str, int]], now: int
    ) -> RaftOutputs: ...
    def transfer(self, target: int, now: int) -> RaftOutputs: ...
    def read(self, context: int, now: int) -> RaftOutputs: ...
    def report_unreachable(self, node: int, now: int) -> RaftOutputs: ...
    def report_snapshot(self, node: int, arrived: bool, now: int) -> RaftOutputs: ...
    def take_snapshot(self, state: Any, now: int, *, keep_entries: int = 0) -> RaftOutputs: ...
    def entry(self, index: int) -> RaftEntry: ...
    def peer(self, node: int) -> RaftPeer | None: ...
    def valid(self) -> bool: ...
    @property
    def term(self) -> int: ...
    @property
    def vote(self) -> int | None: ...
    @property
    def leader(self) -> int | None: ...
    @property
    def role(self) -> str: ...
    @property
    def commit(self) -> int: ...
    @property
    def first_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    @property
    def election_at(self) -> int: ...
    @property
    def membership(self) -> RaftMembership: ...
