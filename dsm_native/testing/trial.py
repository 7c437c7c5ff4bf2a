"""What a seeded trial is: one run of a protocol under faults, with what must hold during and after.

A trial's seed chooses everything: the shape of the cluster, what clients do, and the plan of
faults, which a failing trial may be given back smaller (`shrink_plan.py`). `run` raises what went
wrong and else tells how much happened. All trials are listed in `trials.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dsm_native.testing.faults import Fault
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.simulator import Counts, Simulation


@dataclass(frozen=True)
class Outcome:
    """What a trial that held came to.

    `shape` names the kind of cluster, `counts` are the simulator's, `answers` counts requests that
    were served, `checks` how often each invariant was looked at, by its name.
    """

    shape: str
    counts: Counts
    answers: int
    checks: dict[str, int] = field(default_factory=dict)


class Trial(ABC):
    """The trial of a seed; `plan` is its list of faults."""

    seed: int
    plan: Sequence[Fault]

    @abstractmethod
    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Runs with the trial's own faults, or with these. `trace` receives the run's lines."""


def outcome_of(
    shape: str,
    simulation: Simulation,
    answers: int,
    more: Iterable[tuple[str, int]] = (),
) -> Outcome:
    """The outcome of a finished simulation; `more` are relations checked outside invariants."""
    checks = {invariant.name: invariant.checks for invariant in simulation.invariants}
    for name, count in more:
        checks[name] = checks.get(name, 0) + count
    counts = simulation.counts
    counts.checks = sum(checks.values())
    return Outcome(shape, counts, answers, checks)


class Finally(Invariant):
    """Relations that must hold once the faults are over, counted like any other."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
