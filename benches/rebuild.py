"""Recovery: how fast a lost segment's copies are made again, and what writers notice of scrubbing.

A node's segment is unlinked; from then to the record that it is rebuilt, its stripes are copied to
other nodes. Pages there were touched before, since the same values were put and deleted. Beside it
stands a copy of as many bytes by numpy, in this process, of memory that is warm likewise.
Writers are measured one by one while the nodes scrub at the default pace without a pause between
rounds that they can fill, and without scrubbing; windows of both take turns.
"""

import os
import time

import numpy as np
from rounds import Findings, percentiles, ratio, timed_each
from workload import Population, value_of

import dsm_native as dsm
from dsm_native.failures import NodeEvent

VALUE_BYTES = 1 << 20
COPY_BYTES = 64 << 20
LIMIT_S = 120.0


def copied_per_second() -> float:
    """Bytes per second of np.copyto between two warm arrays."""
    source, target = np.ones(COPY_BYTES, "u1"), np.zeros(COPY_BYTES, "u1")
    np.copyto(target, source)
    started = time.perf_counter()
    for _ in range(4):
        np.copyto(target, source)
    return 4 * COPY_BYTES / (time.perf_counter() - started)


def rebuilt(cluster: dsm.Cluster, node: int) -> NodeEvent:
    """Unlinks the node's segment; the record of its rebuild."""
    done: list[NodeEvent] = []

    def keep(event: NodeEvent) -> None:
        if event.kind == "rebuild_done":
            done.append(event)

    with cluster.subscribe(keep):
        os.unlink(f"/dev/shm/dsm-{os.getuid()}-{cluster.name}-n{node}")
        limit = time.monotonic() + LIMIT_S
        while not done and time.monotonic() < limit:
            time.sleep(0.01)
    return done[0]


def rebuilds(size: int, rounds: int) -> tuple[list[float], list[float]]:
    """Bytes per second of rebuilds and of copies, one figure per turn."""
    ours, theirs = [], []
    value = value_of(VALUE_BYTES)
    for _ in range(rounds):
        with dsm.Cluster(nodes=3, replication_factor=2, scrub_bytes_per_s=0) as cluster:
            keys = range(max(1, size * 3 // 2 // VALUE_BYTES))  # node 1 holds two thirds of them
            for turn in range(3):
                for key in keys:
                    cluster[turn, key] = value
            for turn in (0, 1):
                for key in keys:
                    del cluster[turn, key]
            cluster.check()
            record = rebuilt(cluster, 1)
            theirs.append(copied_per_second())
            ours.append(record.bytes / (record.recovery_ms / 1e3))
            assert all(cluster[2, key] == value for key in keys)
    return ours, theirs


def scrubbed(keys: int, operations: int, rounds: int) -> tuple[list[float], list[float]]:
    """p99 of puts in µs, quiet and while both nodes scrub."""
    people, value = Population(keys), value_of()
    taken: dict[int, list[float]] = {0: [], 64 << 20: []}
    for _ in range(rounds):
        for pace, figures in taken.items():
            with dsm.Cluster(nodes=2, replication_factor=2, scrub_bytes_per_s=pace) as cluster:
                for key in people.texts:
                    cluster[key] = value
                time.sleep(1.2)  # scrubbing begins a second after the nodes
                order = people.fresh([n % keys for n in people.shuffled()][:operations])
                puts = timed_each(cluster.default.put, [(key, value) for key in order])
                figures.append(percentiles(puts)["p99"])
    quiet, beside = taken.values()
    return quiet, beside


def recoveries(size: int, rounds: int, keys: int, operations: int) -> Findings:
    """All figures of recovery. `size`: bytes that the lost node has; at least a MiB."""
    found = Findings()
    ours, theirs = rebuilds(size, rounds)
    found.figures["rebuild_copy"] = ratio(ours, theirs, f"{size >> 20} MiB, pages touched before")
    found.raw["rebuild_bytes_per_s"] = {"ours": ours, "copyto": theirs}
    quiet, beside = scrubbed(keys, operations, rounds)
    note = f"{keys:,} keys, {operations:,} puts per window, at 64 MiB/s"
    found.figures["scrub_put_p99"] = ratio(beside, quiet, note)
    found.raw["scrub_put_p99_us"] = {"quiet": quiet, "beside": beside}
    return found


if __name__ == "__main__":
    for label, figure in recoveries(1 << 30, 3, 100_000, 100_000).figures.items():
        print(f"{label}: {figure.value:.3g} ({figure.low:.3g} to {figure.high:.3g}), {figure.note}")
