"""Locks, barriers and the like between processes: sharing, pickling, forking, waiting."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from children import Child
from processes import environment, eventually, run

import dsm_native as dsm

KINDS = {"lock", "semaphore", "barrier", "event", "condition", "queue", "counter", "atomic"}
serial = itertools.count()


class Corner:
    """A cluster of which a test has names of its own."""

    def __init__(self, cluster):
        self.cluster, self.prefix = cluster, f"corner {next(serial)}"

    def __getattr__(self, kind):
        found = getattr(self.cluster, kind)
        if kind not in KINDS:
            return found
        return lambda name, *more, **named: found(f"{self.prefix} {name}", *more, **named)


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


# ---- in an event loop --------------------------------------------------------------------------


async def one_by_one(cluster):
    lock, inside, most = cluster.lock("async"), 0, 0

    async def work():
        nonlocal inside, most
        for _ in range(5):
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 1
    assert not lock.locked()


async def meet(cluster):
    barrier = cluster.barrier("async", 3)
    assert sorted(await asyncio.gather(*(barrier.wait_async(20) for _ in range(3)))) == [0, 1, 2]
    with pytest.raises(dsm.BrokenBarrierError):
        await barrier.wait_async(0.02)


async def signals(cluster):
    event, permits = cluster.event("async"), cluster.semaphore("async", 1)
    assert await event.wait_async(0.02) is False
    waiting = [asyncio.create_task(event.wait_async()) for _ in range(50)]
    await asyncio.sleep(0.02)
    event.set()
    assert all(await asyncio.gather(*waiting))
    async with permits:
        assert await permits.acquire_async(0.02) is False
    assert await permits.acquire_async()


async def hand_over(cluster):
    lock = cluster.lock("async turn")
    condition, ready = cluster.condition("async", lock), []

    async def work():
        async with condition:
            ready.append(1)
            return await condition.wait_async(20)

    waiting = asyncio.create_task(work())
    while not ready:
        await asyncio.sleep(0.001)
    async with condition:
        condition.notify()
    assert await waiting


async def through_a_queue(cluster):
    queue = cluster.queue("async", 2, acknowledge=True)

    async def produce():
        for number in range(50):
            await queue.put_async(number)

    async def consume():
        got = []
        for _ in range(50):
            with await queue.take_async() as number:
                got.append(number)
        return got

    _, got = await asyncio.gather(produce(), consume())
    assert got == list(range(50))
    assert await queue.join_async(5)
    with pytest.raises(dsm.QueueEmptyError):
        await queue.get_async(0.02)


@pytest.mark.parametrize("work", [one_by_one, meet, signals, hand_over, through_a_queue])
def test_in_an_event_loop(corner, work):
    asyncio.run(asyncio.wait_for(work(corner), 20))


def test_a_cancelled_task_takes_nothing(corner):
    lock = corner.lock("l")

    def hold(say):
        with lock:
            say("held")
            signal.pause()

    async def work(child):
        waiting = asyncio.create_task(lock.acquire_async())
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        child.kill()
        assert await lock.acquire_async(5)
        lock.release()
        assert not lock.locked()

    with Child(hold) as child:
        assert child.hears() == "held"
        asyncio.run(work(child))


def test_a_reentrant_lock_is_not_for_tasks(corner):
    with pytest.raises(dsm.UsageError, match="re-entrant"):
        asyncio.run(corner.lock("r", reentrant=True).acquire_async())


def test_an_event_loop_uses_few_threads(name):
    source = f"""
import asyncio, threading, dsm_native as dsm
with dsm.Cluster(nodes=1, name={name!r}, stripes=64) as cluster:
    async def main():
        events = [cluster.event(f"e{{n % 4}}") for n in range(400)]
        waiting = [asyncio.create_task(event.wait_async()) for event in events]
        await asyncio.sleep(0.2)
        print(threading.active_count() < 25)
        for event in events[:4]: event.set()
        print(len(await asyncio.gather(*waiting)))
    asyncio.run(main())
"""
    result = run(source)
    assert (result.stdout.split(), result.stderr) == (["True", "400"], "")
