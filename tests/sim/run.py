"""Trials of every protocol over many seeds, for minutes: `python tests/sim/run.py [--minutes 3]`.

Prints per protocol how many seeds and steps ran, which faults were met, and how often each
invariant was looked at. A seed that fails is shrunk to the faults it needs and told as a short
story; exit status 1 then. `--protocol NAME` (again and again) chooses protocols, `--seed N` runs
one seed of one protocol, `--trace` prints all of its trace, `--json FILE` keeps the totals.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count

from dsm_native.testing.shrink_plan import failure_of, shrink, story
from dsm_native.testing.simulator import Counts
from dsm_native.testing.trials import TRIALS

STRETCH = 16
FAULTS = (
    "dropped", "duplicated", "reordered", "crashes", "writes_lost", "partitions", "one_way_cuts",
    "clock_skews", "storms", "slow_disks",
)  # fmt: skip


@dataclass
class Total:
    """What all seeds of one protocol came to."""

    seeds: int = 0
    seconds: float = 0.0
    answers: int = 0
    counts: Counts = field(default_factory=Counts)
    shapes: Counter = field(default_factory=Counter)
    checks: Counter = field(default_factory=Counter)


def attempt(task):
    """One seed of one protocol: its outcome, or the failure as text, and the seconds it took."""
    name, seed = task
    start = time.perf_counter()
    try:
        outcome, failure = TRIALS[name](seed).run(), None
    except Exception as raised:  # any exception is the finding here
        outcome, failure = None, f"{type(raised).__name__}: {raised}"
    return name, seed, outcome, failure, time.perf_counter() - start


def tell(name, seed):
    """The shortest failing run of a seed that was found to fail."""
    trial = TRIALS[name](seed)
    plan = shrink(trial.run, trial.plan)
    trace = []
    failure = failure_of(lambda faults: trial.run(faults, trace=trace), plan)
    print(f"\n{name}, seed {seed}: {len(trial.plan)} faults shrunk to {len(plan)}")
    print(story(failure, plan, trace))


def run_one(name, seed, with_trace):
    trace = [] if with_trace else None
    try:
        outcome = TRIALS[name](seed).run(trace=trace)
    except Exception:  # any exception is the finding here
        tell(name, seed)
        return 1
    finally:
        print("\n".join(trace or ()))
    print(f"{name}, seed {seed}, {outcome.shape}: {outcome.answers} answers, {outcome.counts}")
    return 0


def listed(counted):
    return ", ".join(f"{name} {number:,}" for name, number in counted if number)


def report(totals, seconds):
    print(f"\n{sum(total.seeds for total in totals.values()):,} seeds in {seconds:.0f} s")
    for name, total in totals.items():
        rate = total.counts.steps / total.seconds if total.seconds else 0
        faults = [(fault.replace("_", " "), getattr(total.counts, fault)) for fault in FAULTS]
        print(
            f"\n{name}: {total.seeds:,} seeds, {total.counts.steps:,} steps ({rate:,.0f}/s), "
            f"{total.answers:,} answers\n"
            f"  shapes  {listed(sorted(total.shapes.items()))}\n"
            f"  faults  {listed(faults)}\n"
            f"  checks  {listed(sorted(total.checks.items()))}"
        )


def add(total, outcome, seconds):
    total.seeds += 1
    total.seconds += seconds
    total.counts += outcome.counts
    total.answers += outcome.answers
    total.shapes[outcome.shape] += 1
    total.checks.update(outcome.checks)


def run_many(names, first, minutes, seeds, jobs):
    """Seeds of all protocols in turn, so that each has its share whenever it ends."""
    start = time.monotonic()
    totals, failed = {name: Total() for name in names}, []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        # A stretch at a time: a pool reads ahead without bound.
        for begin in count(first, STRETCH):
            end = min(begin + STRETCH, first + seeds) if seeds else begin + STRETCH
            tasks = [(name, seed) for seed in range(begin, end) for name in names]
            for name, seed, outcome, failure, seconds in pool.imap_unordered(attempt, tasks):
                if outcome is None:
                    print(f"{name}, seed {seed} FAILED: {failure}", flush=True)
                    failed.append((name, seed))
                else:
                    add(totals[name], outcome, seconds)
            if failed or (
                end == first + seeds if seeds else time.monotonic() > start + minutes * 60
            ):
                break
    seconds = time.monotonic() - start
    report(totals, seconds)
    for name, seed in sorted(failed)[:1]:
        tell(name, seed)
    return totals, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=0, help="so many of each instead of minutes")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--protocol", action="append", choices=list(TRIALS))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--json", help="file for the totals")
    options = parser.parse_args()
    names = options.protocol or list(TRIALS)
    if options.seed is not None:
        if len(names) != 1:
            parser.error("--seed goes with one --protocol")
        return run_one(names[0], options.seed, options.trace)
    totals, failed = run_many(names, options.first, options.minutes, options.seeds, options.jobs)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({name: asdict(total) for name, total in totals.items()}, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
