"""A seeded trial of two-phase commit: a dozen transactions among four nodes, under faults.

Every transaction must be decided once the faults are over. In the non-blocking mode nobody may
stay prepared for longer than a bound, whoever else is dead.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from dsm_native._native.two_phase import DecisionWord, Options
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, Trial, outcome_of
from dsm_native.testing.two_phase_invariants import Atomicity, NonBlocking, TransactionClient
from dsm_native.testing.two_phase_node import TwoPhaseNode

NODES = 4
TRANSACTIONS = 12
FAULTS_US = 1_500_000
END_US = 4_000_000
TIMES = {
    "vote_timeout_us": 150_000,
    "work_timeout_us": 250_000,
    "resend_us": 30_000,
    "inquire_timeout_us": 50_000,
}
# A clock 2 % slow and a tick of 10 ms late; a disk of at most 40 ms holds nobody's tick up.
BOUND_US = 80_000


class TwoPhaseTrial(Trial):
    """The trial of a seed, in one of the two modes; `atomicity` holds the outcomes afterwards."""

    def __init__(self, seed: int, *, non_blocking: bool = False) -> None:
        self.seed = seed
        self.non_blocking = non_blocking
        self.plan = random_plan(seed, range(NODES), FAULTS_US, mean_gap_us=60_000)
        self.atomicity = Atomicity()

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm, at the end of which all is decided."""
        stream = Random(f"votes:{self.seed}")
        votes: dict[tuple[int, int], str | None] = {}
        words: dict[int, DecisionWord] = {}
        options = Options(**TIMES, non_blocking=self.non_blocking)

        def vote(node: int, transaction: int) -> str | None:
            choices = ["yes", "no", "read-only", None]
            drawn = stream.choices(choices, [85, 6, 7, 2])[0]
            return votes.setdefault((node, transaction), drawn)

        def factory(
            node: int, durable: Mapping[Hashable, Any], seed: int, now: int
        ) -> TwoPhaseNode:
            return TwoPhaseNode(
                node, durable, seed, now, options=options, words=words,
                vote=lambda transaction: vote(node, transaction),
            )  # fmt: skip

        self.atomicity = Atomicity()
        decided = Finally("all decided")
        invariants: list[Invariant] = [self.atomicity, decided]
        if self.non_blocking:
            invariants.append(NonBlocking(BOUND_US))
        moments = [stream.randrange(FAULTS_US) for _ in range(TRANSACTIONS)]
        client = TransactionClient(self.seed, range(NODES), moments, self.atomicity)
        simulation = Simulation(
            factory,
            NODES,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            client=client,
            conditions=Conditions(drop=0.02, duplicate=0.02),
            invariants=invariants,
            trace=trace,
        )
        simulation.run_until(END_US)
        self._require_decided(simulation, decided)
        mode = "non-blocking" if self.non_blocking else "classic"
        return outcome_of(mode, simulation, len(client.told))

    def _require_decided(self, simulation: Simulation, decided: Finally) -> None:
        for node, protocol in simulation.protocols().items():
            for transaction, side in protocol.participants.items():
                decided.require(
                    side.state in ("committed", "aborted", "read-only"),
                    f"participant {node} of transaction {transaction} is {side.state} "
                    f"{END_US - FAULTS_US} us after the last fault",
                )
            for transaction, side in protocol.coordinators.items():
                decided.require(
                    side.state == "done",
                    f"the coordinator {node} of transaction {transaction} is {side.state} "
                    f"{END_US - FAULTS_US} us after the last fault",
                )
