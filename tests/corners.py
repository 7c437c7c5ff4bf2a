"""A part of a shared cluster for one test: names of its own for whatever has a name."""

from __future__ import annotations

import itertools

KINDS = {"lock", "semaphore", "barrier", "event", "condition", "queue", "counter", "atomic"}
serial = itertools.count()


class Corner:
    """A cluster of which a test has names of its own."""

    def __init__(self, cluster):
        self.cluster, self.prefix = cluster, f"corner {next(serial)}"

    def __getattr__(self, kind):
        found = getattr(self.cluster, kind)
        if kind not in KINDS:
            return found
        return lambda name, *more, **named: found(f"{self.prefix} {name}", *more, **named)
