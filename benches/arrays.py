"""Shared arrays: page diff against memory bandwidth; heat equation and k-means on two workers.

Bandwidth is what the faster of two plain passes over the very same shared memory reads: libc's
memcmp of equal blocks, and numpy's OR over each. Scaling is formed as in scaling.py: what two
workers gain over one, against what two processes gain that share nothing and compute the same.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import tempfile
import time

import numpy as np
from rounds import Findings, interleave, ratio

import dsm_native as dsm
from dsm_native._native.page_diff import page_diff_copy

PAGE_BYTES = 4096
CHANGED_SHARE = 100  # one page of so many is changed
CENTRES, AXES = 8, 8


def twice(contenders: dict) -> dict:
    """Contenders for `interleave`: a first pass and a settled one, each of which times itself."""
    return {name: lambda once=once: (once(), once()) for name, once in contenders.items()}


# ---- page diff ----------------------------------------------------------------------------------


def page_diff(rounds: int, block_bytes: int) -> Findings:
    """Reading two blocks that differ in one page of a hundred, and copying these pages."""
    memcmp = ctypes.CDLL(None).memcmp
    memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    pages = block_bytes // PAGE_BYTES
    draw = np.random.default_rng(5)
    with dsm.Cluster(nodes=1, replication_factor=1) as cluster:
        made = [cluster.array(name, block_bytes // 8, "u8", undo=False) for name in "ab"]
        left, right = (np.asarray(array) for array in made)
        left[:] = right[:] = np.arange(len(left), dtype="u8")

        def compare() -> float:
            started = time.perf_counter_ns()
            differs = memcmp(left.ctypes.data, right.ctypes.data, block_bytes)
            assert differs == 0
            return (time.perf_counter_ns() - started) / (2 * block_bytes)

        def read() -> float:
            started = time.perf_counter_ns()
            np.bitwise_or.reduce(left)
            np.bitwise_or.reduce(right)
            return (time.perf_counter_ns() - started) / (2 * block_bytes)

        def diff() -> float:
            chosen = draw.choice(pages, max(1, pages // CHANGED_SHARE), replace=False)
            right[chosen * (PAGE_BYTES // 8)] += np.uint64(1)
            started = time.perf_counter_ns()
            copied = page_diff_copy(left, right)
            taken = time.perf_counter_ns() - started
            assert copied == len(chosen)
            return taken / (2 * block_bytes)

        taken = interleave(twice({"memcmp": compare, "read": read, "page diff": diff}), rounds)
    best = [min(pair) for pair in zip(taken["memcmp"], taken["read"], strict=True)]
    note = f"{block_bytes >> 20} MiB, one page of {CHANGED_SHARE} changed"
    found = Findings(raw={"array_ns_per_byte": taken})
    found.figures["page_diff"] = ratio(best, taken["page diff"], note)
    return found


# ---- two workers --------------------------------------------------------------------------------


def diffuse(halo: np.ndarray, out: np.ndarray) -> None:
    """One step of the heat equation for the rows between the first and the last of the halo."""
    inner = halo[1:-1, 1:-1]
    around = halo[:-2, 1:-1] + halo[2:, 1:-1] + halo[1:-1, :-2] + halo[1:-1, 2:]
    out[:, 1:-1] = inner + 0.2 * (around - 4 * inner)


def heat_task(task: tuple) -> None:
    old, new, bands = task
    for first, last in bands:
        with (
            old.reading(slice(first - 1, last + 1)) as halo,
            new.writing(slice(first, last)) as out,
        ):
            diffuse(halo, out)


@functools.cache
def private_grids(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory of this process alone, made at its first use."""
    return np.ones((rows, columns)), np.ones((rows, columns))


