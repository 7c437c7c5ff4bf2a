"""A seeded trial of the clocks: nodes exchange stamped messages and write siblings, under faults.

Each event is stamped by a vector clock and by a hybrid clock; what really happened before what is
kept beside them as plain sets of events. One object's siblings are kept as a dotted version set,
and beside it, as its naive twin, as the set of values that are there and of those ever seen.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from dsm_native._native.clocks import ClockOrder, DottedVersionSet, HybridClock, VectorClock
from dsm_native.exceptions import ClockOffsetError
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import NOTHING, Message, Outputs, Protocol
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Outcome, Trial, outcome_of

FAULTS_US = 1_000_000
# The simulator's clocks are up to a second apart at the start, so some messages are refused.
OFFSET_US_MAX = 600_000


class Event(NamedTuple):
    """What a node shows of each event; `before` and `cause` are events of its past, if any."""

    name: tuple[int, int, int]
    before: tuple[int, int, int] | None
    cause: tuple[int, int, int] | None
    vector: tuple[int, ...]
    stamp: int
    now: int


class Siblings(NamedTuple):
    """Siblings twice: as a dotted version set's rows, and as plain sets of values."""

    entries: tuple[Any, ...] = ()
    live: frozenset[int] = frozenset()
    seen: frozenset[int] = frozenset()

    def joined(self, other: Siblings) -> Siblings:
        """What both know: of each side's values those that the other has or never saw."""
        merged = DottedVersionSet(self.entries).sync(DottedVersionSet(other.entries))
        kept = {v for v in self.live if v in other.live or v not in other.seen}
        kept |= {v for v in other.live if v in self.live or v not in self.seen}
        return Siblings(tuple(merged.entries), frozenset(kept), self.seen | other.seen)

    def written(self, context: Siblings, node: int, value: int) -> Siblings:
        """After a write by a client that has seen `context`."""
        after = DottedVersionSet(self.entries).update(
            DottedVersionSet(context.entries).context(), node, value
        )
        live = (self.live - context.seen) | {value}
        return Siblings(tuple(after.entries), live, self.seen | context.seen | {value})


class ClockNode:
    """Stamps what it does; `refused` counts messages from clocks that are too far ahead."""

    def __init__(
        self, node: int, durable: Mapping[Hashable, Any], seed: int, now: int, *, nodes: int
    ) -> None:
        last, vector, stamp, self.siblings = durable.get("clock", (None, (), 0, Siblings()))
        self.node = node
        self.vector = VectorClock(vector)
        self.clock = HybridClock(OFFSET_US_MAX, last=stamp)
        self.last: tuple[int, int, int] | None = last
        self.refused = 0
        self._incarnation = durable.get("incarnation", 0) + 1
        self._count = 0
        self._nodes = nodes
        self._stream = Random(f"clocks:{seed}")
        self._context = self.siblings

    def step(self, message: Message, now: int) -> Outputs:
        """A receipt is an event after the sending and after all before it here."""
        cause, vector, stamp, siblings = message.body
        try:
            received = self.clock.receive(now, stamp)
        except ClockOffsetError:
            self.refused += 1
            return NOTHING
        self.vector.merge(VectorClock(vector))
        self.siblings = self.siblings.joined(siblings)
        return self._event(received, now, cause, ())

    def tick(self, now: int) -> Outputs:
        """A local event: sends to somebody, and now and then writes."""
        draw = self._stream
        stamp = self.clock.send(now)
        if draw.random() < 0.3:
            value = draw.getrandbits(48)
            context = self._context if draw.random() < 0.5 else self.siblings
            self.siblings = self.siblings.written(context, self.node, value)
        if draw.random() < 0.2:
            self._context = self.siblings  # a client reads, and may write much later
        target = draw.randrange(self._nodes)
        return self._event(stamp, now, None, () if target == self.node else (target,))

    def _event(self, stamp: int, now: int, cause: Any, targets: tuple[int, ...]) -> Outputs:
        self.vector.tick(self.node)
        self._count += 1
        before, self.last = self.last, (self.node, self._incarnation, self._count)
        vector = tuple(self.vector)
        body = (self.last, vector, stamp, self.siblings)
        return Outputs(
            persist=(("incarnation", self._incarnation), ("clock", body)),
            send_after_persist=tuple(
                Message(self.node, target, "event", body) for target in targets
            ),
            apply=(Event(self.last, before, cause, vector, stamp, now),),
        )


