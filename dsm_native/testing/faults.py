"""Faults as plain data: a plan is a list of them, so it can be printed, edited and shrunk.

`random_plan` draws one from a seed. A fault has a beginning and an end in true microseconds; all
are over at the end of the plan, so that what follows may expect the protocol to recover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

KINDS = ("crash", "crash_writing", "partition", "one_way", "skew", "storm", "slow_disk")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    crash: `nodes[0]` goes down at the first outputs after `begin_us`, at `amount` of their length,
    and starts again at `end_us`. crash_writing: the same, at the first outputs that write.
    partition: `nodes` are cut off from all others. one_way: what `nodes[0]` sends to `nodes[1]` is
    lost. skew: the clock of `nodes[0]` runs `amount` ppm fast. storm: messages are dropped and
    duplicated with chance `amount`. slow_disk: the writes of `nodes[0]` take `amount` microseconds.
    """

    kind: str
    begin_us: int
    end_us: int
    nodes: tuple[int, ...] = ()
    amount: float = 0.0

    def __str__(self) -> str:
        who = "".join(f" {node}" for node in self.nodes)
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.kind}{who}{amount} from {self.begin_us} to {self.end_us} us"


def _draw(stream: Random, kind: str, nodes: Sequence[int], begin: int, end: int) -> Fault:
    if kind == "partition":
        size = stream.randint(1, max(1, len(nodes) // 2))
        return Fault(kind, begin, end, tuple(sorted(stream.sample(list(nodes), size))))
    if kind == "one_way":
        return Fault(kind, begin, end, tuple(stream.sample(list(nodes), 2)))
    if kind == "storm":
        return Fault(kind, begin, end, (), round(stream.uniform(0.05, 0.4), 2))
    node = (stream.choice(list(nodes)),)
    if kind == "skew":
        return Fault(kind, begin, end, node, stream.randint(-20_000, 20_000))
    if kind == "slow_disk":
        return Fault(kind, begin, end, node, stream.randint(500, 15_000))
    return Fault(kind, begin, end, node, round(stream.random(), 3))


def random_plan(
    seed: int,
    nodes: Sequence[int],
    duration_us: int,
    *,
    kinds: Sequence[str] = KINDS,
    mean_gap_us: int = 120_000,
    length_us_max: int = 400_000,
) -> list[Fault]:
    """Faults of the given kinds over `duration_us`, about one every `mean_gap_us`."""
    stream = Random(f"plan:{seed}")
    usable = [kind for kind in kinds if kind != "one_way" or len(nodes) > 1]
    plan: list[Fault] = []
    begin = int(stream.expovariate(1 / mean_gap_us))
    while usable and begin < duration_us:
        end = min(begin + stream.randint(1_000, length_us_max), duration_us)
        plan.append(_draw(stream, stream.choice(usable), nodes, begin, end))
        begin += 1 + int(stream.expovariate(1 / mean_gap_us))
    return plan