def private_heat(task: tuple) -> float:
    """The same work on memory of one's own; seconds."""
    rows, columns, steps = task
    old, new = private_grids(rows, columns)
    started = time.perf_counter()
    for _ in range(steps):
        diffuse(old, new[1:-1])
        old, new = new, old
    return time.perf_counter() - started


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label of each point; sums and counts by label."""
    distances = (centres**2).sum(axis=1) - 2 * points @ centres.T
    labels = distances.argmin(axis=1)
    sums = np.stack([np.bincount(labels, points[:, axis], len(centres)) for axis in range(AXES)])
    return labels, sums.T, np.bincount(labels, minlength=len(centres))


def kmeans_task(task: tuple) -> tuple[np.ndarray, np.ndarray]:
    points, labels, bands, centres = task
    sums, counts = np.zeros((CENTRES, AXES)), np.zeros(CENTRES, "i8")
    for first, last in bands:
        rows = slice(first, last)
        with points.reading(rows) as own, labels.writing(rows) as out:
            out[:], more, number = nearest(own, centres)
        sums, counts = sums + more, counts + number
    return sums, counts


@functools.cache
def private_points(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, AXES))


def private_kmeans(task: tuple) -> float:
    count, steps = task
    points = private_points(count)
    centres = points[:CENTRES]
    started = time.perf_counter()
    for _ in range(steps):
        _, sums, counts = nearest(points, centres)
        centres = sums / np.maximum(counts, 1)[:, None]
    return time.perf_counter() - started


class Heat:
    """The grid, in halves for two workers; each call is that many steps, in seconds."""

    def __init__(self, cluster: dsm.Cluster, side: int, steps: int) -> None:
        self.cluster, self.side, self.steps = cluster, side, steps
        self.grids = [
            cluster.array(f"heat {n}", (side, side), replication_factor=1) for n in (0, 1)
        ]
        for grid in self.grids:
            grid.fill(1.0)
        self.bands = [(1, side // 2), (side // 2, side - 1)]

    def shared(self, workers: int) -> float:
        parts = [self.bands] if workers == 1 else [[band] for band in self.bands]
        started = time.perf_counter()
        for step in range(self.steps):
            old, new = self.grids[step % 2], self.grids[(step + 1) % 2]
            self.cluster.map(heat_task, [(old, new, part) for part in parts])
        return time.perf_counter() - started

    def private(self, workers: int) -> float:
        task = (self.side // 2 + 1, self.side, self.steps)
        return max(self.cluster.map(private_heat, [task] * workers))


class KMeans:
    """Points and labels, in halves for two workers; each call is that many rounds, in seconds."""

    def __init__(self, cluster: dsm.Cluster, side: int, steps: int) -> None:
        self.cluster, self.steps = cluster, steps
        self.count = side * side // 8
        self.points = cluster.array("points", (self.count, AXES), replication_factor=1)
        self.points.copy_from(private_points(self.count))
        self.labels = cluster.array("labels", self.count, "i8", replication_factor=1)
        tile = self.labels.tile_rows
        middle = max(1, round(self.count / 2 / tile)) * tile
        self.bands = [(0, middle), (middle, self.count)]

    def shared(self, workers: int) -> float:
        parts = [self.bands] if workers == 1 else [[band] for band in self.bands]
        centres = self.points.snapshot(slice(0, CENTRES))
        started = time.perf_counter()
        for _ in range(self.steps):
            tasks = [(self.points, self.labels, part, centres) for part in parts]
            sums, counts = map(sum, zip(*self.cluster.map(kmeans_task, tasks), strict=True))
            centres = sums / np.maximum(counts, 1)[:, None]
        return time.perf_counter() - started

    def private(self, workers: int) -> float:
        return max(self.cluster.map(private_kmeans, [(self.count // 2, self.steps)] * workers))


def scaling_of(work: Heat | KMeans, rounds: int, name: str) -> Findings:
    """What two workers gain over one, against what two processes that share nothing gain."""
    contenders = {
        "shared 1": lambda: work.shared(1),
        "shared 2": lambda: work.shared(2),
        "private 1": lambda: work.private(1),
        "private 2": lambda: work.private(2),
    }
    taken = interleave(twice(contenders), rounds)
    ours = [a / b for a, b in zip(taken["shared 1"], taken["shared 2"], strict=True)]
    theirs = [2 * a / b for a, b in zip(taken["private 1"], taken["private 2"], strict=True)]
    note = f"ours {np.median(ours):.2f}, two independent processes {np.median(theirs):.2f}"
    found = Findings(raw={f"array_{name}_seconds": taken})
    found.figures[f"scale_{name}"] = ratio(ours, theirs, note)
    return found


# ---- the same on others -------------------------------------------------------------------------


def joblib_task(old: np.ndarray, new: np.ndarray, first: int, last: int) -> None:
    diffuse(old[first - 1 : last + 1], new[first:last])


@contextlib.contextmanager
def joblib_heat(work: Heat):
    """The same steps by joblib's workers on memory-mapped files in /dev/shm."""
    from joblib import Parallel, delayed

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, Parallel(n_jobs=2) as parallel:
        shape = (work.side, work.side)
        paths = [os.path.join(folder, str(n)) for n in (0, 1)]
        grids = [np.memmap(path, "f8", "w+", shape=shape) for path in paths]
        for grid in grids:
            grid[:] = 1.0

        def steps() -> float:
            started = time.perf_counter()
            for step in range(work.steps):
                old, new = grids[step % 2], grids[(step + 1) % 2]
                parallel(delayed(joblib_task)(old, new, *band) for band in work.bands)
            return time.perf_counter() - started

        yield steps


