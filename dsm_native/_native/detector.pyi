from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from typing_extensions import disjoint_base

PEER_STATES: tuple[str, ...]
MEMBER_STATES: tuple[str, ...]
KINDS: tuple[str, ...]

class Outputs(NamedTuple):
    send_now: tuple[Any, ...]
    persist: tuple[Any, ...]
    send_after_persist: tuple[Any, ...]
    apply: tuple[Any, ...]

class News(NamedTuple):
    node: int
    state: str
    incarnation: int
    accuser: int

def phi(elapsed: float, mean: float, deviation: float) -> float: ...
def suspicion_timeout_us(confirmations: int, expected: int, min_us: int, max_us: int) -> int: ...

@disjoint_base
class LocalHealth:
    def __init__(self, score_max: int = 8) -> None: ...
    @property
    def score(self) -> int: ...
    def note(self, delta: int) -> None: ...
    def stretch_us(self, timeout_us: int) -> int: ...

@disjoint_base
class Observer:
    def __init__(self, period_us: int, now: int, *, score_max: int = 8) -> None: ...
    @property
    def score(self) -> int: ...
    def tick(self, now: int) -> int: ...

@disjoint_base
class PhiWindow:
    def __init__(self, capacity: int) -> None: ...
    def __len__(self) -> int: ...
    def add(self, interval_us: int) -> None: ...
    @property
    def mean(self) -> float: ...
    @property
    def variance(self) -> float: ...

@disjoint_base
class Detector:
    def __init__(
        self,
        now: int,
        *,
        incarnation: int = 1,
        interval_us: int = 1_000_000,
        missed_suspected: int = 3,
        missed_dead: int = 10,
        accrual: bool = False,
        phi_suspected: float = 8.0,
        phi_dead: float = 16.0,
        deviation_min_us: int = 100_000,
        pause_us: int = 0,
        samples: int = 200,
    ) -> None: ...
    @property
    def state(self) -> str: ...
    @property
    def incarnation(self) -> int: ...
    def beat(self, now: int, incarnation: int | None = None) -> bool: ...
    def check(self, now: int, health: LocalHealth) -> bool: ...
    def check_as(self, now: int, observer: Observer) -> bool: ...
    def forgive(self, stall_us: int, now: int) -> None: ...
    def phi(self, now: int, health: LocalHealth) -> float: ...

@disjoint_base
class MembershipMessage:
    def __init__(
        self,
        source: int,
        target: int,
        kind: str,
        sequence: int,
        about: int,
        news: Iterable[News] = (),
    ) -> None: ...
    @property
    def source(self) -> int: ...
    @property
    def target(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def about(self) -> int: ...
    @property
    def news(self) -> tuple[News, ...]: ...
    @property
    def news_count(self) -> int: ...

@disjoint_base
class MembershipNode:
    def __init__(
        self,
        node: int,
        durable: Mapping[Any, Any],
        seed: int,
        now: int,
        *,
        capacity: int,
        seeds: Iterable[int],
        probe_interval_us: int = 1_000_000,
        probe_timeout_us: int = 300_000,
        suspicion_min_us: int = 3_000_000,
        suspicion_max_us: int = 18_000_000,
        confirmations: int = 3,
        indirect: int = 3,
        retell: int = 4,
        dead_every: int = 8,
        health_max: int = 8,
    ) -> None: ...
    @property
    def node(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def view(self) -> dict[int, tuple[str, int]]: ...
    def confirmations(self, node: int) -> int: ...
    @property
    def counts(self) -> tuple[int, int]: ...
    @property
    def score(self) -> int: ...
    def know(self, members: Mapping[int, int]) -> None: ...
    def hear(self, news: News, now: int) -> Outputs: ...
    def step(self, message: Any, now: int) -> Outputs: ...
    def tick(self, now: int) -> Outputs: ...
