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
from dsm_native.testing import Recorder

CLIENTS = 3
SIZES = (8, 8, 8, 100, 1500, 5000, 40_000)


def written(serial: int, draw: random.Random) -> bytes:
    """A value that tells who it is in every eight bytes, so that a torn one is seen."""
    return serial.to_bytes(8, "little") * (draw.choice(SIZES) // 8)


def serial_of(value: bytes | None) -> int | None:
    if value is None:
        return None
    assert value == value[:8] * (len(value) // 8), "a torn value"
    return int.from_bytes(value[:8], "little")


class Client:
    """One session: what it does next is drawn, what it did is recorded."""

    def __init__(self, region: dsm.Region, recorder: Recorder, keys: int, seed: int) -> None:
        self.region, self.recorder, self.keys = region, recorder, keys
        self.draw = random.Random(seed)
        self.serial = seed << 20
        self.versions: dict[str, int] = {}

    def step(self) -> None:
        number = self.draw.randrange(self.keys)
        if number % 4 == 0:
            self.count(f"counter {number}")
        else:
            kind = self.draw.choice([self.get, self.get, self.put, self.delete, self.put_if])
            kind(f"key {number}")

    def count(self, key: str) -> None:
        if self.draw.random() < 0.3:
            with self.recorder.recording("get", key) as outcome:
                outcome.value = self.region.get(key)
        else:
            summand = self.draw.randrange(1, 9)
            with self.recorder.recording("add", key, summand) as outcome:
                outcome.result = self.region.add(key, summand)

    def get(self, key: str) -> None:
        with self.recorder.recording("get", key) as outcome:
            try:
                value, version = self.region.get_versioned(key)
            except KeyError:
                return
            outcome.value, outcome.result = serial_of(value), version
        self.versions[key] = version

    def put(self, key: str) -> None:
        self.serial += 1
        value = written(self.serial, self.draw)
        with self.recorder.recording("put", key, self.serial) as outcome:
            outcome.result = self.region.put(key, value)
        self.versions[key] = outcome.result

    def delete(self, key: str) -> None:
        with self.recorder.recording("delete", key) as outcome:
            try:
                self.region.delete(key)
                outcome.result = True
            except KeyError:
                outcome.result = False

    def put_if(self, key: str) -> None:
        self.serial += 1
        value, expected = written(self.serial, self.draw), self.versions.get(key, 0)
        with self.recorder.recording("put_if_version", key, self.serial, expected) as outcome:
            try:
                outcome.result = self.region.put(key, value, if_version=expected)
                self.versions[key] = outcome.result
            except dsm.VersionConflictError as conflict:
                outcome.result = False
                self.versions[key] = conflict.version


def work(cluster: dsm.Cluster, folder: str, keys: int, seed: int, end: float) -> None:
    if seed % 2:
        cluster = dsm.attach(cluster.name)
    with Recorder(folder, f"client {seed}") as recorder:
        client = Client(cluster.region("raced"), recorder, keys, seed)
        while time.monotonic() < end:
            client.step()
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
