"""A deterministic simulation of nodes that run a protocol, in virtual time, from one seed.

The same seed, factory, plan and settings give the same run, byte for byte, in any process: nothing
here looks at a clock, at a set's order or at `hash`. The protocol may be a C core's handle or any
class with `step` and `tick` (see `protocol.py`). Faults come from a plan (`faults.py`), what the
network does from `network.py`, machines, disks and crashes from `crash.py`.

A client, if given, is a protocol as well: it lives at node id `CLIENT`, never crashes, and is
reached through the same network. What it sends to a node that is down is lost.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from random import Random
from types import MappingProxyType
from typing import Any

from dsm_native.testing.crash import Clock, Machine, carry_out, first_actions
from dsm_native.testing.faults import Fault
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions, Network
from dsm_native.testing.protocol import CLIENT, Factory, Outputs, Protocol

_DELIVER, _TICK, _DISK, _BEGIN, _END = range(5)


@dataclass
class Counts:
    """How much happened. Reordered: messages that arrived before an earlier one of their link."""

    steps: int = 0
    delivered: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    crashes: int = 0
    writes_lost: int = 0
    restarts: int = 0
    partitions: int = 0
    one_way_cuts: int = 0
    clock_skews: int = 0
    storms: int = 0
    slow_disks: int = 0
    checks: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


_COUNTED = {
    "partition": "partitions",
    "one_way": "one_way_cuts",
    "skew": "clock_skews",
    "storm": "storms",
    "slow_disk": "slow_disks",
}


class Simulation:
    """Runs `factory`'s protocol on `nodes` nodes. Times are true microseconds since the start.

    `trace`, a list, receives one line per input that had outputs, and one per fault. An exception
    from a protocol or an invariant ends the run; its notes name the seed and the moment.
    """

    def __init__(
        self,
        factory: Factory,
        nodes: int,
        *,
        seed: int,
        plan: Sequence[Fault] = (),
        conditions: Conditions | None = None,
        client: Protocol | None = None,
        invariants: Iterable[Invariant] = (),
        tick_us: int = 10_000,
        disk_delay_us: int = 0,
        trace: list[str] | None = None,
    ) -> None:
        self.seed = seed
        self.now = 0
        self.conditions = conditions or Conditions()
        self.network = Network(seed, self.conditions)
        self.invariants = tuple(invariants)
        self._watchers = [(invariant.part, invariant.stepped) for invariant in self.invariants]
        self.trace = trace
        self._counts = Counts()
        self._factory = factory
        self._tick_us = tick_us
        self._disk_delay_us = disk_delay_us
        self._stream = Random(f"simulation:{seed}")
        self._agenda: list[tuple[int, int, int, Any, Any]] = []
        self._order = 0
        self._local: deque[Any] = deque()
        self._storms: list[Fault] = []
        self._last_arrival: dict[tuple[int, int], int] = {}
        self.machines: dict[int, Machine] = {}
        for node in range(nodes):
            clock = Clock(offset_us=self._stream.randrange(1_000_000))
            self.machines[node] = Machine(node, clock, disk_delay_us)
            self._start(self.machines[node])
        if client is not None:
            machine = self.machines[CLIENT] = Machine(CLIENT, Clock(), 0)
            machine.protocol = client
            self._plan_at(self._stream.randrange(tick_us), _TICK, machine, 0)
        for fault in plan:
            self._plan_at(fault.begin_us, _BEGIN, fault, None)
            self._plan_at(fault.end_us, _END, fault, None)

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        self._counts.dropped = self.network.dropped
        self._counts.duplicated = self.network.duplicated
        self._counts.checks = sum(invariant.checks for invariant in self.invariants)
        return self._counts

    def protocols(self) -> dict[int, Any]:
        """The nodes that are up."""
        return {
            node: machine.protocol
            for node, machine in self.machines.items()
            if node != CLIENT and machine.protocol is not None
        }

    def inject(self, message: Any, delay_us: int = 0) -> None:
        """Puts a message on the agenda, past the network's faults. ValueError: not in the past."""
        if delay_us < 0:
            raise ValueError(f"a message cannot arrive {-delay_us} us before it was injected")
        self._plan_at(self.now + delay_us, _DELIVER, message, None)

    def run_until(self, end_us: int) -> None:
        """Runs all events up to and including a moment. One that has passed changes nothing: the
        clock never goes back."""
        agenda = self._agenda
        pop = heapq.heappop
        machines = self.machines
        counts = self._counts
        try:
            while agenda and agenda[0][0] <= end_us:
                self.now, _, kind, subject, incarnation = pop(agenda)
                if kind == _DELIVER:
                    machine = machines.get(subject.target)
                    if machine is not None and machine.protocol is not None:
                        counts.delivered += 1
                        self._input(machine, subject)
                elif kind == _TICK:
                    self._tick(subject, incarnation)
                elif kind == _DISK:
                    self._disk_done(subject, incarnation)
                else:
                    self._fault(subject, kind == _BEGIN)
            self.now = max(self.now, end_us)
        except Exception as failure:
            failure.add_note(f"in the simulation of seed {self.seed}, at {self.now} us")
            raise

    def _plan_at(self, moment: int, kind: int, subject: Any, incarnation: Any) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (moment, self._order, kind, subject, incarnation))

    def _start(self, machine: Machine) -> None:
        incarnation = machine.incarnation
        seed = Random(f"{self.seed}:{machine.node}:{incarnation}").getrandbits(63)
        now = machine.clock.read(self.now)
        durable = MappingProxyType(machine.disk)
        machine.protocol = self._factory(machine.node, durable, seed, now)
        for invariant in self.invariants:
            invariant.started(machine.node, machine.protocol, durable, self.now)
        self._plan_at(self.now + self._stream.randrange(self._tick_us), _TICK, machine, incarnation)

    def _tick(self, machine: Machine, incarnation: int) -> None:
        if machine.protocol is None or machine.incarnation != incarnation:
            return
        self._input(machine, None)
        self._plan_at(self.now + self._tick_us, _TICK, machine, incarnation)

    def _input(self, machine: Machine, message: Any) -> None:
        """One input, and then what the node says to itself."""
        local = self._local
        counts = self._counts
        now = machine.clock.read(self.now)
        while (protocol := machine.protocol) is not None:
            counts.steps += 1
            outputs = protocol.tick(now) if message is None else protocol.step(message, now)
            if outputs[0] or outputs[1] or outputs[2] or outputs[3]:
                if self.trace is not None:
                    self._write_trace(machine, message, outputs)
                if machine.node != CLIENT:
                    for part, stepped in self._watchers:
                        if part is None or outputs[part]:
                            stepped(machine.node, protocol, outputs, self.now)
                self._outputs(machine, outputs)
            if not local:
                return
            message = local.popleft()
        local.clear()

    def _outputs(self, machine: Machine, outputs: Outputs) -> None:
        if machine.boundary is not None and (outputs[1] or not machine.boundary_writes):
            self._crash(machine, outputs)
            return
        for message in outputs[0]:
            self._send(message)
        if machine.queue or (outputs[1] and machine.disk_delay_us):
            machine.queue.append(outputs)
            if len(machine.queue) == 1:
                moment = self.now + machine.disk_delay_us
                self._plan_at(moment, _DISK, machine, machine.incarnation)
        elif outputs[1] or outputs[2] or outputs[3]:
            carry_out(outputs, machine, self._send, self._applied)

    def _disk_done(self, machine: Machine, incarnation: int) -> None:
        if machine.protocol is None or machine.incarnation != incarnation:
            return
        carry_out(machine.queue.popleft(), machine, self._send, self._applied)
        while machine.queue and not machine.queue[0][1]:
            carry_out(machine.queue.popleft(), machine, self._send, self._applied)
        if machine.queue:
            self._plan_at(self.now + machine.disk_delay_us, _DISK, machine, incarnation)
        if self._local:
            self._input(machine, self._local.popleft())

    def _send(self, message: Any) -> None:
        if message.source == message.target:
            self._local.append(message)
            return
        link = (message.source, message.target)
        for delay in self.network.delays(message):
            arrival = self.now + delay
            if arrival < self._last_arrival.get(link, 0):
                self._counts.reordered += 1
            else:
                self._last_arrival[link] = arrival
            self._order += 1
            heapq.heappush(self._agenda, (arrival, self._order, _DELIVER, message, None))

    def _applied(self, node: int, items: tuple[Any, ...]) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now} {node} applied {', '.join(map(repr, items))}")

    def _crash(self, machine: Machine, outputs: Outputs) -> None:
        fraction = machine.boundary or 0.0
        cut = first_actions(outputs, fraction)
        for message in cut.send_now:
            self._send(message)
        if len(cut.persist) == len(outputs[1]) and (cut.send_after_persist or cut.apply):
            while machine.queue:
                carry_out(machine.queue.popleft(), machine, self._send, self._applied)
            carry_out(cut._replace(send_now=()), machine, self._send, self._applied)
        elif machine.queue:
            machine.queue.append(cut)
        else:
            machine.write(cut.persist)
        self._counts.writes_lost += machine.lose(fraction) + len(outputs[1]) - len(cut.persist)
        self._counts.crashes += 1
        self._local.clear()
        for invariant in self.invariants:
            invariant.crashed(machine.node)
        if self.trace is not None:
            self.trace.append(f"{self.now} {machine.node} crashed")

    def _restart(self, machine: Machine) -> None:
        machine.incarnation += 1
        self._counts.restarts += 1
        if self.trace is not None:
            self.trace.append(f"{self.now} {machine.node} restarted")
        self._start(machine)

    def _fault(self, fault: Fault, begins: bool) -> None:
        if self.trace is not None and begins:
            self.trace.append(f"{self.now} fault {fault}")
        if begins and fault.kind in _COUNTED:
            name = _COUNTED[fault.kind]
            setattr(self._counts, name, getattr(self._counts, name) + 1)
        if fault.kind == "storm":
            self._storm(fault, begins)
        elif fault.kind in ("partition", "one_way"):
            self._cut(fault, begins)
        else:
            self._trouble(self.machines[fault.nodes[0]], fault, begins)

    def _trouble(self, machine: Machine, fault: Fault, begins: bool) -> None:
        """A fault of one machine."""
        if fault.kind == "skew":
            machine.clock.change_rate(self.now, int(fault.amount) if begins else 0)
        elif fault.kind == "slow_disk":
            machine.disk_delay_us = int(fault.amount) if begins else self._disk_delay_us
        elif begins:
            machine.boundary = fault.amount if machine.protocol is not None else None
            machine.boundary_writes = fault.kind == "crash_writing"
        elif machine.protocol is None:
            self._restart(machine)
        else:
            machine.boundary = None

    def _cut(self, fault: Fault, begins: bool) -> None:
        act = self.network.cut if begins else self.network.mend
        if fault.kind == "one_way":
            act(*fault.nodes)
            return
        inside = set(fault.nodes)
        others = [node for node in self.machines if node not in inside and node != CLIENT]
        for node in fault.nodes:
            for other in others:
                act(node, other)
                act(other, node)

    def _storm(self, fault: Fault, begins: bool) -> None:
        if begins:
            self._storms.append(fault)
        else:
            self._storms.remove(fault)
        calm = self.conditions
        worst = max((storm.amount for storm in self._storms), default=0.0)
        self.network.conditions = Conditions(
            calm.delay_us_min,
            calm.delay_us_max * (10 if self._storms else 1),
            max(calm.drop, worst),
            max(calm.duplicate, worst),
        )

    def _write_trace(self, machine: Machine, message: Any, outputs: Outputs) -> None:
        cause = "tick" if message is None else repr(message)
        parts = [f"{self.now} {machine.node} <- {cause}"]
        names = ("now", "write", "then", "apply")
        for name, part in zip(names, outputs, strict=True):
            if part:
                parts.append(f"{name}: {'; '.join(map(repr, part))}")
        assert self.trace is not None
        self.trace.append(" | ".join(parts))
