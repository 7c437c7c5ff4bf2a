"""Synchronisation objects in event loops: the await forms, cancelling, threads."""

from __future__ import annotations

import asyncio
import signal

import pytest
from children import Child
from corners import Corner
from processes import run

import dsm_native as dsm


@pytest.fixture
def corner(shared):
    return Corner(shared)


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


def test_a_task_that_is_cancelled_again_and_again_leaves_the_locks_of_others_alone(corner):
    lock = corner.lock("c")
    condition = corner.condition("c", lock)

    async def wait():
        async with condition:
            await condition.wait_async()

    async def work():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        await lock.acquire_async()
        for _ in range(3):
            waiting.cancel()
            await asyncio.sleep(0.1)
        assert not waiting.done()  # it has to have the lock before it can end
        assert lock.owned()
        lock.release()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not lock.locked()

    asyncio.run(asyncio.wait_for(work(), 20))


def test_waiting_for_a_predicate(corner):
    condition = corner.condition("p", corner.lock("p"))
    values = []

    async def add():
        for number in range(5):
            await asyncio.sleep(0.01)
            async with condition:
                values.append(number)
                condition.notify_all()

    async def work():
        async with condition:
            assert await condition.wait_for_async(lambda: values, 0.02) == []
        adding = asyncio.create_task(add())
        async with condition:
            assert await condition.wait_for_async(lambda: len(values) > 3 and "enough") == "enough"
        await adding

    asyncio.run(asyncio.wait_for(work(), 20))


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
