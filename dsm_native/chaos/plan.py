"""What a run of chaos is asked to do: settings that are checked before anything begins."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from dsm_native.exceptions import UsageError
from dsm_native.settings import check_count, check_seconds

QUIET_S = 1.0  # of load without faults, for comparison, before the first of them
SEEDS = 1 << 31
GAP_S_MAX = 3600.0


@dataclass(frozen=True)
class Plan:
    """A run: `seconds` of load and faults of the named kinds, drawn from `seed`.

    name: an existing cluster (created with `faults=True`), or None for one of its own with `nodes`
    nodes and `replication_factor` copies (by default 2, or 1 with one node). kinds: of
    `dsm_native.chaos.INJURIES`. clients: processes that read and write; they are killed, too, if
    "kill" is among the kinds. keys: fewer of them mean more contention. rounds: stop after so many
    faults, however much time is left. gap: mean seconds between faults.
    """

    kinds: tuple[str, ...] = ("kill", "stop")
    seconds: float = 10.0
    name: str | None = None
    nodes: int = 3
    replication_factor: int | None = None
    clients: int = 3
    keys: int = 60
    rounds: int | None = None
    gap: float = 0.15
    seed: int = field(default_factory=lambda: random.randrange(SEEDS))

    def __post_init__(self) -> None:
        from dsm_native.chaos.injuries import INJURIES

        unknown = [kind for kind in self.kinds if kind not in INJURIES]
        if unknown or not self.kinds:
            raise UsageError(
                f"kinds of faults are {', '.join(INJURIES)}; not {', '.join(unknown) or 'none'}"
            )
        check_seconds("seconds", self.seconds)
        if check_seconds("gap", self.gap) > GAP_S_MAX:
            raise UsageError(f"gap must be at most {GAP_S_MAX:g} seconds, not {self.gap!r}")
        check_count("nodes", self.nodes, 1, 32)
        if self.replication_factor is not None:
            check_count("replication_factor", self.replication_factor, 1, min(5, self.nodes))
        check_count("clients", self.clients, 1, 64)
        check_count("keys", self.keys, 4, 100_000)
        check_count("seed", self.seed, 0, SEEDS - 1)
        if self.rounds is not None:
            check_count("rounds", self.rounds, 1, 1_000_000)
