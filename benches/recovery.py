"""SIGKILL of a process that holds a stripe lock: how long until the next writer is done.

A *holder* is a process of its own that spends nearly all of its time inside a put, so that most
kills find it with the lock taken; `PutLoopHolder` does so by public means, overwriting one large
value. Anything with `start`, `pid` and `reap` can take its place, one that stops at a planned point
inside the critical section for instance.
Two figures are taken: from before the call of kill to the end of our own put of the same key, which
includes the kernel's taking the process apart, and from the instant at which the kernel reports
the death (pidfd). The first is the honest one and the one that is judged.
"""

import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from rounds import Findings, Measurement, quantile
from workload import value_of

KEY = "the key of the killed"
HOLDER_BYTES = 4 << 20
SETTLE_SECONDS = 0.002


def overwrite_forever(region, pipe) -> None:
    """The holder's life: say that it runs, then put until killed."""
    value = value_of(HOLDER_BYTES)
    put = region.put
    put(KEY, value)
    pipe.send("running")
    while True:
        put(KEY, value)


class PutLoopHolder:
    """A child that overwrites one large value without pause. A fork server makes children cheap."""

    context = multiprocessing.get_context("forkserver")

    def __init__(self, region) -> None:
        self.region = region
        self.context.set_forkserver_preload(["dsm_native", "numpy", "recovery"])

    def start(self) -> None:
        """Returns once the child is in its loop."""
        ours, theirs = self.context.Pipe()
        self.child = self.context.Process(target=overwrite_forever, args=(self.region, theirs))
        self.child.start()
        theirs.close()
        ours.recv()
        ours.close()
        time.sleep(SETTLE_SECONDS)

    @property
    def pid(self) -> int:
        return self.child.pid

    def reap(self) -> None:
        self.child.join()
        self.child.close()


@dataclass
class Kill:
    """One kill; nanoseconds since before the call of kill. `died` is when a pidfd told."""

    died_ns: int
    put_started_ns: int
    put_done_ns: int


def kill_then_put(pid: int, put: Callable, key: str, value: bytes) -> Kill:
    """Kill, then put at once, as a writer that knows nothing of it does."""
    clock = time.perf_counter_ns
    before = clock()
    os.kill(pid, signal.SIGKILL)
    started = clock()
    put(key, value)
    return Kill(0, started - before, clock() - before)


def kill_await_then_put(pid: int, put: Callable, key: str, value: bytes) -> Kill:
    """Kill, await the death on a pidfd, then put: the cost of the repair without that of dying."""
    clock = time.perf_counter_ns
    handle = os.pidfd_open(pid)
    try:
        before = clock()
        os.kill(pid, signal.SIGKILL)
        select.select([handle], [], [])
        died = clock()
        put(key, value)
        done = clock()
    finally:
        os.close(handle)
    return Kill(died - before, died - before, done - before)


def kills(region, holder, count: int) -> Findings:
    """`count` kills of each kind in turns, after two that are not counted."""
    value = value_of()
    taken: dict[str, list[Kill]] = {"at once": [], "after death": []}
    for number in range(-1, count):
        for kind, strike in (("at once", kill_then_put), ("after death", kill_await_then_put)):
            holder.start()
            struck = strike(holder.pid, region.put, KEY, value)
            holder.reap()
            check(region.get(KEY), value, kind)
            if number >= 0:
                taken[kind].append(struck)
    found = Findings(raw={"kills_ns": {k: [vars(s) for s in ss] for k, ss in taken.items()}})
    whole = sorted(kill.put_done_ns / 1e3 for kill in taken["at once"])
    repair = sorted((kill.put_done_ns - kill.died_ns) / 1e3 for kill in taken["after death"])
    dying = sorted(kill.died_ns / 1e3 for kill in taken["after death"])
    note = f"{count} kills, from before the call of kill"
    found.figures["kill_p99"] = tail(whole, 0.99, note)
    found.figures["kill_p50"] = tail(whole, 0.5, note)
    found.figures["death_p99"] = tail(repair, 0.99, f"{count} kills, from the pidfd's report")
    found.figures["dying_p99"] = tail(dying, 0.99, f"{count} kills, the kernel's own share")
    return found


def check(found: bytes, put: bytes, kind: str) -> None:
    """What was acknowledged is there. A process may finish one more put after the call of kill."""
    if found != put and (kind == "after death" or found != value_of(HOLDER_BYTES)):
        raise AssertionError(f"{KEY!r} holds {len(found)} bytes that nobody put last")


def tail(ordered: list[float], q: float, note: str) -> Measurement:
    """A percentile, with the fastest and the slowest of all as its spread."""
    return Measurement(quantile(ordered, q), ordered[0], ordered[-1], len(ordered), note)
