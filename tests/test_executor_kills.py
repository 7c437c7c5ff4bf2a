"""Workers that die: where they are told to, at random, by time-out, on their way up, all at once.

`DSM_KILL_SECONDS` makes the soak as long as `make crash` wants it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from functools import partial

import numpy as np
import pytest
from processes import eventually, run

import dsm_native as dsm

SECONDS = float(os.environ.get("DSM_KILL_SECONDS", "3"))


def alive(cluster):
    return [node.state for node in cluster.nodes] == ["alive"] * len(cluster.nodes)


def kill(node):
    """SIGKILL, unless somebody else was faster."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(node.pid, signal.SIGKILL)


def paint(colour):
    os.environ["COLOUR"] = colour


def tried(key):
    return dsm.current().region("tries").add(key)


def die(how):
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "_exit":
        os._exit(3)
    elif how == "real-time signal":
        os.kill(os.getpid(), signal.SIGRTMIN + 6)  # one that Python has no name for
    elif how == "segfault":
        import ctypes

        sys.stderr.close()
        ctypes.string_at(0)


@pytest.mark.parametrize("how", ["SIGKILL", "_exit", "segfault", "real-time signal"])
def test_a_lost_task_runs_again_and_its_worker_is_replaced(cluster, how):
    def once(x):
        if tried(x) == 1:
            die(how)
        return x

    before = {node.id: node.pid for node in cluster.nodes}
    assert cluster.submit(once, 7).result(timeout=30) == 7
    eventually(lambda: alive(cluster), "the worker is replaced")
    assert sorted(node.incarnation for node in cluster.nodes) == [1, 1, 2]
    assert sum(before[node.id] != node.pid for node in cluster.nodes) == 1
    assert cluster.region("tries")[7] == 2
    assert cluster.check().clean


def test_without_retries_the_error_names_everything(cluster):
    future = cluster.submit(die, "SIGKILL", retries=0, node=1)
    pid = cluster.nodes[1].pid
    with pytest.raises(
        dsm.WorkerLostError, match=r"task \d+ of die\(\).*node 1.*SIGKILL"
    ) as caught:
        future.result(timeout=30)
    assert caught.value.pid == pid
    with pytest.raises(dsm.WorkerLostError, match="lost 3 times"):
        cluster.submit(die, "_exit", retries=2).result(timeout=30)


def test_queued_tasks_of_a_lost_worker_do_not_count_as_tried(cluster):
    queued = [cluster.submit(tried, ("q", n), retries=0, node=0) for n in range(50)]
    poison = cluster.submit(die, "SIGKILL", retries=0, node=0)
    later = [cluster.submit(tried, ("l", n), retries=0, node=0) for n in range(50)]
    assert isinstance(poison.exception(timeout=30), dsm.WorkerLostError)
    assert [future.result(timeout=30) for future in queued + later] == [1] * 100


@pytest.mark.parametrize("how", ["sleep", "SIGSTOP"])
def test_a_hung_task_is_killed_after_its_time_out(cluster, how):
    def hang(x):  # refers to nothing of this module, whose import takes a second on a busy machine
        import os
        import signal
        import time

        import dsm_native

        if dsm_native.current().region("tries").add(x) == 1:
            if how == "SIGSTOP":
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(100)
        return x

    with cluster.executor(task_timeout=1) as pool:
        start = time.monotonic()
        assert list(pool.map(hang, [1, 2])) == [1, 2]
        assert time.monotonic() - start < 20
    with cluster.executor(task_timeout=0.2, retries=0) as pool:
        with pytest.raises(dsm.WorkerLostError, match=r"task_timeout=0\.2.*retries=0"):
            pool.submit(time.sleep, 100).result(timeout=30)
        assert pool.submit(abs, -1).result(timeout=30) == 1


def test_all_nodes_killed_while_a_map_runs(cluster):
    region = cluster.region("all")

    def slow(x):
        dsm.current().region("all").add("begun")
        time.sleep(0.02)
        return x

    def massacre():
        eventually(lambda: region.get("begun", 0) > 5, "it runs")
        for node in cluster.nodes:
            os.kill(node.pid, signal.SIGKILL)

    killer = threading.Thread(target=massacre)
    killer.start()
    assert cluster.map(slow, range(60)) == list(range(60))
    killer.join()
    eventually(lambda: alive(cluster), "all are replaced")
    assert all(node.incarnation > 1 for node in cluster.nodes)


def test_an_idle_worker_that_dies_is_replaced_too(cluster):
    os.kill(cluster.nodes[2].pid, signal.SIGKILL)
    eventually(lambda: alive(cluster) and cluster.nodes[2].incarnation == 2, "it is replaced")
    assert cluster.submit(abs, -1, node=2).result(timeout=20) == 1


def test_replacements_killed_on_their_way_up(cluster):
    """Whoever is seen starting is killed, some times; the tasks get done all the same."""
    name = cluster.name
    deadline = time.monotonic() + 30
    wanted = [cluster.submit(tried, n, node=0, retries=5) for n in range(3)]
    killed = {cluster.nodes[0].pid}
    os.kill(cluster.nodes[0].pid, signal.SIGKILL)
    while len(killed) < 4 and time.monotonic() < deadline:
        pattern = f"dsm_native.node {name} 0 "
        found = subprocess.run(
            ["pgrep", "-f", pattern], capture_output=True, text=True, check=False
        )
        for pid in map(int, found.stdout.split()):
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    assert len(killed) == 4
    assert [future.result(timeout=30) >= 1 for future in wanted] == [True] * 3


