"""map(): order, errors with the remote traceback, killed workers, and what functions may be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from processes import eventually, node_pids, run

import dsm_native as dsm
from dsm_native.outcomes import RemoteTraceback


class GrumbleError(Exception):
    """An exception of the test's own module, with arguments that do not fit its constructor."""

    def __init__(self, first, second):
        super().__init__("told by the worker")
        self.first, self.second = first, second


class Bomb:
    """Goes off when it is pickled or unpickled, as told."""

    def __init__(self, when):
        self.when = when

    def __reduce__(self):
        if self.when == "pickled":
            raise ValueError("goes off when pickled")
        return _explode, ()


def _explode():
    raise ValueError("goes off when unpickled")


def module_function(x):
    return x + 100


@pytest.fixture(scope="module")
def pool(shared):
    return shared


def test_results_come_in_the_order_of_the_items(pool):
    def slow_first(x):
        time.sleep(0.05 if x < 2 else 0)
        return x * x

    assert pool.map(slow_first, range(40)) == [x * x for x in range(40)]
    assert pool.map(slow_first, iter([])) == []
    assert pool.map(slow_first, (x for x in [3])) == [9]


def test_all_nodes_work(pool):
    assert set(pool.map(lambda _: (time.sleep(0.01), os.getpid())[1], range(30))) == {
        node.pid for node in pool.nodes
    }


def test_functions_of_every_kind(pool):
    factor = 7

    def inner(x):
        def innermost(y):
            return y * factor

        return innermost(x)

    assert pool.map(inner, [1, 2]) == [7, 14]
    assert pool.map(lambda x: -x, [1]) == [-1]
    assert pool.map(module_function, [1]) == [101]
    assert pool.map(len, ["abc"]) == [3]
    assert pool.map("{}!".format, ["a"]) == ["a!"]


def test_large_items_and_results(pool):
    value = os.urandom(5_000_000)
    assert pool.map(lambda x: x[::-1], [value, value]) == [value[::-1]] * 2


def test_current_is_the_cluster_on_a_node(pool):
    region = pool.region("worked")

    def work(number):
        mine = dsm.current().region("worked")
        mine.add("total", number)
        region[number] = os.getpid()  # a captured handle attaches where it arrives
        return dsm.current().name

    assert set(pool.map(work, range(50))) == {pool.name}
    assert region["total"] == sum(range(50))
    assert {region[number] for number in range(50)} <= {node.pid for node in pool.nodes}
    assert pool.map(lambda x: dsm.current().map(abs, [-x, x]), [1, 2]) == [[1, 1], [2, 2]]


def test_an_exception_comes_with_its_remote_traceback(pool):
    def raiser(x):
        if x == 3:
            raise KeyError("the third")
        return x

    with pytest.raises(KeyError, match="the third") as caught:
        pool.map(raiser, range(10))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in raiser" in str(caught.value.__cause__)
    assert pool.map(raiser, range(3)) == [0, 1, 2]


def test_exceptions_that_do_not_pickle_are_told_as_text(pool):
    def raiser(_):
        raise GrumbleError(1, threading.Lock())

    with pytest.raises(RuntimeError, match="told by the worker") as caught:
        pool.map(raiser, [1])
    assert "GrumbleError" in str(caught.value.__cause__)
    with pytest.raises(SystemExit):
        pool.map(lambda _: sys.exit(3), [1])
    assert pool.map(abs, [-1]) == [1]


class PairError(Exception):
    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")
        self.left, self.right = left, right


class SilentError(Exception):
    def __init__(self, left, right):
        super().__init__(threading.Lock())

    def __repr__(self):
        raise RuntimeError("not for your eyes")

    __str__ = __repr__


class Leaver:
    def __reduce__(self):
        raise SystemExit(3)


def test_exceptions_with_an_init_of_their_own_arrive_as_they_were(pool):
    def raiser(_):
        error = PairError("one", 2)
        error.add_note("seen by nobody")
        raise error

    with pytest.raises(PairError, match="one and 2") as caught:
        pool.map(raiser, [1])
    assert (caught.value.left, caught.value.right) == ("one", 2)
    assert caught.value.__notes__ == ["seen by nobody"]
    assert isinstance(caught.value.__cause__, RemoteTraceback)


@pytest.mark.parametrize("kind", ["silent", "leaving"])
def test_no_exception_ends_the_worker(pool, kind):
    pids = {node.pid for node in pool.nodes}

    def raiser(_):
        error = SilentError(1, 2) if kind == "silent" else LookupError("with a passenger")
        error.passenger = Leaver()
        raise error

    with pytest.raises(RuntimeError, match="SilentError|with a passenger"):
        pool.map(raiser, [1])
    assert {node.pid for node in pool.nodes} == pids


