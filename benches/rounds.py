"""Interleaved rounds and the numbers drawn from them.

A shared machine speeds up and slows down by tens of percent within seconds. So nothing is measured
alone: the contenders take turns in many short rounds, a ratio is formed within each turn, where
both sides met the same weather, and the median of the ratios is what is reported. The order of a
turn is reversed every other time, so that coming second helps nobody.
A round in which the kernel took the processor away is measured anew a few times: it would tell of
other programs' work, not of ours.
A turn is two passes over the same operations with new key objects. The first meets caches that the
other contenders have just filled with their own; the second meets a loop that has settled. The
second is the figure; the first is kept beside it, and reported for information.
Latencies are different: one clock reading before and after each single operation, none dropped.
"""

import gc
import math
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

WARM_UP_ROUNDS = 3
ATTEMPTS = 5


@dataclass
class Measurement:
    """One figure of the table, with its spread and how it came about."""

    value: float
    low: float
    high: float
    rounds: int
    note: str = ""


@dataclass
class Findings:
    """What one part of the run found: figures by target name, and the raw data behind them."""

    figures: dict[str, Measurement] = field(default_factory=dict)
    raw: dict = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)

    def merge(self, other: "Findings") -> None:
        self.figures |= other.figures
        self.raw |= other.raw
        self.unmeasured |= other.unmeasured


def one_round(prepare: Callable[[], Sequence], loop: Callable, operations: int) -> Callable:
    """A contender: two passes, each with arguments made untimed; returns ns per operation of both.

    Both arguments are made before the first pass, so that making them disturbs neither.
    """
    clock = time.perf_counter_ns

    def attempt() -> tuple[list[float], bool]:
        passes = [prepare() for _ in range(2)]
        preempted = preemptions()
        taken = []
        for arguments in passes:
            started = clock()
            loop(*arguments)
            taken.append((clock() - started) / operations)
        return taken, preemptions() == preempted

    def run() -> tuple[float, float]:
        for _ in range(ATTEMPTS):
            (first, settled), undisturbed = attempt()
            if undisturbed:
                break
        return first, settled

    return run


def preemptions() -> int:
    """How often the kernel has taken the processor from this thread against its will."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def interleave(contenders: Mapping[str, Callable], rounds: int) -> dict[str, list]:
    """Let all contenders take turns; returns ns per operation, one figure per round each.

    The settled pass is under the contender's name, the first one under `first_pass` of it.
    """
    names = list(contenders)
    taken: dict[str, list] = {label: [] for name in names for label in (name, first_pass(name))}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(-WARM_UP_ROUNDS, rounds):
            for name in names if number % 2 == 0 else reversed(names):
                first, settled = contenders[name]()
                if number >= 0:
                    taken[first_pass(name)].append(first)
                    taken[name].append(settled)
    finally:
        if was_enabled:
            gc.enable()
    return taken


def first_pass(name: str) -> str:
    return f"{name}, first pass"


def spread(figures: Sequence[float], note: str = "") -> Measurement:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Measurement(middle, low, high, len(figures), note)


def ratio(above: Sequence[float], below: Sequence[float], note: str = "") -> Measurement:
    """The median of the ratios within each turn, which is not the ratio of the medians."""
    return spread([a / b for a, b in zip(above, below, strict=True)], note)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest figure that at least a share `q` of them does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def timed_each(call: Callable, arguments: Iterable[tuple]) -> list[int]:
    """Nanoseconds of each single call, the cost of reading the clock once included."""
    clock = time.perf_counter_ns
    taken: list[int] = []
    append = taken.append
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for args in arguments:
            started = clock()
            call(*args)
            append(clock() - started)
    finally:
        if was_enabled:
            gc.enable()
    return taken


def percentiles(nanoseconds: Iterable[int]) -> dict[str, float]:
    """p50, p99, p99.9 and the slowest, in microseconds."""
    ordered = sorted(nanoseconds)
    named = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    found = {name: quantile(ordered, q) / 1e3 for name, q in named.items()}
    return found | {"max": ordered[-1] / 1e3, "operations": len(ordered)}


def histogram(nanoseconds: Iterable[int]) -> dict[str, list[int]]:
    """All figures, each distinct one once with its count: raw data that stays small on disk."""
    counts = sorted(Counter(nanoseconds).items())
    return {"ns": [ns for ns, _ in counts], "count": [count for _, count in counts]}