def test_workers_killed_as_soon_as_they_are_there_are_replaced_for_ever(cluster):
    with cluster.executor(retries=1000) as pool:
        asked = [pool.submit(abs, -number) for number in range(20)]
        asked += [pool.submit(time.sleep, 0.3) for _ in range(6)]
        killed: set[int] = set()
        deadline = time.monotonic() + 40
        while len(killed) < 36 and time.monotonic() < deadline:
            for node in cluster.nodes:
                if node.state == "alive" and node.pid not in killed:
                    killed.add(node.pid)
                    kill(node)
            time.sleep(0.01)
        assert len(killed) >= 36
        assert [future.result(timeout=60) for future in asked] == [*range(20), *[None] * 6]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_when_the_collector_has_ended(cluster):
    with cluster.executor() as pool:
        waiting = pool.submit(time.sleep, 60)
        cluster._scheduler.upkeep.look_around = lambda: {}["an error of our own"]
        for call in (waiting.result, partial(cluster.submit, abs, -1)):
            with pytest.raises(dsm.ClosedError, match="an error of our own"):
                eventually(call, "the error is told")


def test_a_node_that_cannot_be_started_is_given_up_with_an_error(name, tmp_path):
    source = f"""
import dsm_native as dsm, os, signal, sys
cluster = dsm.Cluster(nodes=1, name={name!r}, stripes=64)
python, sys.executable = sys.executable, "/bin/false"
future = cluster.submit(abs, -1)
assert future.result() == 1
os.kill(cluster.nodes[0].pid, signal.SIGKILL)
try:
    cluster.submit(os.getpid).result(timeout=50)
    cluster.submit(os.getpid).result(timeout=50)
except dsm.WorkerLostError as error:
    print(error)
sys.executable = python
print(cluster.submit(abs, -2).result(timeout=50))
cluster.close()
"""
    result = run(source)
    assert result.stderr == ""
    assert "in vain" in result.stdout
    assert result.stdout.endswith("\n2\n")


def test_an_initializer_runs_again_in_a_replacement(cluster):
    def look(_):
        if tried("look") == 3:
            die("SIGKILL")
        return os.environ.get("COLOUR")

    with cluster.executor(initializer=paint, initargs=("red",)) as pool:
        assert list(pool.map(look, range(20))) == ["red"] * 20


def test_large_values_under_kills_leave_nothing_behind(cluster):
    array = np.arange(20_000.0)

    def twice(values):
        dsm.current().region("tries").add("large")
        time.sleep(0.005)
        return values * 2

    stop = threading.Event()

    def keep_killing():
        draw = random.Random(5)
        while not stop.wait(0.15):
            kill(draw.choice(cluster.nodes))

    killer = threading.Thread(target=keep_killing)
    killer.start()
    try:
        with cluster.executor(retries=20) as pool:
            for result in pool.map(twice, [array] * 150):
                assert (result == array * 2).all()
            del result
    finally:
        stop.set()
        killer.join()
    eventually(lambda: alive(cluster), "all are replaced")
    parcels = cluster._scheduler.parcels.region
    eventually(lambda: not list(parcels), "no parcel is left")
    assert cluster.check().clean


def test_tasks_of_tasks_under_kills(cluster):
    def inner(x):
        if tried(("inner", x)) == 1 and x % 31 == 0:
            die("SIGKILL")
        return x * 2

    def outer(x):
        if tried(("outer", x)) == 1 and x == 5:
            die("_exit")
        return sum(dsm.current().map(inner, [10 * x, 10 * x + 1], retries=9))

    assert cluster.map(outer, range(20), retries=9) == [40 * x + 2 for x in range(20)]


def test_random_kills_under_a_map_lose_nothing(name):
    """Workers killed every 100 ms: all results are right, once each."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw = random.Random(seed)
    count, kills = int(100_000 * max(1.0, SECONDS / 3)), 0
    with dsm.Cluster(nodes=4, name=name, stripes=64) as cluster:
        outcome = []

        def work(x):
            if x % 64 == 0:
                time.sleep(0.002)
            return x * x

        def ask():
            outcome.extend(cluster.map(work, range(count), retries=1000))

        asking = threading.Thread(target=ask)
        asking.start()
        end = time.monotonic() + 20 + 3 * SECONDS
        while asking.is_alive() and time.monotonic() < end:
            victim = draw.choice(cluster.nodes)
            if victim.state == "alive":
                kill(victim)
                kills += 1
            asking.join(0.1)
        asking.join(60)
        assert not asking.is_alive(), "the map hangs"
        assert outcome == [x * x for x in range(count)]
        assert kills > 3
        assert cluster.map(abs, [-1]) == [1]
        assert cluster.check().clean


def test_futures_under_random_kills(cluster):
    draw = random.Random(11)
    with cluster.executor(retries=100) as pool:
        wanted = [pool.submit(time.sleep, 0.004) for _ in range(400)]
        while not all(future.done() for future in wanted[:300]):
            kill(draw.choice(cluster.nodes))
            futures.wait(wanted, timeout=0.15)
        assert {future.result(timeout=30) for future in wanted} == {None}


def test_ctrl_c_in_a_map_leaves_the_cluster_usable(name):
    source = f"""
import dsm_native as dsm, os, signal, threading, time
with dsm.Cluster(nodes=2, name={name!r}, stripes=64) as cluster:
    for seconds in (0.02, 0.05, 0.1, 0.2, 0.3):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            while True:
                cluster.map(lambda x: -x, range(5000))
        except KeyboardInterrupt:
            pass
        assert cluster.map(abs, range(-100, 0)) == list(range(100, 0, -1))
    print("usable")
"""
    result = run(source)
    assert (result.stdout, result.stderr) == ("usable\n", "")
