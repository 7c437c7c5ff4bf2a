"""How membership, the ring and anti-entropy grow from 10 to 1,000 nodes, in virtual time.

    python tests/sim/scale.py [--jobs N] [--out FILE] [--nodes N ...] [--seeds N]

Runs the same C cores that regions are to run on, a thousand of them in one simulated network, and
writes what was counted as JSON: nothing but counts and virtual times, so the same seed gives the
same file on every machine. `scale_report.py` makes tables and plots of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path

import scale_membership
import scale_replicas
import scale_ring

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "results" / "scale.json"
NODES = (10, 32, 100, 316, 1000)
MEASURES = {
    "joins": scale_membership.joins,
    "death": scale_membership.death,
    "lossy": scale_membership.lossy,
    "replicas": scale_replicas.spread,
    "ring": scale_ring.change,
}


def measure(task):
    """One row: what is measured, at which size, with which seed."""
    name, nodes, seed = task
    start = time.perf_counter()
    row = MEASURES[name](nodes, seed)
    return name, {"nodes": nodes, "seed": seed} | row, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(MEASURES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    names = options.only or list(MEASURES)
    # The largest first: they take the longest.
    sizes = sorted(options.nodes, reverse=True)
    tasks = [
        (name, size, seed) for size in sizes for name in names for seed in range(options.seeds)
    ]
    rows = {name: [] for name in names}
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for name, row, seconds in pool.imap_unordered(measure, tasks):
            rows[name].append(row)
            print(
                f"{name:9} {row['nodes']:5} nodes, seed {row['seed']}: {seconds:6.1f} s", flush=True
            )
    for found in rows.values():
        found.sort(key=lambda row: (row["nodes"], row["seed"]))
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