def ray_task(own: np.ndarray, edge: np.ndarray, upper: bool) -> np.ndarray:
    """A half of the grid with the edge row of the other; objects of Ray are made anew each time."""
    halo = np.vstack([own, edge] if upper else [edge, own])
    out = own.copy()
    diffuse(halo, out[1:] if upper else out[:-1])
    return out


@contextlib.contextmanager
def ray_heat(work: Heat):
    """The same steps by Ray's workers on halves in its object store."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        step_of = ray.remote(ray_task)
        half = work.side // 2

        def steps() -> float:
            upper = ray.put(np.ones((half, work.side)))
            lower = ray.put(np.ones((work.side - half, work.side)))
            started = time.perf_counter()
            for _ in range(work.steps):
                seen = ray.get([upper, lower])
                upper, lower = (
                    step_of.remote(upper, seen[1][:1].copy(), True),
                    step_of.remote(lower, seen[0][-1:].copy(), False),
                )
            ray.wait([upper, lower], num_returns=2)
            return time.perf_counter() - started

        yield steps
    finally:
        ray.shutdown()


def against_others(work: Heat, rounds: int, quick: bool) -> Findings:
    """Seconds per step of ours on two workers, against joblib's and Ray's."""
    found = Findings()
    for name, package, rival in (
        ("heat_joblib", "joblib", joblib_heat),
        ("heat_ray", "ray", ray_heat),
    ):
        if importlib.util.find_spec(package) is None:
            found.unmeasured[name] = f"{package}: not installed"
        elif quick:
            found.unmeasured[name] = f"{package}: not started in a quick run"
        else:
            with rival(work) as steps:
                taken = interleave(twice({"ours": lambda: work.shared(2), package: steps}), rounds)
            found.raw[f"array_{name}_seconds"] = taken
            found.figures[name] = ratio(taken["ours"], taken[package])
    return found


def arrays(rounds: int, side: int, steps: int, block_bytes: int, quick: bool) -> Findings:
    """All rows of arrays."""
    found = page_diff(rounds, block_bytes)
    with dsm.Cluster(nodes=2, replication_factor=2) as cluster:
        heat = Heat(cluster, side, steps)
        found.merge(scaling_of(heat, rounds, "heat"))
        found.merge(scaling_of(KMeans(cluster, side, steps), rounds, "kmeans"))
        found.merge(against_others(heat, rounds, quick))
    return found
