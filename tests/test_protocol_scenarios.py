"""Scenarios of the protocols as text (`--rewrite-scenarios` writes the expected trace anew)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsm_native.testing.detector_script import DetectorScript, MembershipScript
from dsm_native.testing.paxos_script import PaxosScript, RegisterScript
from dsm_native.testing.replica_script import ReplicaScript
from dsm_native.testing.scenario import rewritten
from dsm_native.testing.two_phase_script import TwoPhaseScript

FOLDER = Path(__file__).parent / "scenarios"
SCRIPTS = {
    "two_phase": TwoPhaseScript,
    "paxos_decree": PaxosScript,
    "paxos_register": RegisterScript,
    "detector": DetectorScript,
    "membership": MembershipScript,
    "anti_entropy": ReplicaScript,
}
NAMES = [(path.name, start) for start in SCRIPTS for path in sorted(FOLDER.glob(f"{start}_*.txt"))]


@pytest.mark.parametrize(("name", "start"), NAMES)
def test_scenario(name, start, request):
    path = FOLDER / name
    text = path.read_text()
    now = rewritten(text, SCRIPTS[start]().execute)
    if request.config.getoption("--rewrite-scenarios"):
        path.write_text(now)
    else:
        assert now == text


def test_there_are_scenarios_of_every_protocol():
    assert {start for _, start in NAMES} == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_an_unknown_command_is_named(script):
    with pytest.raises(ValueError, match="no command 'dance'"):
        script().execute("dance 1")
