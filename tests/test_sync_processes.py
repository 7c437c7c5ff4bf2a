"""Locks, barriers and the like between processes: sharing, pickling, forking, waiting."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from children import Child
from corners import Corner
from processes import environment, eventually

import dsm_native as dsm


@pytest.fixture
def corner(shared):
    return Corner(shared)


def test_a_lock_excludes_processes(corner):
    lock, total = corner.lock("total"), corner.atomic("total")

    def add(say):
        for _ in range(2000):
            with lock:
                total.store(total.load(order="relaxed") + 1, order="relaxed")

    children = [Child(add) for _ in range(3)]
    for child in children:
        with child:
            assert child.ends() == 0
    assert total.load() == 6000


def test_a_barrier_keeps_processes_in_step(corner):
    barrier, phases = corner.barrier("phases", 3), corner.atomic("phases", "int64", 3)

    def walk(number):
        def work(say):
            for phase in range(200):
                phases.store(phase, number)
                barrier.wait()
                assert all(phases.load(i) == phase for i in range(3))
                barrier.wait()

        return work

    for child in [Child(walk(number)) for number in range(3)]:
        with child:
            assert child.ends() == 0


def test_an_event_and_a_condition_reach_other_processes(corner):
    event, condition = corner.event("go"), corner.condition("turn")
    turns = corner.counter("turns")

    def work(say):
        assert event.wait(20)
        say("seen")
        with condition:
            turns.add()
            condition.notify()
            assert condition.wait_for(lambda: turns.get() == 2, 20)

    with Child(work) as child:
        assert child.silent(0.05)
        with condition:
            event.set()
            assert child.hears() == "seen"
            assert condition.wait_for(lambda: turns.get() == 1, 20)
            turns.add()
            condition.notify_all()
        assert child.ends() == 0


def test_objects_pickle_and_attach_where_they_arrive(corner):
    made = [
        corner.lock("l", reentrant=True),
        corner.semaphore("s", 3),
        corner.barrier("b", 2),
        corner.event("e"),
        corner.condition("c"),
        corner.queue("q", 7, acknowledge=True),
        corner.counter("n"),
        corner.atomic("a", "float32", (2, 3)),
    ]
    for found in made:
        again = pickle.loads(pickle.dumps(found))
        assert type(again) is type(found)
        assert again.name == found.name
        assert repr(again) == repr(found)
    made[6].add(5)
    made[5].put("item")
    source = (
        "import pickle, sys\nobjects = pickle.loads(sys.stdin.buffer.read())\n"
        "print(objects[6].add(1), objects[5].get(), objects[1].acquire(), objects[7].shape)"
    )
    told = subprocess.run(
        [sys.executable, "-c", source],
        input=pickle.dumps(made), env=environment(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.stdout.decode().split() == ["6", "item", "True", "(2,", "3)"], told.stderr
    assert corner.map(lambda counter: counter.add(), [made[6]]) == [7]


def test_settings_that_differ_are_an_error(cluster):
    cluster.lock("x")
    cluster.semaphore("x", 2)
    cluster.barrier("x", 2)
    cluster.queue("x", 10)
    cluster.atomic("x", "int32", 4)
    for wrong in (
        lambda: cluster.lock("x", reentrant=True),
        lambda: cluster.semaphore("x", 3),
        lambda: cluster.semaphore("x", 2, bounded=True),
        lambda: cluster.barrier("x", 3),
        lambda: cluster.queue("x", 11),
        lambda: cluster.queue("x", 10, acknowledge=True),
        lambda: cluster.atomic("x", "int64", 4),
        lambda: cluster.atomic("x", "int32", (2, 2)),
        lambda: cluster.condition("x"),
        lambda: cluster.lock(""),
        lambda: cluster.lock("y" * 65),
        lambda: cluster.barrier("y", 0),
        lambda: cluster.queue("y", 0),
        lambda: cluster.semaphore("y", -1),
        lambda: cluster.atomic("y", "float16"),
    ):
        with pytest.raises(dsm.UsageError):
            wrong()
    names = [cluster.lock(f"n{number}") for number in range(1024 - 5)]
    assert len({lock.index for lock in names}) == len(names)
    with pytest.raises(dsm.LimitError, match="1024"):
        cluster.event("one more")
    assert cluster.lock("n7").index == names[7].index


def test_settings_that_are_left_out_are_those_of_the_existing_object(cluster):
    cluster.lock("r", reentrant=True)
    cluster.semaphore("s", 3, bounded=True)
    cluster.queue("q", 7, acknowledge=True)
    cluster.atomic("a", "uint32", (2, 3))
    with dsm.attach(cluster.name) as other:
        assert other.lock("r").reentrant
        assert other.semaphore("s").value == 3
        assert (other.queue("q").maxsize, other.queue("q").acknowledge) == (7, True)
        assert (other.atomic("a").dtype, other.atomic("a").shape) == ("uint32", (2, 3))
        assert not other.lock("new").reentrant
        assert other.queue("new").maxsize == 1024


def test_a_child_holds_nothing_that_its_parent_took(corner):
    lock, again = corner.lock("l"), corner.lock("r", reentrant=True)
    queue = corner.queue("q", acknowledge=True)
    queue.put(1)
    queue.put(2)
    delivery, _ = queue.take(), queue.get()

    def work(say):
        assert not lock.acquire(False)
        assert not again.acquire(False)
        for held in (lock, again):
            with pytest.raises(dsm.ForkedError, match=str(os.getppid())):
                held.release()
        with pytest.raises(dsm.ForkedError):
            delivery.ack()
        with pytest.raises(dsm.ForkedError):
            queue.task_done()
        with pytest.raises(dsm.NotOwnerError):
            corner.lock("l").release()
        say(lock.acquire(timeout=20))

    with lock, again:
        child = Child(work)
        assert child.silent(0.1)
    with child:
        assert child.hears() is True
        assert child.ends() == 0
    delivery.ack()
    queue.task_done()
    assert queue.join(0)


def test_who_closes_leaves_nothing_taken(cluster):
    other = dsm.attach(cluster.name)
    lock, permits = other.lock("l"), other.semaphore("s", 2)
    queue = other.queue("q", acknowledge=True)
    queue.put("item")
    assert lock.acquire()
    assert permits.acquire()
    assert queue.get() == "item"
    other.close()
    with pytest.raises(dsm.ClosedError):
        lock.release()
    mine = cluster.lock("l")
    assert mine.acquire(timeout=1)
    assert mine.previous_owner_died
    assert cluster.semaphore("s", 2).value == 2
    assert cluster.queue("q", acknowledge=True).take(timeout=1).times == 2


def test_a_stopped_holder_is_named(corner):
    lock = corner.lock("l")

    def stopped(say):
        with lock:
            say("held")
            signal.pause()

    with Child(stopped) as child:
        assert child.hears() == "held"
        child.signal(signal.SIGSTOP)
        eventually(lambda: lock.holder.state == "T", "the holder is stopped")
        started = time.monotonic()
        assert lock.acquire(timeout=0.2) is False
        assert 0.2 <= time.monotonic() - started < 2
        assert lock.holder.pid == child.pid
        assert str(child.pid) in repr(lock)


WAITS = {
    "lock": "cluster.lock('held').acquire()",
    "with": "cluster.lock('held').__enter__()",
    "semaphore": "cluster.semaphore('none', 0).acquire()",
    "barrier": "cluster.barrier('two', 2).wait()",
    "event": "cluster.event('never').wait()",
    "get": "cluster.queue('empty').get()",
    "put": "[cluster.queue('full', 1).put(1) for _ in range(2)]",
    "join": "cluster.queue('open', 5).put(1) or cluster.queue('open', 5).join()",
    "condition": "cluster.condition('x').__enter__() and cluster.condition('x').wait()",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_control_c_ends_a_wait(shared, wait):
    held = shared.lock("held")

    def work(say):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cluster = dsm.attach(shared.name)
        say("ready")
        try:
            eval(wait, {"cluster": cluster})
        except KeyboardInterrupt:
            say("interrupted")
        cluster.close()

    if not held.owned():
        held.acquire()
    with Child(work) as child:
        assert child.hears() == "ready"
        time.sleep(0.05)
        child.signal(signal.SIGINT)
        assert child.hears() == "interrupted"
        assert child.ends() == 0


def test_the_end_of_the_cluster_ends_every_wait(name):
    cluster = dsm.Cluster(nodes=1, name=name, stripes=64)
    cluster.lock("held").acquire()

    def waits(wait):
        def work(say):
            other = dsm.attach(name)
            say("ready")
            with pytest.raises(dsm.ClosedError):
                eval(wait, {"cluster": other})
            say("closed")

        return work

    with contextlib.ExitStack() as opened:
        children = [opened.enter_context(Child(waits(wait))) for wait in WAITS.values()]
        assert {child.hears() for child in children} == {"ready"}
        cluster.close()
        assert {child.hears() for child in children} == {"closed"}


def test_other_threads_run_while_one_waits(corner):
    event, ran = corner.event("e"), threading.Event()
    waiting = threading.Thread(target=lambda: event.wait(20))
    waiting.start()
    threading.Thread(target=ran.set).start()
    assert ran.wait(5)
    event.set()
    waiting.join(20)
