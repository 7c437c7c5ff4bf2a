"""A seeded trial of failure detection: nodes send each other beats and watch, under faults.

In every second seed they count missed beats, in the others they accrue phi (Hayashibara et al.
2004). A death is final for one life of the watched process, so a node that was silent for too long
stays dead until it restarts; everybody else must be seen alive once the faults are over.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from dsm_native._native.detector import Detector, Observer
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import NOTHING, Message, Outputs, Protocol
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, Trial, outcome_of

BEAT_US = 20_000
TICK_US = 5_000
MISSED_SUSPECTED, MISSED_DEAD = 6, 30
DEVIATION_US = 15_000
PHI_SUSPECTED, PHI_DEAD = 8.0, 60.0
FAULTS_US = 1_200_000
CALM_US = 400_000
# Clocks run at most 2 % fast or slow.
DRIFT = 0.97


class BeatingNode:
    """Sends beats with its incarnation and watches all peers; `apply` holds what changed, as
    (peer, state before, state, incarnation)."""

    def __init__(
        self,
        node: int,
        durable: Mapping[Hashable, Any],
        seed: int,
        now: int,
        *,
        peers: Sequence[int],
        accrual: bool,
    ) -> None:
        self.node = node
        self.incarnation = durable.get("incarnation", 0) + 1
        self.observer = Observer(TICK_US, now)
        self.detectors = {
            peer: Detector(
                now, incarnation=0, interval_us=BEAT_US, missed_suspected=MISSED_SUSPECTED,
                missed_dead=MISSED_DEAD, accrual=accrual, phi_suspected=PHI_SUSPECTED,
                phi_dead=PHI_DEAD, deviation_min_us=DEVIATION_US, samples=50,
            )
            for peer in peers
            if peer != node
        }  # fmt: skip
        self._due = now
        self._owed: tuple[tuple[str, int], ...] = (("incarnation", self.incarnation),)

    def step(self, message: Message, now: int) -> Outputs:
        """Takes a beat."""
        detector = self.detectors[message.source]
        before, life = detector.state, detector.incarnation
        if not detector.beat(now, message.body) and detector.incarnation == life:
            return NOTHING
        change = (message.source, before, detector.state, detector.incarnation)
        return Outputs(apply=(change,))

    def tick(self, now: int) -> Outputs:
        """Beats when it is due, and looks at everybody."""
        slept = self.observer.tick(now)
        changes = []
        for peer, detector in self.detectors.items():
            detector.forgive(slept, now)
            before = detector.state
            if detector.check_as(now, self.observer):
                changes.append((peer, before, detector.state, detector.incarnation))
        if now < self._due:
            return Outputs(apply=tuple(changes))
        self._due = now + BEAT_US
        beats = tuple(Message(self.node, peer, "beat", self.incarnation) for peer in self.detectors)
        owed, self._owed = self._owed, ()
        return Outputs(persist=owed, send_after_persist=beats, apply=tuple(changes))


class LegalChanges(Invariant):
    """Alive, suspected, dead, one after another; back from suspicion, never from death, unless in
    a new life, which is alive."""

    name = "legal changes"

    def __init__(self) -> None:
        super().__init__()
        self._lives: dict[tuple[int, int], int] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        self._lives = {pair: life for pair, life in self._lives.items() if pair[0] != node}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for peer, before, after, life in outputs.apply:
            known = self._lives.get((node, peer), 0)
            self._lives[node, peer] = life
            legal = {("alive", "suspected"), ("suspected", "alive"), ("suspected", "dead")}
            self.require(
                (before, after) in legal if life == known else life > known and after == "alive",
                f"node {node} saw life {known} of node {peer} go from {before} to {after} in life "
                f"{life}",
            )


class SilenceFirst(Invariant):
    """Nobody is suspected who was heard of a short while ago."""

    name = "silence first"

    def __init__(self, least_us: float) -> None:
        super().__init__()
        self._least_us = least_us
        self._since: dict[tuple[int, int], int] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        if isinstance(protocol, BeatingNode):
            for peer in protocol.detectors:
                self._since[node, peer] = now

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for peer, before, after, _ in outputs.apply:
            if after == "alive":
                self._since[node, peer] = now
            elif before == "alive":
                silent = now - self._since[node, peer]
                self.require(
                    silent >= self._least_us,
                    f"node {node} suspects node {peer} {silent} us after it began to watch it or "
                    f"took it back, less than {self._least_us:.0f} us",
                )


class CrashesFound(Invariant):
    """Whoever has been down for long is suspected by everybody who looks."""

    name = "crashes found"

    def __init__(self) -> None:
        super().__init__()
        self._now = 0
        self._down: dict[int, int] = {}
        self._up: dict[int, int] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        self._up[node] = now
        self._down.pop(node, None)

    def crashed(self, node: int) -> None:
        self._down[node] = self._now

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        self._now = now
        if not isinstance(protocol, BeatingNode):
            return
        # Beats in flight, silence up to the threshold as this observer stretches it, a look.
        bound = 60_000 + (MISSED_SUSPECTED + 2) * BEAT_US * (protocol.observer.score + 1) * 2
        for peer, since in self._down.items():
            if peer == node or now - max(since, self._up[node]) < bound:
                continue
            state = protocol.detectors[peer].state
            self.require(
                state != "alive",
                f"node {peer} has been down for {now - since} us and node {node} sees it {state}",
            )


class DetectorTrial(Trial):
    """The trial of a seed: three to six nodes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes = Random(f"watchers:{seed}").randint(3, 6)
        self.accrual = seed % 2 == 1
        self.plan = random_plan(
            seed, range(self.nodes), FAULTS_US, mean_gap_us=70_000, length_us_max=900_000
        )

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm, at the end of which nobody is under suspicion."""

        def factory(node: int, durable: Mapping[Hashable, Any], seed: int, now: int) -> BeatingNode:
            peers = range(self.nodes)
            return BeatingNode(node, durable, seed, now, peers=peers, accrual=self.accrual)

        # Phi 8 is 5.6 standard deviations of at least DEVIATION_US after the mean.
        least = 5 * DEVIATION_US if self.accrual else MISSED_SUSPECTED * BEAT_US
        calm = Finally("no suspicion in calm")
        simulation = Simulation(
            factory,
            self.nodes,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            conditions=Conditions(drop=0.01, duplicate=0.02),
            invariants=[LegalChanges(), SilenceFirst(least * DRIFT), CrashesFound(), calm],
            tick_us=TICK_US,
            trace=trace,
        )
        simulation.run_until(FAULTS_US + CALM_US)
        alive = 0
        for node, protocol in simulation.protocols().items():
            for peer, detector in protocol.detectors.items():
                own = simulation.protocols()[peer].incarnation
                calm.require(
                    detector.state == "alive" or detector.state == "dead",
                    f"node {node} sees node {peer} {detector.state} {CALM_US} us after the last "
                    "fault",
                )
                calm.require(
                    detector.incarnation == own,
                    f"node {node} knows life {detector.incarnation} of node {peer}, it has {own}",
                )
                alive += detector.state == "alive"
        return outcome_of("phi accrual" if self.accrual else "missed beats", simulation, alive)
