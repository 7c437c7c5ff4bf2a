"""A bar of progress on standard error: how many of how many, and how fast. No dependency."""

from __future__ import annotations

import sys
import time

WIDTH = 30
INTERVAL_S = 0.1


class Bar:
    """A context manager; `advance(1)` for each step. Leaves its last state on a line of its own."""

    def __init__(self, total: int, unit: str = "tasks") -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        self._start = time.monotonic()
        self._shown = 0.0

    def advance(self, steps: int) -> None:
        """Counts, and draws at most ten times a second."""
        self.done += steps
        now = time.monotonic()
        if now - self._shown >= INTERVAL_S:
            self._shown = now
            self._draw(now)

    def _draw(self, now: float) -> None:
        share = self.done / self.total if self.total else 1.0
        bar = "#" * int(share * WIDTH)
        rate = self.done / max(now - self._start, 1e-9)
        sys.stderr.write(f"\r[{bar:<{WIDTH}}] {self.done}/{self.total} {self.unit}, {rate:,.0f}/s ")
        sys.stderr.flush()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._draw(time.monotonic())
        sys.stderr.write("\n")
