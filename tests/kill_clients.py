"""Clients that die: random operations, recorded, by processes that are killed and replaced.

    python kill_clients.py CLUSTER FOLDER KEYS SECONDS SEED

Forks three clients, kills one at a random instant, replaces it, and so on; prints the number of
kills. Every second client works with the handle it inherited, the others attach anew.
"""

from __future__ import annotations

import random
import sys
import time
from functools import partial
from pathlib import Path

from killer import kill_in_turn

import dsm_native as dsm
from dsm_native.chaos.keys import KeySession
from dsm_native.testing import Recorder, check_linearizable, merge

SIZES = (8, 8, 8, 100, 1500, 5000, 40_000)


class Client(KeySession):
    """One session: what it does next is drawn, what it did is recorded."""

    def step(self, keys: int) -> None:
        number = self.draw.randrange(keys)
        if number % 4 == 0:
            call = self.look if self.draw.random() < 0.3 else self.count
            call(f"counter {number}")
        else:
            call = self.draw.choice([self.get, self.get, self.put, self.delete, self.put_if])
            call(f"key {number}")


def work(cluster: dsm.Cluster, folder: str, keys: int, seed: int, end: float) -> None:
    if seed % 2:
        cluster = dsm.attach(cluster.name)
    with Recorder(folder, f"client {seed}") as recorder:
        client = Client(cluster.region("raced"), recorder, random.Random(seed), seed << 20, SIZES)
        while time.monotonic() < end:
            client.step(keys)
            if client.draw.random() < 0.5:
                time.sleep(0.0002)


def main() -> None:
    name, folder, keys, seconds, seed = sys.argv[1:]
    cluster = dsm.attach(name)
    client = partial(work, cluster, folder, int(keys))
    print(kill_in_turn(client, float(seconds), int(seed)))


def judge(cluster: dsm.Cluster, folder: Path, seed: int) -> int:
    """The history and a last look at every key, and the structure; how long the history is."""
    history = merge(folder)
    # The last word on every key is the survivors': a read after everything.
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    region = cluster.region("raced")
    final = []
    for serial, key in enumerate(sorted({operation.key for operation in history})):
        value = region.get(key)
        shown = int.from_bytes(value[:8], "little") if isinstance(value, bytes) else value
        times = (now + 2 * serial, now + 2 * serial + 1)
        final.append(("the survivor", "get", key, shown, *times))
    verdict = check_linearizable([*history, *final])
    assert verdict, f"DSM_KILL_SEED={seed}: {verdict}"
    report = cluster.check()
    assert report.clean, (seed, report.texts)
    return len(history)


if __name__ == "__main__":
    main()
