"""A network that delays, drops, duplicates, reorders and cuts, all from one seed.

Each link (ordered pair of nodes) draws from a stream of its own, so that removing one fault from a
plan disturbs the other links little: that is what lets a failing run shrink. Reordering needs no
switch of its own, since every message has its own delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dsm_native.testing.protocol import AnyMessage


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the network does to a message: delays in microseconds, chances from 0 to 1."""

    delay_us_min: int = 200
    delay_us_max: int = 2_000
    drop: float = 0.0
    duplicate: float = 0.0


class Network:
    """Decides the fate of messages. It holds none: the simulation owns the agenda."""

    def __init__(self, seed: int, conditions: Conditions) -> None:
        self.conditions = conditions
        self.dropped = 0
        self.duplicated = 0
        self._seed = seed
        self._links: dict[tuple[int, int], Random] = {}
        self._cuts: dict[tuple[int, int], int] = {}

    def cut(self, source: int, target: int) -> None:
        """Stops one direction of a link. Cuts add up: each needs its own `mend`."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1

    def mend(self, source: int, target: int) -> None:
        """Takes back one `cut` of the same direction."""
        left = self._cuts.get((source, target), 0) - 1
        if left > 0:
            self._cuts[source, target] = left
        else:
            self._cuts.pop((source, target), None)

    def delays(self, message: AnyMessage) -> tuple[int, ...]:
        """After how many microseconds the message arrives: not at all, once or twice."""
        link = (message.source, message.target)
        if self._cuts and link in self._cuts:
            self.dropped += 1
            return ()
        stream = self._links.get(link)
        if stream is None:
            stream = self._links[link] = Random(f"{self._seed}:{link[0]}:{link[1]}")
        conditions = self.conditions
        draw = stream.random
        if conditions.drop and draw() < conditions.drop:
            self.dropped += 1
            return ()
        least = conditions.delay_us_min
        width = conditions.delay_us_max - least + 1
        first = least + int(draw() * width)
        if conditions.duplicate and draw() < conditions.duplicate:
            self.duplicated += 1
            return (first, least + int(draw() * width))
        return (first,)
