"""The main job: an inverted index of Python's own standard library, a worker killed on the way.

The source files go into one region. Tasks on the nodes read a file each, find its identifiers, and
put one posting per (identifier, file) into another region: an idempotent put, so a task that dies
half-way and runs again changes nothing. In the middle one node is killed with SIGKILL. At the end
every posting, and the totals derived from them, are compared with a sequential computation.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from dsm_native import sweep
from dsm_native.cluster import Cluster, current

SOURCES = "demo.sources"
POSTINGS = "demo.postings"
TOTALS = "demo.totals"


# Comments and strings are skipped, what is left of letters and digits are identifiers and keywords.
_TOKENS = re.compile(
    rb"#[^\n]*"
    rb"|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''"
    rb"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
    rb"|([A-Za-z_][A-Za-z_0-9]*)",
    re.DOTALL,
)


def identifiers(source: bytes) -> dict[str, int]:
    """How often each identifier (ASCII) occurs in a Python source, outside comments and strings."""
    names = (match.group(1) for match in _TOKENS.finditer(source))
    return dict(Counter(name.decode() for name in names if name))


def index_file(path: str) -> int:
    """The task: postings of one file. Runs on a node."""
    cluster = current()
    source = cluster.region(SOURCES)[path]
    counts = identifiers(source)
    cluster.region(POSTINGS).put_many(((name, path), count) for name, count in counts.items())
    return len(counts)


def total_stripes(part: tuple[int, int]) -> dict[str, int]:
    """Sums of the postings in every n-th stripe. Runs on a node; changes nothing."""
    first, step = part
    postings = current().region(POSTINGS)
    sums: Counter[str] = Counter()
    for stripe in range(first, postings.handle.stripes, step):
        keys = postings.stripe_keys(stripe)
        for (name, _), count in zip(keys, postings.get_many(keys), strict=True):
            sums[name] += count
    return dict(sums)


def library_files(limit: int | None) -> list[str]:
    """Python files of the running interpreter's standard library, without site-packages."""
    root = sysconfig.get_paths()["stdlib"]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - {"site-packages", "__pycache__"})
        found += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
    return found[:limit]


class _Killer:
    """Kills a node once half of the tasks are done, and moves the bar."""

    def __init__(self, cluster: Cluster, bar: Any, count: int) -> None:
        self.cluster, self.bar, self.at = cluster, bar, count // 2
        self.done = 0
        self.killed: int | None = None

    def __call__(self, finished: int) -> None:
        self.done += finished
        self.bar.update(finished)
        if self.killed is None and self.done >= self.at:
            victim = self.cluster.nodes[-1]
            os.kill(victim.pid, signal.SIGKILL)
            self.killed = victim.pid
            self.bar.write(f"  killed node {victim.id} (pid {victim.pid}) with SIGKILL")


def _expected(files: list[str]) -> tuple[dict[tuple[str, str], int], Counter[str]]:
    postings: dict[tuple[str, str], int] = {}
    totals: Counter[str] = Counter()
    for path in tqdm(files, desc="sequentially", unit="file"):
        with open(path, "rb") as file:
            for name, count in identifiers(file.read()).items():
                postings[(name, path)] = count
                totals[name] += count
    return postings, totals


def _job(cluster: Cluster, files: list[str]) -> bool:
    sources = cluster.region(SOURCES, allow_pickle=False)
    for path in tqdm(files, desc="storing sources", unit="file"):
        with open(path, "rb") as file:
            sources[path] = file.read()
    with tqdm(total=len(files), desc="indexing on the nodes", unit="file") as bar:
        killer = _Killer(cluster, bar, len(files))
        started = time.perf_counter()
        cluster.map(index_file, files, progress=killer)
        seconds = time.perf_counter() - started
    parts = 16
    totals = cluster.region(TOTALS)
    for sums in cluster.map(total_stripes, [(part, parts) for part in range(parts)]):
        for name, count in sums.items():
            totals.add(name, count)
    started = time.perf_counter()
    postings, sums = _expected(files)
    alone = time.perf_counter() - started
    same_postings = dict(cluster.region(POSTINGS).items()) == postings
    same_totals = dict(totals.items()) == dict(sums)
    report = cluster.check()
    print(f"  {len(files):,} files, {len(postings):,} postings, {len(sums):,} identifiers")
    print(f"  nodes {seconds:.1f} s with one of them killed, one process {alone:.1f} s")
    print(f"  every posting as computed sequentially: {'yes' if same_postings else 'NO'}")
    print(f"  every total as computed sequentially:   {'yes' if same_totals else 'NO'}")
    print(f"  structure check: {report.problems} problems in {report.objects:,} objects")
    print(f"  nodes alive: {sum(node.state == 'alive' for node in cluster.nodes)}")
    return same_postings and same_totals and report.clean and killer.killed is not None


def _time(repeat: int, run: Any) -> float:
    samples = []
    for _ in range(5):
        started = time.perf_counter_ns()
        run()
        samples.append((time.perf_counter_ns() - started) / repeat)
    return statistics.median(samples)


def figures(cluster: Cluster) -> Iterator[str]:
    """Lines with the cost of the common calls on this machine, beside a dict's."""
    region = cluster.region("demo.figures")
    keys = [f"key:{number:06d}" for number in range(10_000)]
    value = b"x" * 64
    plain = dict.fromkeys(keys, value)
    region.put_many(plain)
    large = b"y" * (1 << 20)
    region.put("large", large)

    def each(call: Any) -> float:
        def run() -> None:
            for key in keys:
                call(key)

        return _time(len(keys), run)

    put = region.put
    yield f"  get 64 B          {each(region.get):8.0f} ns   (dict.get {each(plain.get):.0f} ns)"
    many = _time(len(keys), lambda: region.get_many(keys))
    yield f"  get_many, each    {many:8.0f} ns"
    copies = region.replication_factor
    yield f"  put 64 B, {copies} copies {each(lambda key: put(key, value)):6.0f} ns"
    view = _time(1000, lambda: [region.view("large") for _ in range(1000)])
    yield f"  view of 1 MiB     {view:8.0f} ns"
    whole = _time(20, lambda: [put("large", large) for _ in range(20)]) / 1000
    yield f"  put 1 MiB, {copies} copies {whole:5.0f} µs"


def _left(names: list[str]) -> list[str]:
    return [segment for segment in sweep.segments() if any(name in segment for name in names)]


def run(nodes: int = 4, files: int | None = None) -> int:
    """Runs the demo and prints its report; 0 only if everything matched and nothing was left."""
    paths = library_files(files)
    started = time.perf_counter()
    copies = min(2, nodes)
    with Cluster(nodes=nodes, replication_factor=copies) as cluster:
        names = [cluster.name]
        print(f"{nodes} nodes, {copies} copies of every object:")
        good = _job(cluster, paths)
    with Cluster(nodes=nodes, replication_factor=copies) as cluster:
        names.append(cluster.name)
        print("A few figures (make bench measures them beside other stores):")
        for line in figures(cluster):
            print(line)
    left = _left(names)
    print(f"  left in /dev/shm: {', '.join(left) or 'nothing'}")
    seconds = time.perf_counter() - started
    print(f"{'All matched' if good and not left else 'FAILED'}, {seconds:.0f} s")
    return 0 if good and not left else 1