class HappensBefore(Invariant):
    """Vector clocks say exactly what happened before what; hybrid stamps rise along it."""

    name = "happens-before"

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._events: dict[tuple[int, int, int], tuple[frozenset[Any], Event]] = {}
        self._stream = Random(f"pairs:{seed}")
        self._names: list[tuple[int, int, int]] = []

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        # What was not durable never left the node: it has not happened.
        last = durable.get("clock", (None,))[0]
        kept = (node, 0, 0) if last is None else last
        self._names = [name for name in self._names if name[0] != node or name <= kept]
        gone = [name for name in self._events if name[0] == node and name > kept]
        for name in gone:
            del self._events[name]

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for event in outputs.apply:
            past: frozenset[Any] = frozenset([event.name])
            for earlier in (event.before, event.cause):
                if earlier is not None:
                    its_past, of_it = self._events[earlier]
                    past |= its_past
                    self.require(
                        of_it.stamp < event.stamp,
                        f"{of_it} happened before {event}, and has no lower stamp",
                    )
            self._events[event.name] = (past, event)
            self._names.append(event.name)
            for _ in range(3):
                self._compare(event, past, self._stream.choice(self._names))

    def _compare(self, event: Event, past: frozenset[Any], name: tuple[int, int, int]) -> None:
        its_past, other = self._events[name]
        if name == event.name:
            expected = ClockOrder.EQUAL
        elif name in past:
            expected = ClockOrder.BEFORE
        else:
            expected = ClockOrder.AFTER if event.name in its_past else ClockOrder.CONCURRENT
        found = VectorClock(other.vector).compare(VectorClock(event.vector))
        self.require(found is expected, f"{other} is {found!r} to {event}, truly {expected!r}")


class StampsBounded(Invariant):
    """A hybrid stamp is at or after the node's own clock, and never far ahead of it."""

    name = "bounded stamps"

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for event in outputs.apply:
            physical, _ = HybridClock.parts(event.stamp)
            self.require(
                0 <= physical - event.now <= OFFSET_US_MAX,
                f"{event} is stamped {physical - event.now} us ahead of its node's clock",
            )


class SiblingsKept(Invariant):
    """A dotted version set holds exactly the values that no later write has seen."""

    name = "siblings"

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if isinstance(protocol, ClockNode):
            held = protocol.siblings
            values = DottedVersionSet(held.entries).values
            self.require(
                sorted(values) == sorted(held.live),
                f"node {node} holds {sorted(values)}, its twin {sorted(held.live)}",
            )


class ClockTrial(Trial):
    """The trial of a seed: three to six nodes; `refused` counts messages too far ahead."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes = Random(f"clocks:{seed}").randint(3, 6)
        self.plan = random_plan(seed, range(self.nodes), FAULTS_US, mean_gap_us=60_000)
        self.refused = 0

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults all along; the clocks need no calm."""

        def factory(node: int, durable: Mapping[Hashable, Any], seed: int, now: int) -> ClockNode:
            return ClockNode(node, durable, seed, now, nodes=self.nodes)

        simulation = Simulation(
            factory,
            self.nodes,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            conditions=Conditions(drop=0.02, duplicate=0.05),
            invariants=[HappensBefore(self.seed), StampsBounded(), SiblingsKept()],
            tick_us=20_000,
            trace=trace,
        )
        simulation.run_until(FAULTS_US)
        nodes = simulation.protocols().values()
        self.refused = sum(node.refused for node in nodes)
        return outcome_of(f"{self.nodes} clocks", simulation, simulation.counts.delivered)
