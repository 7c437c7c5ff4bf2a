"""One seeded trial of Raft: a cluster, clients, faults, and what must hold during and after.

The seed chooses everything, also the shape of the cluster, so that a few hundred seeds meet small
and large clusters, leases, changing memberships, slow disks and bare Raft without its extensions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.history import Operation as History
from dsm_native.testing.linearizability import check_linearizable
from dsm_native.testing.raft_client import RaftClient
from dsm_native.testing.raft_invariants import raft_invariants
from dsm_native.testing.raft_node import RaftNode
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, outcome_of
from dsm_native.testing.trial import Trial as SeededTrial

FAULTS_US = 1_500_000
CALM_US = 600_000
KINDS_DRAWN = (
    "crash",
    "crash_writing",
    "crash_writing",
    "partition",
    "partition",
    "one_way",
    "skew",
    "storm",
    "slow_disk",
)
# Short beside the faults' lengths, so that every fault can outlast an election or a lease.
PACE = {"election_timeout_us": 40_000, "heartbeat_us": 10_000}
TICK_US = 3_000


@dataclass(frozen=True)
class Shape:
    """What a cluster is like; `settings` go to `Raft`."""

    name: str
    nodes: int = 3
    voters: int = 3
    operate_every_us: int = 0
    disk_delay_us: int = 0
    snapshot_every: int = 20
    fault_gap_us: int = 60_000
    fault_us_max: int = 250_000
    kinds: tuple[str, ...] = KINDS_DRAWN
    sessions: int = 5
    settings: Mapping[str, Any] = field(default_factory=dict)


SHAPES = (
    Shape("three nodes"),
    Shape("leases", settings={"lease_reads": True, "clock_drift_ppm": 50_000}),
    Shape("changing membership", nodes=5, operate_every_us=20_000),
    Shape("growing membership", nodes=5, voters=2, operate_every_us=25_000, disk_delay_us=1_000),
    Shape("bare", nodes=5, voters=5, settings={"pre_vote": False, "check_quorum": False}),
    Shape(
        "small windows",
        disk_delay_us=1_500,
        snapshot_every=8,
        settings={"log_capacity": 64, "inflight_max": 2, "entries_per_message_max": 2},
    ),
    Shape(
        "leases and handing over",
        operate_every_us=20_000,
        settings={"lease_reads": True, "clock_drift_ppm": 50_000},
    ),
    # Time-outs of a few messages' delay and short crashes: elections all the time, and nodes that
    # come back into the term in which they voted.
    Shape(
        "restless",
        fault_gap_us=4_000,
        fault_us_max=8_000,
        kinds=("crash_writing", "crash_writing", "crash_writing", "one_way", "storm"),
        sessions=1,
        settings={
            "pre_vote": False,
            "check_quorum": False,
            "election_timeout_us": 6_000,
            "heartbeat_us": 3_000,
        },
    ),
)


class Trial(SeededTrial):
    """The trial of a seed. `run` raises what went wrong; a shrunken plan may be given to it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.shape = SHAPES[seed % len(SHAPES)]
        self.client: RaftClient | None = None
        """The client of the latest run, with the history of what its sessions saw."""
        self.plan = random_plan(
            seed,
            range(self.shape.nodes),
            FAULTS_US,
            kinds=self.shape.kinds,
            mean_gap_us=self.shape.fault_gap_us,
            length_us_max=self.shape.fault_us_max,
        )

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm; clients must be served again before the calm is over."""
        shape = self.shape
        client = self.client = RaftClient(
            self.seed,
            range(shape.nodes),
            sessions=shape.sessions,
            timeout_us=60_000,
            pause_us=6_000,
            operate_every_us=shape.operate_every_us,
        )
        simulation = Simulation(
            self._node,
            shape.nodes,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            client=client,
            invariants=raft_invariants(),
            tick_us=TICK_US,
            disk_delay_us=shape.disk_delay_us,
            trace=trace,
        )
        simulation.run_until(FAULTS_US)
        before = client.answers
        client.operate_every_us = 0
        simulation.run_until(FAULTS_US + CALM_US * 2 // 3)
        reached = max(node.raft.commit for node in simulation.protocols().values())
        simulation.run_until(FAULTS_US + CALM_US)
        convergence, progress = Finally("convergence"), Finally("progress")
        self._require_convergence(simulation, reached, convergence)
        progress.require(
            client.answers > before,
            f"of seed {self.seed} no request was answered in the {CALM_US} us after the last"
            f" fault, {before} were before",
        )
        judged = Finally("linearizable")
        # An operation that was never answered may yet happen, so each is a session of its own.
        verdict = check_linearizable(
            History(number, done.kind, done.key, done.value, done.invoked, done.returned)
            for number, done in enumerate(client.history)
            if done.kind == "put" or done.returned is not None
        )
        judged.require(bool(verdict), str(verdict))
        more = [("sessions", client.checks)]
        more += [(calm.name, calm.checks) for calm in (convergence, progress, judged)]
        return outcome_of(shape.name, simulation, client.answers, more)

    def _require_convergence(
        self, simulation: Simulation, reached: int, convergence: Finally
    ) -> None:
        """All members have caught up with what was committed a while ago."""
        cores = {node: protocol.raft for node, protocol in simulation.protocols().items()}
        newest = max(cores.values(), key=lambda core: (core.role == "leader", core.term))
        voters, outgoing, learners, learners_next, _ = newest.membership
        for node in sorted(voters | outgoing | learners | learners_next):
            convergence.require(
                cores[node].commit >= reached,
                f"node {node} is at commit {cores[node].commit}, {reached} was committed"
                f" {CALM_US // 3} us ago",
            )

    def _node(self, node: int, durable: Mapping[Hashable, Any], seed: int, now: int) -> RaftNode:
        shape = self.shape
        voters = tuple(range(shape.voters))
        return RaftNode(
            node,
            durable,
            seed,
            now,
            voters=voters,
            snapshot_every=shape.snapshot_every,
            **(PACE | dict(shape.settings)),
        )
