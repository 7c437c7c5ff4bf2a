"""Seeded trials of single-decree Paxos and of CASPaxos registers under faults.

Afterwards every proposer that was asked knows what was chosen, and every node reads the same
list from every register: with all appends that were answered and none that was refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from dsm_native._native.paxos import majority
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.network import Conditions
from dsm_native.testing.paxos_invariants import (
    CHANGES,
    Agreement,
    LinearizableLists,
    PromiseKept,
    ProposalClient,
    RegisterClient,
)
from dsm_native.testing.paxos_node import PaxosNode, RegisterNode
from dsm_native.testing.protocol import CLIENT, Message
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, Trial, outcome_of

FAULTS_US = 1_500_000
LOSSY = Conditions(drop=0.03, duplicate=0.03)
NODES = 5
DECREES = 4
REGISTER_NODES = 3
# Reads and appends, and in every second seed deletions as well.
NAMES = (("append", "append", "read"), ("append",) * 6 + ("read",) * 3 + ("delete",))


def plan_of(seed: int, nodes: int) -> list[Fault]:
    """The faults of a seed."""
    return random_plan(seed, range(nodes), FAULTS_US, mean_gap_us=60_000)


class DecreeTrial(Trial):
    """Five nodes compete for four decrees; `chosen` are those that were decided."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plan = plan_of(seed, NODES)
        self.chosen: dict[int, tuple[bytes, int]] = {}

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm, at the end of which every proposer that was asked has its answer."""
        agreement, learnt = Agreement(), Finally("all learnt")
        stream = Random(f"moments:{self.seed}")
        moments = [stream.randrange(FAULTS_US) for _ in range(24)]

        def factory(node: int, durable: Mapping[Hashable, Any], seed: int, now: int) -> PaxosNode:
            return PaxosNode(node, durable, seed, now, nodes=range(NODES))

        client = ProposalClient(self.seed, NODES, DECREES, moments, agreement)
        simulation = Simulation(
            factory,
            NODES,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            client=client,
            conditions=LOSSY,
            invariants=[agreement, PromiseKept(), learnt],
            trace=trace,
        )
        simulation.run_until(FAULTS_US + 1_500_000)
        for protocol in simulation.protocols().values():
            for key in protocol.asked:
                learnt.require(
                    protocol.proposers[key].chosen is not None,
                    f"node {protocol.node} was asked for decree {key} and never learnt it",
                )
        self.chosen = agreement.chosen
        return outcome_of("decrees", simulation, len(client.answers))


class RegisterTrial(Trial):
    """Three nodes change registers of their common lists."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plan = plan_of(seed, REGISTER_NODES)
        self.names = NAMES[seed % 2]
        self.keys = 2 + seed % 2

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm, in which every node reads every register."""
        lists, same = LinearizableLists(), Finally("all read the same")
        stream = Random(f"moments:{self.seed}")
        moments = [stream.randrange(FAULTS_US) for _ in range(60)]

        def factory(
            node: int, durable: Mapping[Hashable, Any], seed: int, now: int
        ) -> RegisterNode:
            return RegisterNode(
                node, durable, seed, now, config=majority(range(REGISTER_NODES)),
                proposers=range(REGISTER_NODES), changes=CHANGES, timeout_us=300_000,
                repeatable=("read", "delete"),
            )  # fmt: skip

        client = RegisterClient(
            self.seed, REGISTER_NODES, self.keys, moments, lists, names=self.names
        )
        simulation = Simulation(
            factory,
            REGISTER_NODES,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            client=client,
            conditions=LOSSY,
            invariants=[lists, PromiseKept(), same],
            trace=trace,
        )
        client.inject = simulation.inject
        simulation.run_until(FAULTS_US + 500_000)
        for key in range(self.keys):
            self._require_same(simulation, lists, same, key)
        done = sum(operation.outcome == "done" for operation in lists.operations.values())
        shape = "registers, some deleted" if "delete" in self.names else "registers"
        return outcome_of(shape, simulation, done)

    def _require_same(
        self, simulation: Simulation, lists: LinearizableLists, same: Finally, key: int
    ) -> None:
        values = set()
        for node in range(REGISTER_NODES):
            request = 2_000 + key * REGISTER_NODES + node
            lists.begin(request, "read", key, 0)
            simulation.inject(Message(CLIENT, node, "change", (request, key, "read", ())))
            simulation.run_until(simulation.now + 400_000)
            outcome = lists.operations[request].outcome
            same.require(outcome == "done", f"node {node} cannot read key {key}: {outcome!r}")
            values.add(lists.longest(key))
        same.require(len(values) == 1, f"key {key} reads as {sorted(values)}")
        if "delete" in self.names:
            return
        for operation in lists.operations.values():
            if operation.name == "append" and operation.key == key:
                applied = operation.mark in lists.longest(key)
                same.require(
                    applied or operation.outcome != "done", f"{operation} was answered and is lost"
                )
                same.require(
                    not applied or operation.outcome != "refused",
                    f"{operation} was refused and happened",
                )