@pytest.mark.parametrize("when", ["pickled", "unpickled"])
def test_items_and_results_that_go_off(pool, when):
    with pytest.raises(ValueError, match=f"goes off when {when}"):
        pool.map(lambda x: x, [1, 2, 3, Bomb(when), 5])
    with pytest.raises(ValueError, match=f"goes off when {when}"):
        pool.map(lambda x: Bomb(when) if x == 3 else x, range(6))
    assert pool.map(abs, [-1, -2, -3, -4]) == [1, 2, 3, 4]


def test_functions_that_do_not_pickle_are_refused(pool):
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        pool.map(lambda _: lock, [1])
    assert pool.map(abs, [-1]) == [1]


def test_progress_is_told_and_may_fail(pool):
    told = []
    pool.map(abs, range(20), progress=told.append)
    assert told == [1] * 20

    def fail(_):
        raise ValueError("no progress")

    def slow(x):
        time.sleep(0.02)
        return x

    with pytest.raises(ValueError, match="no progress"):
        pool.map(slow, range(10), progress=fail)
    assert pool.map(abs, range(-20, 0)) == list(range(20, 0, -1))


def test_threads_take_turns(pool):
    answers = {}

    def ask(number):
        answers[number] = pool.map(lambda x: x * number, range(10))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [x * number for x in range(10)] for number in range(4)}


def test_the_task_of_a_killed_worker_runs_again(cluster):
    region = cluster.region("tries")

    def suicidal(x):
        if dsm.current().region("tries").add(x) == 1 and x == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert cluster.map(suicidal, range(20)) == list(range(20))
    assert region[5] == 2
    assert cluster.map(abs, [-1, -2]) == [1, 2]
    eventually(lambda: all(node.state == "alive" for node in cluster.nodes), "it is replaced")
    assert sorted(node.incarnation for node in cluster.nodes) == [1, 1, 2]
    assert cluster.check().clean


def test_without_retries_a_lost_task_is_an_error(cluster):
    def suicidal(x):
        if x == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with pytest.raises(dsm.WorkerLostError, match=r"task 5 of .*suicidal.* lost 1 times.*SIGKILL"):
        cluster.map(suicidal, range(20), retries=0)
    assert cluster.map(abs, [-1]) == [1]
    with pytest.raises(dsm.WorkerLostError, match="was lost 3 times") as caught:
        cluster.map(suicidal, [5], retries=2)
    assert caught.value.pid > 0
    assert "SIGKILL" in caught.value.ending
    assert cluster.map(abs, [-1]) == [1]


def test_workers_that_died_between_maps(cluster):
    os.kill(cluster.nodes[0].pid, signal.SIGKILL)
    assert cluster.map(abs, range(10)) == list(range(10))
    eventually(lambda: cluster.nodes[0].incarnation == 2, "it is replaced")


def test_an_interrupted_map_leaves_the_next_one_alone(name):
    source = f"""
import dsm_native as dsm, os, signal, threading, time
with dsm.Cluster(nodes=2, name={name!r}, stripes=64) as cluster:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        cluster.map(lambda x: (time.sleep(0.5), "stale")[1], range(4))
    except KeyboardInterrupt:
        print("interrupted")
    print(cluster.map(abs, [-1, -2, -3]))
"""
    result = run(source)
    assert (result.stdout, result.stderr) == ("interrupted\n[1, 2, 3]\n", "")


def test_close_does_not_wait_for_a_task_that_runs_on(name):
    cluster = dsm.Cluster(nodes=2, name=name, stripes=64)
    errors = []

    def ask():
        try:
            cluster.map(time.sleep, [60])
        except dsm.DSMError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    start = time.monotonic()
    cluster.close()
    assert time.monotonic() - start < 4
    thread.join(10)
    assert not thread.is_alive()
    assert errors


def test_a_busy_node_ends_with_its_killed_owner(name):
    source = f"""
import dsm_native as dsm, os, signal, threading, time
cluster = dsm.Cluster(nodes=2, name={name!r}, stripes=64)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
cluster.map(time.sleep, [600])
"""
    result = run(source)
    assert result.returncode == -signal.SIGKILL
    eventually(lambda: not node_pids(name), "the nodes end", 3)


def test_output_of_tasks_is_the_owners(name):
    source = f"""
import dsm_native as dsm
with dsm.Cluster(nodes=1, name={name!r}, stripes=64) as cluster:
    cluster.map(lambda x: print("task", x, flush=True), [1])
"""
    assert run(source).stdout == "task 1\n"


def test_a_task_may_start_processes(pool):
    def work(_):
        return subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True).stdout

    assert pool.map(work, [1]) == [b"5\n"]
