"""A seeded trial of the ring: nodes take part in the same changes of it, told over a bad network.

An operator adds, removes and weighs members; every node applies the numbered changes in their
order and asks for those that it missed. After each change the ring must have moved nothing but
what the change is about, and all rings after the same changes must be equal.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import ceil
from random import Random
from typing import Any

from dsm_native._native.ring import Ring
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs, Protocol, Write
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, Trial, outcome_of

FAULTS_US = 700_000
CALM_US = 300_000
MEMBERS_MAX = 24
COPIES = 3
POINTS = 24
CIRCLE = 1 << 64
FACTOR = 1.25


class RingNode:
    """A ring that follows numbered changes (name, member, weight); `apply` holds
    (number, change) of each that was applied."""

    def __init__(
        self, node: int, durable: Mapping[Hashable, Any], seed: int, now: int, *, nodes: int
    ) -> None:
        self.node = node
        self.ring = Ring(virtual_nodes=POINTS, seed=1)
        self.changes: list[tuple[str, int, float]] = []
        self._nodes = nodes
        self._early: dict[int, tuple[str, int, float]] = {}
        for number in range(len(durable)):
            self._change(durable[number])

    def step(self, message: Message, now: int) -> Outputs:
        """Takes a change, or gives a peer those that it lacks."""
        if message.kind == "lacks":
            missing = self.changes[message.body : message.body + 4]
            return Outputs(
                tuple(
                    Message(self.node, message.source, "change", (message.body + i, change))
                    for i, change in enumerate(missing)
                )
            )
        number, change = message.body
        self._early[number] = change
        writes: list[Write] = []
        while (change := self._early.pop(len(self.changes), None)) is not None:
            writes.append((len(self.changes), change))
            self._change(change)
        return Outputs(persist=tuple(writes), apply=tuple(writes))

    def tick(self, now: int) -> Outputs:
        """Asks the next node for what comes after the last change."""
        peer = (self.node + 1) % self._nodes
        return Outputs((Message(self.node, peer, "lacks", len(self.changes)),))

    def _change(self, change: tuple[str, int, float]) -> None:
        name, member, weight = change
        self.changes.append(change)
        if name != "add":
            self.ring.remove(member)
        if name != "remove":
            self.ring.add(member, weight)


class Operator:
    """Makes a change now and then and tells all nodes, once each."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.changes: list[tuple[str, int, float]] = []
        self._members: set[int] = set()
        self._stream = Random(f"operator:{seed}")
        self._nodes, self._due = nodes, 0

    def step(self, message: Message, now: int) -> Outputs:
        """Gives a node what it lacks: the operator is the source of all changes."""
        return NOTHING

    def tick(self, now: int) -> Outputs:
        """The next change; a member that is weighed anew is taken off and put back."""
        if now < self._due or now > FAULTS_US:
            return NOTHING
        draw = self._stream
        self._due = now + draw.randrange(60_000)
        absent = sorted(set(range(MEMBERS_MAX)) - self._members)
        names = ["add"] * (1 + 2 * (len(self._members) < 4)) if absent else []
        names += ["remove", "weigh"] if len(self._members) > 1 else []
        name = draw.choice(names)
        member = draw.choice(absent if name == "add" else sorted(self._members))
        (self._members.discard if name == "remove" else self._members.add)(member)
        change = (name, member, 1.0 if name == "remove" else draw.choice((0.5, 1.0, 2.0)))
        self.changes.append(change)
        body = (len(self.changes) - 1, change)
        return Outputs(tuple(Message(CLIENT, node, "change", body) for node in range(self._nodes)))


