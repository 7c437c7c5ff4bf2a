"""How soon changes of the nodes are followed, what is refused, and what errors say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from members import kinds
from processes import eventually, said, started

import dsm_native as dsm
from dsm_native._native.lane import Bell, Lane

HEAVY = ("asyncio", "numpy", "ssl", "subprocess", "multiprocessing", "psutil")


def test_who_deals_with_nodes_is_called_out_of_its_sleep(shared):
    bell, lane = Bell(shared._handle), Lane(shared._handle, 0)
    deaths = lane.deaths()
    bell.wait(deaths, 1)  # calls from before
    lane.wake_second()
    assert bell.wait(deaths, 1_000_000)  # a call in between is not lost
    waiting = threading.Thread(target=bell.wait, args=(deaths, 1_000_000), daemon=True)
    waiting.start()
    lane.wake_second()
    waiting.join(20)
    ended = not waiting.is_alive()
    bell.over = True
    waiting.join()
    bell.release()
    assert ended


def test_a_node_starts_without_what_it_may_never_need():
    script = "import sys, dsm_native.node; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert [name for name in HEAVY if name in done.stdout.split()] == []


def test_what_begins_and_ends_is_told_in_pairs(name):
    with dsm.Cluster(nodes=3, name=name, stripes=64, recovery="none", faults=True) as cluster:
        cluster.default.update({number: number for number in range(100)})
        cluster.faults.kill(2)
        eventually(lambda: kinds(cluster.events(), 2)[-1] == "exited", "its end is told")
        cluster.remove_node(2)
        for _ in range(2):
            node = cluster.add_node()
            cluster.rebalance(timeout=60)
            cluster.remove_node(node)
        told = kinds(cluster.events())
        assert kinds(cluster.events(), 2).count("left") == 3  # the id is used again
        assert told.count("left") == told.count("draining") == 3
        balances = [kind for kind in told if kind.startswith("rebalance")]
        assert balances == ["rebalance_started", "rebalance_done"] * (len(balances) // 2)
        assert len(balances) >= 8


def test_a_node_that_is_being_removed_is_named_as_that(cluster):
    pool = cluster.executor()
    busy = pool.at(node=2).submit(time.sleep, 2)
    eventually(lambda: busy.running(), "the task has begun")
    with pytest.raises(dsm.WaitTimeoutError, match="its tasks have not ended"):
        cluster.remove_node(2, timeout=0.2)
    with pytest.raises(dsm.UsageError, match=r"one of \[0, 1\], not 2, which is being removed"):
        cluster.submit(abs, 1, node=2)
    assert busy.result(30) is None


@pytest.mark.parametrize("progress", [1, "yes", 0])
def test_what_shows_progress_is_checked_before_there_is_any(shared, progress):
    with pytest.raises(dsm.UsageError, match="progress"):
        shared.rebalance(progress=progress)


OWNER = """
import sys
import dsm_native as dsm
with dsm.Cluster(nodes=2, name=sys.argv[1], stripes=64, replication_factor=1) as cluster:
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_stopped_owner_is_named(name, monkeypatch):
    monkeypatch.setattr("dsm_native.elastic.START_TIMEOUT_S", 0.3)
    with started(OWNER, name) as owner:
        said(owner, "ready")
        with dsm.attach(name) as cluster:
            os.kill(owner.pid, signal.SIGSTOP)
            stopped = rf"owner, pid {owner.pid}, is stopped \(state T\)"
            with pytest.raises(dsm.NodeLostError, match=stopped):
                cluster.add_node()
            with pytest.raises(dsm.WaitTimeoutError, match=stopped):
                cluster.remove_node(1, timeout=0.3)
            with pytest.raises(dsm.WaitTimeoutError, match=stopped):
                cluster.rebalance(timeout=0.3)
            os.kill(owner.pid, signal.SIGCONT)
            eventually(lambda: [node.id for node in cluster.nodes] == [0], "it goes on")


def test_handles_tell_what_they_are(shared):
    with shared.subscribe(print) as subscription:
        assert repr(subscription) == f"<Subscription to events of {shared.name}, active>"
    assert repr(subscription).endswith("ended>")
    assert repr(shared.faults) == f"<Faults of cluster {shared.name!r}>"


def test_nodes_are_listed_while_they_come_and_go(cluster):
    over = threading.Event()
    wrong = []

    def look():
        while not over.is_set():
            try:
                states = {node.id: node.state for node in cluster.nodes}
                assert set(cluster.stats()["nodes"]) <= {0, 1, 2, 3}
                assert states.get(3, "joining") != "dead", states
            except Exception as error:
                wrong.append(repr(error))

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(6):
            assert cluster.add_node() == 3
            cluster.remove_node(3)
    finally:
        over.set()
        for looker in lookers:
            looker.join()
    assert wrong == []
