"""Clients that die while they write to an array; what they did and what they saw is kept outside.

    python array_clients.py CLUSTER FOLDER SECONDS SEED

Forks three clients, kills one at a random instant, replaces it, and so on; prints the number of
kills. Every row of the array holds one number, and a block adds 1 to all rows that it touches: so a
torn block shows as a row of two numbers, a lost or half-published one as a wrong sum.

The diary of a client is an int64 file of two columns: blocks begun and blocks done, by first row.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import numpy as np

import dsm_native as dsm

CLIENTS = 3
GROUP = 4  # rows of a block; blocks do not overlap in part


def fail(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    os._exit(3)


def check_rows(rows: np.ndarray, what: str) -> None:
    """Rows are uniform, and the rows of a block are equal: each block is there as a whole."""
    if (rows != rows[:, :1]).any():
        fail(f"{what}: a torn row")
    firsts = rows[:, 0].reshape(-1, GROUP)
    if (firsts != firsts[:, :1]).any():
        fail(f"{what}: half a block {firsts.tolist()}")


def live(cluster: dsm.Cluster, diary: np.ndarray, seed: int) -> None:
    """A client's life: it ends by being killed."""
    draw = random.Random(seed)
    array = cluster.array("raced")
    groups = len(array) // GROUP
    last = np.zeros(groups, np.int64)
    while True:
        kind = draw.randrange(4)
        first = draw.randrange(groups)
        count = draw.choice([1, 1, 2, groups - first])
        rows = slice(first * GROUP, min(first + count, groups) * GROUP)
        if kind < 2:
            diary[first : rows.stop // GROUP, 0] += 1
            with array.writing(rows) as block:
                check_rows(block, "writing")
                block += 1
            diary[first : rows.stop // GROUP, 1] += 1
        elif kind == 2:
            seen = array.snapshot(rows)
            check_rows(seen, "snapshot")
        else:
            with array.reading(rows) as block:
                seen = block.copy()
                check_rows(seen, "reading")
                if (np.asarray(block) != seen).any():
                    fail("reading: it changed within the block")
        if kind >= 2:
            now = seen[::GROUP, 0]
            if (now < last[first : rows.stop // GROUP]).any():
                fail("what was seen is unseen")
            last[first : rows.stop // GROUP] = now


def main(name: str, folder: str, seconds: float, seed: int) -> int:
    """Kills and replaces clients for that long; the number of kills."""
    cluster = dsm.attach(name)
    groups = len(cluster.array("raced")) // GROUP
    draw = random.Random(seed)
    deadline = time.monotonic() + seconds
    clients: list[int] = []
    kills = 0
    while time.monotonic() < deadline:
        while len(clients) < CLIENTS:
            diary = np.memmap(f"{folder}/{kills}.{len(clients)}", "i8", "w+", shape=(groups, 2))
            own = draw.random()
            pid = os.fork()
            if pid == 0:
                live(cluster if own < 0.5 else dsm.attach(name), diary, hash((seed, kills, own)))
            clients.append(pid)
        time.sleep(draw.uniform(0.005, 0.05))
        victim = clients.pop(draw.randrange(CLIENTS))
        os.kill(victim, signal.SIGKILL)
        end = os.waitpid(victim, 0)[1]
        kills += 1
        if not os.WIFSIGNALED(end):
            fail(f"a client ended by itself: {end}")
    for pid in clients:
        os.kill(pid, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            fail("a client ended by itself")
    return kills


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
