"""Detached clusters whose owner is gone: what is told of their nodes, and by whom."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from members import kinds, node_of
from processes import eventually, node_pids, said, segments_of, started

import dsm_native as dsm

OWNER = """
import sys, dsm_native as dsm
watch = dsm.Detection(heartbeat_ms=20, suspect_ms=200, timeout_ms=3000)
cluster = dsm.Cluster(2, 2, name=sys.argv[1], stripes=64, detach=True, detection=watch)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def ownerless(name: str) -> Iterator[dsm.Cluster]:
    """A detached cluster whose owner was killed; this process is attached."""
    with started(OWNER, name) as owner:
        said(owner, "ready")
        cluster = dsm.attach(name)
        owner.kill()
        owner.wait()
        try:
            yield cluster
        finally:
            for pid in node_pids(name):
                os.kill(pid, signal.SIGKILL)
            cluster.close()
            for segment in segments_of(name):
                Path("/dev/shm", segment).unlink(missing_ok=True)


def test_nodes_that_nobody_is_left_to_judge_are_suspected(name, ownerless):
    pids = sorted(node_pids(name))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    eventually(
        lambda: [info.state for info in ownerless.nodes] == ["suspected"] * 2, "both are suspected"
    )
    assert sorted(node_pids(name)) == pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: [info.state for info in ownerless.nodes] == ["alive"] * 2, "both are alive")
    assert node_of(ownerless, 0).pid in pids


def test_the_lowest_node_is_cleared_by_others_when_it_is_keeper_again(name, ownerless):
    pid = node_of(ownerless, 0).pid
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: node_of(ownerless, 0).state == "suspected", "it is suspected")
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: node_of(ownerless, 0).state == "alive", "it is cleared")
    assert kinds(ownerless.events(), 0)[-2:] == ["suspected", "cleared"]
