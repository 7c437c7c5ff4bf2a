"""What a process does with a cluster whose control segment is damaged, step by step, told as JSON.

usage: python control_probe.py NAME ROLE, a role being "owner" (makes the cluster, which outlives
it), "client" (attached before the damage) or "opener" (attaches after it). Each but the opener says
"ready" and waits for a line. Then one line of JSON: step to outcome, which is "ok", the
name and text of one of the package's errors, or "WRONG ..." for anything that must not be.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

import dsm_native as dsm

KEYS = 48
SMALL = 16 << 20
WAIT_S = 1.0


def value_of(index: int) -> bytes:
    return b"value%06d" % index * (1 if index % 8 else 700)


def made(name: str) -> dsm.Cluster:
    cluster = dsm.Cluster(2, 2, name=name, stripes=64, segment_bytes=SMALL, detach=True)
    cluster.default.put_many({f"key {index}": value_of(index) for index in range(KEYS)})
    numbers = cluster.region("numbers")
    for index in range(KEYS):
        numbers.put(index, index * index)
    with cluster.array("grid", shape=(64, 64), dtype="f8").writing(slice(0, 64)) as block:
        block[...] = 7.5
    cluster.lock("printer")
    cluster.semaphore("seats", 3)
    cluster.event("bell").set()
    cluster.atomic("cells", "i8", 4)
    cluster.barrier("gate", 2)
    cluster.condition("news")
    queue = cluster.queue("jobs")
    for item in range(4):
        queue.put(item)
    report = cluster.check()
    assert report.clean, report.texts
    return cluster


def reads(cluster: dsm.Cluster) -> None:
    for index in range(KEYS):
        found = cluster.default.get(f"key {index}", default="absent")
        assert found == value_of(index), f"key {index} is {found!r:.40}"
    numbers = cluster.region("numbers")
    for index in range(KEYS):
        assert numbers.get(index) == index * index
    assert cluster.default.get("never put") is None


def writes(cluster: dsm.Cluster, role: str) -> None:
    for index in range(64):
        cluster[f"{role} {index}"] = index
        assert cluster[f"{role} {index}"] == index
        del cluster[f"{role} {index}"]
    cluster.default.add(f"{role} count", 5)
    cluster.default.delete(f"{role} count")


def commits(cluster: dsm.Cluster, role: str) -> None:
    with cluster.transaction() as transaction:
        transaction[f"{role} one"] = 1
        transaction[f"{role} two"] = 2
    assert (cluster[f"{role} one"], cluster[f"{role} two"]) == (1, 2)


def listing(cluster: dsm.Cluster) -> None:
    found = {key: value for key, value in cluster.default.items() if key.startswith("key ")}
    assert found == {f"key {index}": value_of(index) for index in range(KEYS)}


def grid(cluster: dsm.Cluster) -> None:
    opened = cluster.array("grid")
    with opened.writing(slice(0, 8), timeout=WAIT_S) as block:
        block[...] = 7.5
    assert np.all(opened.snapshot(slice(0, 64)) == 7.5)


def locks(cluster: dsm.Cluster) -> None:
    lock = cluster.lock("printer")
    assert lock.acquire(timeout=WAIT_S), "free lock is not had"
    lock.release()
    seats = cluster.semaphore("seats")
    assert seats.acquire(timeout=WAIT_S), "free permit is not had"
    seats.release()
    assert cluster.event("bell").is_set()


def queues(cluster: dsm.Cluster) -> None:
    queue = cluster.queue("jobs")
    queue.put("more", timeout=WAIT_S)
    item = queue.get(timeout=WAIT_S)
    assert item in (0, 1, 2, 3, "more"), f"item {item!r}"


def tells(cluster: dsm.Cluster) -> None:
    assert [info.id for info in cluster.nodes] == [0, 1]
    cluster.events()
    cluster.failures()
    cluster.stats()


def repairs(cluster: dsm.Cluster) -> None:
    cluster.check(repair=True)
    left = cluster.check()
    if not left.clean:
        raise dsm.CorruptError("still: " + "; ".join(sorted(set(left.texts))[:3]))


def saves(cluster: dsm.Cluster) -> None:
    class Sink:
        def write(self, data: bytes) -> int:
            return len(data)

    cluster.checkpoint(Sink(), timeout=WAIT_S)


def outcome(step: Callable[[], object]) -> str:
    began = time.monotonic()
    try:
        step()
        told = "ok"
    except dsm.DSMError as error:
        told = f"{type(error).__name__}: {error}"
    except BaseException as error:
        told = f"WRONG {type(error).__name__}: {error}"
    took = time.monotonic() - began
    return told if took < 15 else f"WRONG took {took:.0f} s, then {told}"


def probe(cluster: dsm.Cluster, role: str) -> dict[str, str]:
    cluster._handle.lock_timeout = WAIT_S
    steps: dict[str, Callable[[], object]] = {
        "reads": lambda: reads(cluster),
        "writes": lambda: writes(cluster, role),
        "commits": lambda: commits(cluster, role),
        "listing": lambda: listing(cluster),
        "grid": lambda: grid(cluster),
        "locks": lambda: locks(cluster),
        "queues": lambda: queues(cluster),
        "tells": lambda: tells(cluster),
        "saves": lambda: saves(cluster),
        "repairs": lambda: repairs(cluster),
        "reads again": lambda: reads(cluster),
        "writes again": lambda: writes(cluster, role),
    }
    return {name: outcome(step) for name, step in steps.items()}


def main(name: str, role: str) -> None:
    if role == "opener":
        opened: list[dsm.Cluster] = []
        told = {"attaches": outcome(lambda: opened.append(dsm.attach(name)))}
        print(json.dumps(told | (probe(opened[0], role) if opened else {})), flush=True)
        return
    cluster = made(name) if role == "owner" else dsm.attach(name)
    if role == "client":
        reads(cluster)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(probe(cluster, role)), flush=True)
    cluster.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