class MinimalMovement(Invariant):
    """A change moves only what its member gains or loses, and that to the last place."""

    name = "minimal movement"

    def __init__(self) -> None:
        super().__init__()
        self._rings: dict[int, Ring] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        if isinstance(protocol, RingNode):
            self._rings[node] = protocol.ring.copy()

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if len(outputs.apply) == 1 and isinstance(protocol, RingNode):
            _, (name, member, _) = outputs.apply[0]
            self._look(self._rings[node], protocol.ring, name, member)
        if outputs.apply and isinstance(protocol, RingNode):
            self._rings[node] = protocol.ring.copy()

    def _look(self, before: Ring, after: Ring, name: str, member: int) -> None:
        others_moved = 0
        for first, last, old, new in before.moved(after, copies=COPIES):
            self.require(first <= last, f"a moved range goes from {first} to {last}")
            gained, lost = set(new) - set(old), set(old) - set(new)
            if len(before) >= COPIES and len(after) >= COPIES:
                others_moved += name == "add" and gained != {member}
                others_moved += name == "remove" and lost != {member}
                others_moved += name == "weigh" and member not in gained | lost | set(new)
        self.require(others_moved == 0, f"{name} {member} moved {others_moved} ranges of others")
        if len(before) and len(after) and name != "weigh":
            moved = sum(last - first + 1 for first, last, _, _ in before.moved(after))
            share = owned(after if name == "add" else before, member)
            self.require(
                moved == share, f"{name} {member} moved {moved} places, its share is {share}"
            )


def owned(ring: Ring, member: int) -> int:
    """How many of the 2**64 places belong to a member: the naive way, point by point."""
    points = ring.points
    total, previous = 0, points[-1][0] - CIRCLE
    for end, node in points:
        total += (end - previous) * (node == member)
        previous = end
    return total


class SameChangesSameRing(Invariant):
    """Rings after the same changes are equal, valid, and prefer distinct nodes."""

    name = "same changes, same ring"

    def __init__(self) -> None:
        super().__init__()
        self._points: dict[int, list[tuple[int, int]]] = {}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if not outputs.apply or not isinstance(protocol, RingNode):
            return
        ring, count = protocol.ring, len(protocol.changes)
        points = self._points.setdefault(count, ring.points)
        self.require(ring.points == points, f"node {node} has another ring after {count} changes")
        self.require(ring.valid(), f"the ring of node {node} is invalid after {count} changes")
        for key in range(8):
            held = ring.prefer_at(key * (CIRCLE // 8), COPIES)
            self.require(
                len(set(held)) == len(held) == min(COPIES, len(ring)),
                f"{held} is no preference list of {COPIES} among {len(ring)} nodes",
            )


class BoundedLoads(Invariant):
    """Placing keys by bounded loads, nobody has more than FACTOR times its weighted share."""

    name = "bounded loads"

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if not outputs.apply or not isinstance(protocol, RingNode):
            return
        weights = protocol.ring.nodes
        loads = dict.fromkeys(weights, 0)
        for key in range(30):
            loads[protocol.ring.prefer_bounded(f"key {key}", loads, FACTOR)] += 1
        for member, load in loads.items():
            most = ceil(FACTOR * 30 * weights[member] / sum(weights.values()))
            self.require(load <= most, f"member {member} has {load} of 30 keys, more than {most}")


class RingTrial(Trial):
    """The trial of a seed: three to five nodes, and a ring of up to 24 members."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes = Random(f"rings:{seed}").randint(3, 5)
        self.plan = random_plan(seed, range(self.nodes), FAULTS_US, mean_gap_us=60_000)

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm, at the end of which all nodes have all that any of them has."""
        operator, same = Operator(self.seed, self.nodes), Finally("all have all changes")

        def factory(node: int, durable: Mapping[Hashable, Any], seed: int, now: int) -> RingNode:
            return RingNode(node, durable, seed, now, nodes=self.nodes)

        invariants = [MinimalMovement(), SameChangesSameRing(), BoundedLoads(), same]
        simulation = Simulation(
            factory,
            self.nodes,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            client=operator,
            conditions=Conditions(drop=0.05, duplicate=0.05),
            invariants=invariants,
            trace=trace,
        )
        simulation.run_until(FAULTS_US + CALM_US)
        longest = max(len(protocol.changes) for protocol in simulation.protocols().values())
        for node, protocol in simulation.protocols().items():
            same.require(
                protocol.changes == operator.changes[:longest],
                f"node {node} has {len(protocol.changes)} changes, another has {longest}",
            )
        return outcome_of(f"{self.nodes} rings", simulation, longest)
