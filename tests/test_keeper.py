"""Clusters whose owner is gone, or stopped: a node is the keeper, and is killed, too."""

from __future__ import annotations

import os
import signal
import time

import pytest
from members import kinds, serving
from processes import eventually, gone, node_pids, said, started

import dsm_native as dsm

DETACHED = """
import sys, time
import dsm_native as dsm
cluster = dsm.Cluster(nodes=3, replication_factor=2, name=sys.argv[1], stripes=64, detach=True,
                      detection=dsm.Detection(heartbeat_ms=20, suspect_ms=200, timeout_ms=600),
                      faults=True)
cluster.default.update({n: n for n in range(200)})
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["killed", "left"])
def ownerless(request, name):
    with started(DETACHED, name) as owner:
        said(owner, "ready")
        if request.param == "left":
            owner.stdin.write("\n")
            owner.stdin.flush()
            assert owner.wait(20) == 0
        else:
            owner.kill()
            owner.wait(20)
    with dsm.attach(name) as cluster:
        yield cluster
        cluster._handle.stop()
        cluster._handle.unlink()
    gone(name)


def test_nodes_of_an_ownerless_cluster_are_replaced(ownerless):
    for node, incarnation in ((0, 2), (1, 2), (0, 3), (2, 2)):  # the keeper among them
        ownerless.faults.kill(node)
        eventually(lambda n=node, i=incarnation: serving(ownerless, n, i), f"node {node} serves")
    assert ownerless.default.get_many(range(200)) == list(range(200))
    assert len(node_pids(ownerless.name)) == 3
    assert ownerless.check().clean


def test_where_deaths_are_only_reported_an_added_node_is_started(name):
    script = DETACHED.replace("faults=True", "faults=True, recovery='none'")
    with started(script, name) as owner:
        said(owner, "ready")
        owner.kill()
        owner.wait(20)
    with dsm.attach(name) as cluster:
        try:
            cluster.faults.kill(2)
            assert cluster.add_node() == 3
            cluster.remove_node(2, timeout=20)
            assert [node.id for node in cluster.nodes] == [0, 1, 3]
            assert cluster.default.get_many(range(200)) == list(range(200))
            cluster.faults.kill(3)
            told = ["dead", "exited", "joined", "repaired"]
            eventually(lambda: sorted(kinds(cluster.events(), 3)) == told, "its end is told")
            time.sleep(0.3)  # ten beats, at each of which it would be started
            assert cluster.nodes[2].incarnation == 1
            assert sorted(kinds(cluster.events(), 3)) == told
        finally:
            cluster._handle.stop()
            cluster._handle.unlink()


def test_the_keeper_and_others_die_at_once(ownerless):
    ownerless.faults.kill(0)
    ownerless.faults.kill(1)
    eventually(lambda: serving(ownerless, 0, 2) and serving(ownerless, 1, 2), "both serve again")
    eventually(lambda: len(node_pids(ownerless.name)) == 3, "one process for each node")
    assert [info.incarnation for info in ownerless.nodes] == [2, 2, 1]


def test_the_keeper_dies_while_it_replaces(ownerless):
    """At any moment of the start of a successor: the next keeper goes on, and never two live."""
    for round_ in range(12):
        incarnations = [info.incarnation for info in ownerless.nodes]
        ownerless.faults.kill(1)
        time.sleep(round_ * 0.012)
        ownerless.faults.kill(0)
        for node in (0, 1):
            eventually(
                lambda n=node, i=incarnations[node] + 1: serving(ownerless, n, i),
                f"node {node} serves again in round {round_}",
            )
        eventually(
            lambda: [info.state for info in ownerless.nodes] == ["alive"] * 3, "all are alive"
        )
    eventually(lambda: len(node_pids(ownerless.name)) == 3, "one process for each node")
    assert ownerless.default.get_many(range(200)) == list(range(200))
    assert ownerless.check().clean


def test_a_hung_keeper_is_fenced_by_the_next(ownerless):
    ownerless.faults.pause(0)
    eventually(lambda: serving(ownerless, 0, 2), "the keeper was replaced")
    failure = ownerless.failures()[-1]
    assert (failure.node, failure.found) == (0, "heartbeat")


def test_a_busy_keeper_replaces_all_the_same(name):
    """Its Python computes with the interpreter held; the service thread starts the successor."""
    source = DETACHED.replace(
        'print("ready"',
        """
def hold(_):
    import ctypes
    ctypes.PyDLL(None).usleep(8_000_000)
cluster.submit(hold, 0, node=0)
time.sleep(0.5)
print("ready\"""",
    )
    with started(source, name) as owner:
        said(owner, "ready")
        owner.kill()
        owner.wait(20)
    with dsm.attach(name) as cluster:
        start = time.monotonic()
        cluster.faults.kill(1)
        eventually(lambda: serving(cluster, 1, 2), "node 1 serves again")
        assert time.monotonic() - start < 6
        cluster._handle.stop()
        cluster._handle.unlink()
    gone(name)


def test_the_stopped_owner_of_a_cluster_keeps_it(name):
    """It is never replaced while it lives; nodes that hang meanwhile are fenced by a node."""
    with started(DETACHED, name) as owner:
        said(owner, "ready")
        with dsm.attach(name) as cluster:
            os.kill(owner.pid, signal.SIGSTOP)
            time.sleep(0.5)
            cluster.faults.pause(1)
            eventually(lambda: cluster.failures(), "the hung node is fenced")
            assert cluster.failures()[0].found == "heartbeat"
            os.kill(owner.pid, signal.SIGCONT)
            eventually(lambda: serving(cluster, 1, 2), "the owner has replaced it")
            eventually(lambda: len(node_pids(name)) == 3, "one process for each node")
            cluster._handle.stop()
            cluster._handle.unlink()
    gone(name)


def test_a_keeper_that_hangs_as_soon_as_it_has_joined(ownerless):
    """Before its service thread has begun, too: its first beat is owed from the joining on."""
    for _ in range(5):
        (before,) = (info.pid for info in ownerless.nodes if info.id == 0)
        ownerless.faults.kill(0)
        successor = before
        while successor == before:  # without a pause: as early as it can be
            (successor,) = (info.pid for info in ownerless.nodes if info.id == 0)
        os.kill(successor, signal.SIGSTOP)
        eventually(
            lambda s=successor: all(i.pid != s and i.state == "alive" for i in ownerless.nodes),
            "it is fenced and replaced",
        )
        assert ownerless.failures()[-1].pid == successor
        assert ownerless.failures()[-1].found == "heartbeat"
