"""Clients that die: random operations, recorded, by processes that are killed and replaced.

    python kill_clients.py CLUSTER FOLDER KEYS SECONDS SEED

Forks three clients, kills one at a random instant, replaces it, and so on; prints the number of
kills. Every second client works with the handle it inherited, the others attach anew.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import dsm_native as dsm
from dsm_native.chaos.keys import KeySession
from dsm_native.testing import Recorder

CLIENTS = 3
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


def fork_client(cluster: dsm.Cluster, folder: str, keys: int, seed: int, end: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(cluster, folder, keys, seed, end)
        status = 0
    finally:
        if status:
            import traceback

            traceback.print_exc()
        os._exit(status)


def main() -> None:
    name, folder, keys, seconds, seed = sys.argv[1:]
    cluster = dsm.attach(name)
    end = time.monotonic() + float(seconds)
    draw = random.Random(int(seed))
    serial = int(seed) * 1000
    clients: list[int] = []
    kills = 0
    while time.monotonic() < end - 0.1:
        while len(clients) < CLIENTS:
            serial += 1
            clients.append(fork_client(cluster, folder, int(keys), serial, end))
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
    print(kills)


if __name__ == "__main__":
    main()
