"""Every protocol's seeded trial, by the name under which `make sim` and the tests report it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dsm_native.testing import raft_trial
from dsm_native.testing.clock_trial import ClockTrial
from dsm_native.testing.detector_trial import DetectorTrial
from dsm_native.testing.membership_trial import MembershipTrial
from dsm_native.testing.paxos_trial import DecreeTrial, RegisterTrial
from dsm_native.testing.replica_trial import ReplicaTrial
from dsm_native.testing.ring_trial import RingTrial
from dsm_native.testing.trial import Trial
from dsm_native.testing.two_phase_trial import TwoPhaseTrial

TRIALS: dict[str, Callable[[int], Trial]] = {
    "raft": raft_trial.Trial,
    "paxos": DecreeTrial,
    "caspaxos": RegisterTrial,
    "two-phase commit": TwoPhaseTrial,
    "two-phase commit, non-blocking": partial(TwoPhaseTrial, non_blocking=True),
    "membership": MembershipTrial,
    "failure detector": DetectorTrial,
    "anti-entropy": ReplicaTrial,
    "ring": RingTrial,
    "clocks": ClockTrial,
}
"""`TRIALS[name](seed).run()` raises what went wrong, or gives an `Outcome`."""
