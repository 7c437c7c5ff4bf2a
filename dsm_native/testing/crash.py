"""One simulated machine: its clock, its disk, and where a crash may strike.

The disk keeps the law of `Outputs`: writes become durable in order, a crash keeps any prefix of
those under way, and what had to wait for them is carried out only after them. A crash strikes at a
boundary: before, between or after any two messages, writes or applications of one `Outputs`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from dsm_native.testing.protocol import Outputs, Protocol, Write

PPM = 1_000_000


class Clock:
    """A clock that runs at its own rate: `rate_ppm` parts per million faster than true time."""

    __slots__ = ("_base_local", "_base_true", "rate_ppm")

    def __init__(self, offset_us: int = 0, rate_ppm: int = 0) -> None:
        self._base_true = 0
        self._base_local = offset_us
        self.rate_ppm = rate_ppm

    def read(self, true_us: int) -> int:
        """The node's own microseconds at a true time."""
        passed = true_us - self._base_true
        if self.rate_ppm == 0:
            return self._base_local + passed
        return self._base_local + passed + passed * self.rate_ppm // PPM

    def change_rate(self, true_us: int, rate_ppm: int) -> None:
        """Runs at another rate from now on; it does not jump."""
        self._base_local = self.read(true_us)
        self._base_true = true_us
        self.rate_ppm = rate_ppm


class Machine:
    """A node's place in the simulation. `protocol` is None while it is down."""

    __slots__ = (
        "boundary",
        "boundary_writes",
        "clock",
        "disk",
        "disk_delay_us",
        "incarnation",
        "node",
        "protocol",
        "queue",
    )

    def __init__(self, node: int, clock: Clock, disk_delay_us: int) -> None:
        self.node = node
        self.clock = clock
        self.disk: dict[Hashable, Any] = {}
        self.disk_delay_us = disk_delay_us
        self.queue: deque[Outputs] = deque()
        self.incarnation = 0
        self.protocol: Protocol | None = None
        self.boundary: float | None = None
        """Set when a crash is due: the next outputs are cut at this fraction of their length."""
        self.boundary_writes = False
        """Whether the crash waits for outputs that write."""

    def write(self, writes: tuple[Write, ...]) -> None:
        """Makes writes durable."""
        disk = self.disk
        for key, value in writes:
            if value is None:
                disk.pop(key, None)
            else:
                disk[key] = value

    def lose(self, fraction: float) -> int:
        """A crash: of the writes under way this fraction, in order, became durable. Returns how
        many were lost."""
        under_way = [write for outputs in self.queue for write in outputs.persist]
        kept = int(fraction * (len(under_way) + 1))
        self.write(tuple(under_way[:kept]))
        self.queue.clear()
        self.protocol = None
        self.boundary = None
        return len(under_way) - min(kept, len(under_way))


def first_actions(outputs: Outputs, fraction: float) -> Outputs:
    """The outputs up to a boundary: `fraction` of all their messages, writes and applications."""
    room = int(fraction * (sum(map(len, outputs)) + 1))
    parts: list[tuple[Any, ...]] = []
    for part in outputs:
        parts.append(part[:room])
        room -= len(parts[-1])
    return Outputs(*parts)


def carry_out(
    outputs: Outputs,
    machine: Machine,
    send: Callable[[Any], None],
    applied: Callable[[int, tuple[Any, ...]], None],
) -> None:
    """The part of the outputs that waits for the disk, once the disk is done."""
    machine.write(outputs.persist)
    for message in outputs.send_after_persist:
        send(message)
    if outputs.apply:
        applied(machine.node, outputs.apply)
