"""What a run of chaos has found, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

CALLS_READING = ("get", "look", "audit", "snapshot")
VIOLATIONS_SHOWN = 20


@dataclass
class Stalls:
    """The longest calls, in ms, of readers and of writers."""

    reader_ms: float = 0.0
    writer_ms: float = 0.0

    def note(self, call: str, took_ns: int) -> None:
        """Takes a call into account."""
        took_ms = took_ns / 1e6
        if call in CALLS_READING:
            self.reader_ms = max(self.reader_ms, took_ms)
        else:
            self.writer_ms = max(self.writer_ms, took_ms)


@dataclass
class Report:
    """The outcome; `violations` is empty if the cluster kept what it promises."""

    seed: int
    seconds: float = 0.0
    injuries: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    open_operations: int = 0
    quiet: Stalls = field(default_factory=Stalls)
    stalls: Stalls = field(default_factory=Stalls)
    failures: int = 0  # that the cluster recorded
    repaired: int = 0
    healed_s: float = 0.0
    interrupted: bool = False  # by Ctrl-C, before its time
    violations: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was violated."""
        return not self.violations

    def lines(self) -> Iterator[str]:
        """The report as text."""
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.injuries.items()))
        yield f"seed {self.seed}: {self.seconds:.1f} s, faults: {faults or 'none'}"
        yield (
            f"  {self.operations:,} recorded operations, {self.open_operations} of them cut off by "
            f"a kill"
        )
        yield (
            f"  worst stall of a reader {self.stalls.reader_ms:.1f} ms "
            f"(without faults {self.quiet.reader_ms:.1f}), of a writer "
            f"{self.stalls.writer_ms:.1f} ms (without faults {self.quiet.writer_ms:.1f})"
        )
        yield (
            f"  {self.failures} failures recorded by the cluster, {self.repaired} problems "
            f"repaired; whole again {self.healed_s:.2f} s after the last fault"
        )
        found = Counter(self.violations)  # in order of the first of each
        for text, times in list(found.items())[:VIOLATIONS_SHOWN]:
            yield f"  VIOLATION: {text}" + (f" ({times} times)" if times > 1 else "")
        hidden = sum(list(found.values())[VIOLATIONS_SHOWN:])
        if hidden > 0:
            yield f"  and {hidden} violations more"
        if not self.injuries:
            yield "  NOTHING WAS INJECTED: there was no victim that the cluster could spare"
        yield "  all promises kept" if self.good else f"  repeat with --seed {self.seed}"
