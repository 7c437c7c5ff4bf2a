"""A seeded trial of membership: four to eight nodes under faults, then all must see all alive."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from dsm_native._native.detector import MembershipNode
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import Outputs, Protocol
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, Trial, outcome_of

MS = 1_000
FAULTS_US = 2_000_000
HEALED_US_MAX = 20_000_000
FAST = {
    "probe_interval_us": 50 * MS,
    "probe_timeout_us": 15 * MS,
    "suspicion_min_us": 150 * MS,
    "suspicion_max_us": 600 * MS,
}


class OwnIncarnation(Invariant):
    """Nobody knows an incarnation of a member that the member itself never had."""

    name = "own incarnation"

    def __init__(self) -> None:
        super().__init__()
        self.highest: dict[int, int] = {}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if isinstance(protocol, MembershipNode):
            own = protocol.view()[node][1]
            self.highest[node] = max(own, self.highest.get(node, 0))
        for news in outputs.apply:
            self.require(
                news.incarnation <= self.highest.get(news.node, 0),
                f"node {node} heard of {news}, node {news.node} never passed "
                f"{self.highest.get(news.node, 0)}",
            )


class SuspectedFirst(Invariant):
    """A node that declares a death itself has held the suspicion for the least time-out."""

    name = "suspected first"

    def __init__(self, least_us: int) -> None:
        super().__init__()
        self.least_us = least_us
        self.since: dict[tuple[int, int, int], int] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        self.since = {entry: when for entry, when in self.since.items() if entry[0] != node}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for news in outputs.apply:
            entry = (node, news.node, news.incarnation)
            if news.state == "suspect":
                self.since[entry] = now
            if news.state == "dead" and news.accuser == node:
                held = now - self.since.get(entry, now)
                self.require(held >= self.least_us, f"node {node} buried {news} after {held} us")


def cluster(
    seed: int,
    nodes: int,
    plan: Sequence[Fault],
    more: Sequence[Invariant] = (),
    trace: list[str] | None = None,
) -> Simulation:
    """A simulation of so many nodes that all know the first three."""

    def factory(node: int, durable: Mapping[Hashable, Any], node_seed: int, now: int) -> Any:
        return MembershipNode(
            node, durable, node_seed, now, capacity=nodes, seeds=(0, 1, 2), **FAST
        )

    # Clocks run at most 2 % fast, so a time-out is at least 0.98 of what it says.
    least_us = int(FAST["suspicion_min_us"] * 0.95)
    return Simulation(
        factory,
        nodes,
        seed=seed,
        plan=plan,
        invariants=[OwnIncarnation(), SuspectedFirst(least_us), *more],
        tick_us=5 * MS,
        conditions=Conditions(drop=0.01, duplicate=0.01),
        trace=trace,
    )


def states(simulation: Simulation) -> dict[int, dict[int, str]]:
    """How every living node sees every member it knows."""
    return {
        node: {member: state for member, (state, _) in protocol.view().items()}
        for node, protocol in simulation.protocols().items()
    }


class MembershipTrial(Trial):
    """The trial of a seed; `refuted` counts suspicions and deaths that were taken back."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes = Random(seed).randint(4, 8)
        self.plan = random_plan(seed, range(self.nodes), FAULTS_US, mean_gap_us=200_000)
        self.refuted = 0

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm until everybody sees everybody alive."""
        healed = Finally("all see all alive")
        faults = self.plan if plan is None else plan
        simulation = cluster(self.seed, self.nodes, faults, [healed], trace)
        simulation.run_until(FAULTS_US)
        all_alive = dict.fromkeys(range(self.nodes), "alive")
        wanted = dict.fromkeys(range(self.nodes), all_alive)
        while states(simulation) != wanted and simulation.now < HEALED_US_MAX:
            simulation.run_until(simulation.now + 100 * MS)
        seen = states(simulation)
        healed.require(
            seen == wanted,
            f"{simulation.now - FAULTS_US} us after the last fault nodes see {seen}",
        )
        lives = [protocol.view()[node][1] for node, protocol in simulation.protocols().items()]
        self.refuted = sum(lives) - self.nodes
        return outcome_of(f"{self.nodes} nodes", simulation, self.refuted)
