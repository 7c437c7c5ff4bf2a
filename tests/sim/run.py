"""Trials over many seeds, for minutes: `python tests/sim/run.py [--minutes 3] [--jobs 2]`.

Prints how many seeds and steps ran, which faults were met, and how many relations were checked. A
seed that fails is shrunk to the faults it needs and told as a short story; exit status 1 then.
`--seed N` runs one seed, `--trace` prints all of its trace.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from dataclasses import fields
from itertools import count

from dsm_native.testing.raft_trial import Trial
from dsm_native.testing.shrink_plan import failure_of, shrink, story
from dsm_native.testing.simulator import Counts

STRETCH = 70


def attempt(seed):
    """One seed: its outcome, or the failure as text."""
    try:
        return seed, Trial(seed).run(), None
    except Exception as failure:  # any exception is the finding here
        return seed, None, f"{type(failure).__name__}: {failure}"


def tell(seed):
    """The shortest failing run of a seed that was found to fail."""
    trial = Trial(seed)
    plan = shrink(trial.run, trial.plan)
    trace = []
    failure = failure_of(lambda faults: trial.run(faults, trace=trace), plan)
    print(f"\nseed {seed}, {trial.shape.name}: {len(trial.plan)} faults shrunk to {len(plan)}")
    print(story(failure, plan, trace))


def run_one(seed, with_trace):
    trace = [] if with_trace else None
    try:
        outcome = Trial(seed).run(trace=trace)
    except Exception:  # any exception is the finding here
        tell(seed)
        return 1
    finally:
        print("\n".join(trace or ()))
    print(f"seed {seed}, {outcome.shape}: {outcome.answers} answers, {outcome.counts}")
    return 0


def report(total, shapes, answers, seconds):
    print(f"\nraft: {sum(shapes.values())} seeds in {seconds:.0f} s, {answers} requests answered")
    for shape, seeds in sorted(shapes.items()):
        print(f"  {seeds:6} x {shape}")
    for field in fields(Counts):
        print(f"  {field.name.replace('_', ' '):16} {getattr(total, field.name):>12,}")


def run_many(first, minutes, seeds, jobs):
    start = time.monotonic()
    total, shapes, answers, failed = Counts(), Counter(), 0, []
    done = 0
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        # A stretch at a time: a pool reads ahead without bound.
        for begin in count(first, STRETCH):
            stretch = range(begin, begin + STRETCH)
            for seed, outcome, failure in pool.imap_unordered(attempt, stretch):
                done += 1
                if outcome is None:
                    print(f"seed {seed} FAILED: {failure}", flush=True)
                    failed.append(seed)
                    continue
                total += outcome.counts
                shapes[outcome.shape] += 1
                answers += outcome.answers
            spent = time.monotonic() - start
            if failed or (done >= seeds if seeds else spent > minutes * 60):
                break
    report(total, shapes, answers, time.monotonic() - start)
    for seed in sorted(failed)[:1]:
        tell(seed)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=0, help="this many instead of for minutes")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    if options.seed is not None:
        return run_one(options.seed, options.trace)
    return run_many(options.first, options.minutes, options.seeds, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
