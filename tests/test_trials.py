"""Every protocol but Raft under faults, over 200 seeds each; the same seed gives the same run;
every invariant is looked at and every fault met; a planted failure becomes a short story.

Raft's own seeds are in test_raft_seeds.py. `make sim` runs the same trials for minutes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dsm_native._native.replicas import Item
from dsm_native.testing.clock_trial import ClockTrial
from dsm_native.testing.invariants import InvariantError
from dsm_native.testing.membership_trial import MembershipTrial
from dsm_native.testing.paxos_trial import DecreeTrial, RegisterTrial
from dsm_native.testing.replica_node import ReplicaNode
from dsm_native.testing.replica_trial import ReplicaTrial
from dsm_native.testing.shrink_plan import failure_of, shrink, story
from dsm_native.testing.simulator import Counts
from dsm_native.testing.trials import TRIALS
from dsm_native.testing.two_phase_trial import TwoPhaseTrial

SEEDS = 200
PER_TEST = 50
HERE = [name for name in TRIALS if name != "raft"]
# What a protocol's nodes never do: these write nothing but their incarnation, or only once.
NEVER_MET = {"membership": {"writes_lost"}, "failure detector": {"writes_lost"}}


@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
@pytest.mark.parametrize("name", HERE)
def test_what_must_hold_holds_under_faults(name, first):
    total, checks, answers = Counts(), Counter(), 0
    for seed in range(first, first + PER_TEST):
        outcome = TRIALS[name](seed).run()
        total += outcome.counts
        checks.update(outcome.checks)
        answers += outcome.answers
    # The runs mean nothing unless all of it happened, and often.
    never = {kind for kind, number in vars(total).items() if number == 0}
    assert never <= NEVER_MET.get(name, set())
    assert min(checks.values()) >= PER_TEST, checks
    assert answers > PER_TEST
    assert total.crashes > PER_TEST // 2


def fingerprint(name, seed):
    trace = []
    outcome = TRIALS[name](seed).run(trace=trace)
    text = "\n".join(trace) + repr(outcome)
    return f"{name}: {hashlib.sha256(text.encode()).hexdigest()} {len(trace)}"


def test_the_same_seed_gives_the_same_run_in_every_process():
    here = [fingerprint(name, 5) for name in HERE]
    program = "from test_trials import *; print(*[fingerprint(n, 5) for n in HERE], sep='\\n')"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines() == here
    assert all(int(line.split()[-1]) > 50 for line in here), here
    assert len({line.split()[-2] for line in here}) == len(HERE)


def test_transactions_end_both_ways():
    ends = Counter()
    for seed in range(40):
        trial = TwoPhaseTrial(seed, non_blocking=seed % 2 == 1)
        trial.run()
        ends.update((seed % 2, outcome) for outcome, _ in trial.atomicity.outcomes.values())
    assert min(ends[mode, end] for mode in (0, 1) for end in ("committed", "aborted")) > 20, ends


def test_the_runs_meet_what_they_are_about():
    decrees = [DecreeTrial(seed) for seed in range(20)]
    assert sum(trial.run().answers and len(trial.chosen) for trial in decrees) > 60
    assert {trial.run().shape for trial in (RegisterTrial(0), RegisterTrial(1))} == {
        "registers",
        "registers, some deleted",
    }
    members = [MembershipTrial(seed) for seed in range(10)]
    assert sum(trial.run().answers and trial.refuted for trial in members) > 10
    clocks = [ClockTrial(seed) for seed in range(10)]
    for trial in clocks:
        trial.run()
    assert sum(trial.refused for trial in clocks) > 50, "no clock was ever too far ahead"


class ForgetfulReplica(ReplicaNode):
    """Takes any version for a newer one."""

    def _put(self, item):
        self.items.pop((item.key_hash, item.key_check), None)
        return super()._put(Item(*item))


def test_a_planted_bug_is_found_and_told_shortly(monkeypatch):
    monkeypatch.setattr("dsm_native.testing.replica_trial.ReplicaNode", ForgetfulReplica)
    for seed in range(20):
        trial = ReplicaTrial(seed)
        if (found := failure_of(trial.run, trial.plan)) is not None:
            break
    assert isinstance(found, InvariantError)
    plan = shrink(trial.run, trial.plan)
    trace = []
    failure = failure_of(lambda faults: trial.run(faults, trace=trace), plan)
    told = story(failure, plan, trace)
    assert len(plan) <= 2 < len(trial.plan)
    assert len(told.splitlines()) <= 50
    assert f"in the simulation of seed {seed}" in told
