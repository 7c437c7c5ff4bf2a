"""Checkpoints: how fast one is written, beside dd, and restored; what writers notice of it.

`dd if=/dev/zero bs=1M conv=fsync` writes as many bytes into the same directory; both take turns,
and a ratio is formed within each. The file of the turn before is removed outside both clocks.
Writers are measured one by one, in this process, while another process takes checkpoints without a
pause, and without it; windows of both take turns too.
"""

import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from rounds import Findings, Measurement, percentiles, ratio, spread, timed_each
from workload import Population, value_of

import dsm_native as dsm

LARGE_BYTES = 1 << 20
SMALL_BYTES = 1000
BATCH = 4096
KEYS = 200_000
OPERATIONS = 100_000

context = multiprocessing.get_context("forkserver")


def dd(folder: Path, size: int) -> float:
    """Seconds for dd to write so many bytes and sync them."""
    target = folder / "dd"
    command = ["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={size >> 20}", "conv=fsync"]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    taken = time.perf_counter() - started
    target.unlink()
    return taken


def restored(folder: Path) -> float:
    """Seconds to restore it, onto as many nodes, whose start is part of it."""
    started = time.perf_counter()
    with dsm.restore(folder):
        return time.perf_counter() - started


def written(folder: Path, size: int, value_bytes: int, rounds: int) -> tuple[list, list, list]:
    """Bytes per second of checkpoints, of dd and of restoring, one figure per turn."""
    ours, theirs, back = [], [], []
    value = value_of(value_bytes)
    count = size // value_bytes
    with dsm.Cluster(nodes=2, replication_factor=1) as cluster:
        for first in range(0, count, BATCH):
            keys = range(first, min(first + BATCH, count))
            cluster.default.put_many(dict.fromkeys(keys, value))
        for number in range(-1, rounds):
            target = folder / f"checkpoint {number}"
            os.sync()
            report = cluster.checkpoint(target, full=True)
            os.sync()
            seconds = dd(folder, size)
            if number >= 0:
                ours.append(report.bytes / report.seconds)
                theirs.append(size / seconds)
                back.append(report.bytes / restored(target))
            shutil.rmtree(target)
    return ours, theirs, back


def take_for_ever(cluster: str, folder: str, wanted, running) -> None:
    """The process that takes checkpoints, while `wanted` is set."""
    with dsm.attach(cluster) as attached:
        while wanted.wait():
            running.set()
            attached.checkpoint(folder, full=True)


def window(region, population: Population, value: bytes, operations: int) -> list[int]:
    """Nanoseconds of each put."""
    order = random.Random(operations).choices(range(len(population.texts)), k=operations)
    keys = population.fresh(order)
    return timed_each(region.put, [(key, value) for key in keys])


def noticed(folder: Path, keys: int, operations: int, rounds: int) -> tuple[list, list, list]:
    """p99 of a put in µs, quiet and beside checkpoints, and the slowest beside them."""
    quiet, beside, slowest = [], [], []
    population = Population(keys)
    value = value_of()
    wanted, running = context.Event(), context.Event()
    with dsm.Cluster(nodes=2, replication_factor=2, name=f"bench{os.getpid()}") as cluster:
        region = cluster.default
        for first in range(0, keys, BATCH):
            region.put_many(dict.fromkeys(population.texts[first : first + BATCH], value))
        child = context.Process(
            target=take_for_ever, args=(cluster.name, str(folder / "beside"), wanted, running)
        )
        child.start()
        for number in range(-1, rounds):
            without = percentiles(window(region, population, value, operations))
            wanted.set()
            running.wait()
            during = percentiles(window(region, population, value, operations))
            wanted.clear()
            running.clear()
            time.sleep(0.5)
            if number >= 0:
                quiet.append(without["p99"])
                beside.append(during["p99"])
                slowest.append(during["max"])
        child.kill()
        child.join()
    return quiet, beside, slowest


def checkpoints(size: int, rounds: int, keys: int = KEYS, operations: int = OPERATIONS) -> Findings:
    """All figures of checkpoints. `size`: bytes that are saved; at least a MiB."""
    found = Findings()
    folder = Path(tempfile.mkdtemp(prefix="dsm-checkpoints-", dir=Path(__file__).parent))
    try:
        for name, value_bytes in (("", LARGE_BYTES), ("_small", SMALL_BYTES)):
            ours, theirs, back = written(folder, size, value_bytes, rounds)
            note = f"{size >> 20} MiB in values of {value_bytes:,} B"
            found.figures[f"checkpoint_dd{name}"] = ratio(ours, theirs, note)
            found.figures[f"restore{name}"] = spread(
                [b / 1e9 for b in back], f"{note}, as many nodes"
            )
            raw = {"ours": ours, "dd": theirs, "restore": back}
            found.raw[f"checkpoint_bytes_per_s{name}"] = raw
        quiet, beside, slowest = noticed(folder, keys, operations, rounds)
        note = f"{keys:,} keys, {operations:,} puts per window, another process takes them"
        found.figures["checkpoint_put_p99"] = ratio(beside, quiet, note)
        longest = spread(slowest, "the slowest put of each window")
        found.figures["checkpoint_put_max"] = Measurement(
            longest.value, longest.low, longest.high, longest.rounds, longest.note
        )
        found.raw["checkpoint_put_us"] = {"quiet": quiet, "beside": beside, "slowest": slowest}
    finally:
        shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    for label, figure in checkpoints(1 << 30, 5).figures.items():
        print(f"{label}: {figure.value:.3g} ({figure.low:.3g} to {figure.high:.3g}), {figure.note}")
