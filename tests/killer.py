"""Forked clients that are killed at random instants and replaced, until the time is over."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable

CLIENTS = 3


def kill_in_turn(work: Callable[[int, float], None], seconds: float, seed: int) -> int:
    """Runs `work(seed of its own, end)` in three processes at a time; how many were killed."""
    end = time.monotonic() + seconds
    draw = random.Random(seed)
    serial = seed * 1000
    clients: list[int] = []
    kills = 0
    while time.monotonic() < end - 0.1:
        while len(clients) < CLIENTS:
            serial += 1
            clients.append(_forked(work, serial, end))
        time.sleep(draw.uniform(0.005, 0.06))
        victim = clients.pop(draw.randrange(CLIENTS))
        os.kill(victim, signal.SIGKILL)
        status = os.waitpid(victim, 0)[1]
        # On a loaded machine the time may be over before the kill: then it has ended by itself.
        over = status == 0 and time.monotonic() >= end
        assert status == signal.SIGKILL or over, "a client ended before it was killed"
        kills += not over
    for pid in clients:
        assert os.waitpid(pid, 0)[1] == 0, "a client failed"
    return kills


def _forked(work: Callable[[int, float], None], seed: int, end: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(seed, end)
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)
