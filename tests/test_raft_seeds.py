"""Raft under faults, over some hundred seeds; the same seed twice; a failing seed made short."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest

from dsm_native.testing import check_linearizable
from dsm_native.testing.faults import Fault
from dsm_native.testing.invariants import InvariantError
from dsm_native.testing.raft_trial import SHAPES, Trial
from dsm_native.testing.shrink_plan import failure_of, shrink, story

SEEDS = 320
PER_TEST = 10 * len(SHAPES)


@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
def test_what_must_hold_holds_under_faults(first):
    for seed in range(first, first + PER_TEST):
        outcome = Trial(seed).run()
        assert outcome.counts.checks > 0, f"seed {seed}"


def seen_by_clients(seed):
    """The history of a trial. A session that expired goes on under another number."""
    trial = Trial(seed)
    trial.run()
    return [astuple(operation) for operation in trial.client.history]


@pytest.mark.parametrize("seed", range(2 * len(SHAPES)))
def test_what_clients_saw_under_faults_is_linearizable(seed):
    seen = seen_by_clients(seed)
    verdict = check_linearizable(seen)
    assert verdict, str(verdict)
    kinds = {kind for _, kind, _, _, _, returned in seen if returned is not None}
    assert kinds == {"get", "put"}


def made_stale(seen):
    """The history with one get that returns a put which another had overwritten by then."""
    puts = [item for item in seen if item[1] == "put" and item[5] is not None]
    for number, (session, kind, key, value, invoked, returned) in enumerate(seen):
        for newer in puts if kind == "get" and returned is not None else ():
            if newer[2:4] != (key, value) or newer[5] >= invoked:
                continue
            for older in puts:
                if older[2] == key and older[5] < newer[4]:
                    stale = (session, kind, key, older[3], invoked, returned)
                    return [*seen[:number], stale, *seen[number + 1 :]]
    raise AssertionError("no get was asked after two puts of its key")


@pytest.mark.parametrize("seed", range(len(SHAPES)))
def test_a_stale_answer_to_a_client_is_found(seed):
    assert not check_linearizable(made_stale(seen_by_clients(seed)))


def fingerprint(seed):
    trace = []
    outcome = Trial(seed).run(trace=trace)
    text = "\n".join(trace) + repr(outcome)
    return hashlib.sha256(text.encode()).hexdigest(), len(trace)


@pytest.mark.parametrize("seed", range(len(SHAPES)))
def test_the_same_seed_gives_the_same_run_in_every_process(seed):
    digest, lines = fingerprint(seed)
    assert lines > 100
    program = f"from test_raft_seeds import fingerprint; print(*fingerprint({seed}))"
    tests = str(Path(__file__).parent)
    path = os.pathsep.join([tests, *sys.path])
    for hash_seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert done.stdout.split() == [digest, str(lines)]


def test_different_seeds_give_different_runs():
    assert fingerprint(0)[0] != fingerprint(len(SHAPES))[0]


def test_every_kind_of_fault_is_met():
    total = Trial(0).run().counts
    for seed in range(1, 3 * len(SHAPES)):
        total += Trial(seed).run().counts
    never = [name for name, value in vars(total).items() if value == 0]
    assert never == []


def needs_both_faults(plan):
    """A stand-in for a run: it fails when node 1 crashes while node 2 is cut off."""
    kinds = {(fault.kind, fault.nodes) for fault in plan}
    if {("crash", (1,)), ("partition", (2,))} <= kinds:
        raise InvariantError("both")


def test_shrinking_keeps_what_the_failure_needs():
    noise = [Fault("storm", i * 1000, i * 1000 + 500, (), 0.1) for i in range(30)]
    needed = [Fault("crash", 5_500, 90_000, (1,), 0.5), Fault("partition", 7_500, 90_000, (2,))]
    plan = sorted(noise + needed, key=lambda fault: fault.begin_us)
    shrunk = shrink(needs_both_faults, plan)
    assert [(fault.kind, fault.nodes) for fault in shrunk] == [("crash", (1,)), ("partition", (2,))]
    assert all(fault.end_us - fault.begin_us <= 2_000 for fault in shrunk)
    told = story(failure_of(needs_both_faults, shrunk), shrunk, ["a line"] * 50, lines_max=3)
    assert "crash 1 0.5 from 5500" in told
    assert "(47 lines before)" in told
    assert told.endswith("InvariantError: both")


def test_a_plan_that_does_not_fail_is_not_shrunk():
    with pytest.raises(ValueError, match="does not fail"):
        shrink(needs_both_faults, [])
