"""The same bodies over threading's objects and over ours: one interface, one behaviour."""

from __future__ import annotations

import itertools
import queue
import threading
import time

import pytest

import dsm_native as dsm

serial = itertools.count()


class Standard:
    """What the standard library offers."""

    lock = staticmethod(threading.Lock)
    rlock = staticmethod(threading.RLock)
    semaphore = staticmethod(threading.Semaphore)
    bounded = staticmethod(threading.BoundedSemaphore)
    event = staticmethod(threading.Event)
    condition = staticmethod(threading.Condition)
    queue = staticmethod(queue.Queue)


class Ours:
    """The same by name."""

    def __init__(self, cluster):
        self.cluster = cluster

    @property
    def name(self):
        return f"semantics {next(serial)}"

    def lock(self):
        return self.cluster.lock(self.name)

    def rlock(self):
        return self.cluster.lock(self.name, reentrant=True)

    def semaphore(self, value):
        return self.cluster.semaphore(self.name, value)

    def bounded(self, value):
        return self.cluster.semaphore(self.name, value, bounded=True)

    def event(self):
        return self.cluster.event(self.name)

    def condition(self, lock=None):
        return self.cluster.condition(self.name, lock)

    def queue(self, maxsize):
        return self.cluster.queue(self.name, maxsize)


@pytest.fixture(params=["threading", "dsm_native"])
def kit(request, shared):
    return Standard if request.param == "threading" else Ours(shared)


def in_thread(work):
    """Runs it; returns (thread, list that receives what it returned or raised)."""
    told = []

    def run():
        try:
            told.append(work())
        except Exception as error:
            told.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, told


def result(work):
    thread, told = in_thread(work)
    thread.join(20)
    return told[0]


def test_lock(kit):
    lock = kit.lock()
    assert not lock.locked()
    assert lock.acquire() is True
    assert lock.locked()
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.01) is False
    assert lock.acquire(True, 0) is False
    assert result(lambda: lock.acquire(False)) is False
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()
    with lock:
        assert lock.locked()
    assert not lock.locked()
    for wrong in ({"blocking": False, "timeout": 1}, {"timeout": -2}):
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(**wrong)


def test_a_lock_passes_from_thread_to_thread(kit):
    lock = kit.lock()
    lock.acquire()
    thread, told = in_thread(lambda: lock.acquire() and lock.release() is None)
    time.sleep(0.02)
    assert not told
    lock.release()
    thread.join(20)
    assert told == [True]


def test_mutual_exclusion(kit):
    lock, total = kit.lock(), 0

    def work():
        nonlocal total
        for _ in range(300):
            with lock:
                before = total
                time.sleep(0)
                total = before + 1

    threads = [in_thread(work)[0] for _ in range(4)]
    for thread in threads:
        thread.join(20)
    assert total == 1200


def test_a_reentrant_lock(kit):
    lock = kit.rlock()
    assert lock.acquire()
    assert lock.acquire()
    assert result(lambda: lock.acquire(False)) is False
    assert result(lock.release) in (RuntimeError, dsm.NotOwnerError)
    lock.release()
    assert result(lambda: lock.acquire(False)) is False
    lock.release()
    assert result(lambda: lock.acquire(False) and lock.release() is None) is True
    with pytest.raises(RuntimeError):
        lock.release()


def test_semaphore(kit):
    permits = kit.semaphore(2)
    assert permits.acquire()
    assert permits.acquire(blocking=False)
    assert permits.acquire(False) is False
    assert permits.acquire(timeout=0.01) is False
    with pytest.raises(ValueError, match="timeout"):
        permits.acquire(False, timeout=1)
    thread, told = in_thread(permits.acquire)
    permits.release()
    thread.join(20)
    assert told == [True]
    permits.release(3)
    assert [permits.acquire(False) for _ in range(4)] == [True, True, True, False]
    with pytest.raises(ValueError, match="one or more"):
        permits.release(0)


def test_releasing_many_wakes_many(kit):
    permits = kit.semaphore(0)
    waiting = [in_thread(lambda: permits.acquire(timeout=20)) for _ in range(5)]
    time.sleep(0.02)
    permits.release(5)
    for thread, told in waiting:
        thread.join(20)
        assert told == [True]


def test_bounded_semaphore(kit):
    permits = kit.bounded(1)
    with permits:
        assert permits.acquire(False) is False
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ
        permits.release()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_event(kit):
    event = kit.event()
    assert not event.is_set()
    assert event.wait(0.01) is False
    thread, told = in_thread(event.wait)
    time.sleep(0.02)
    assert not told
    event.set()
    thread.join(20)
    assert told == [True]
    assert event.wait() is True
    event.clear()
    assert event.wait(0) is False


def test_an_event_that_is_cleared_at_once_was_set(kit):
    event = kit.event()
    waiting = [in_thread(lambda: event.wait(20)) for _ in range(3)]
    time.sleep(0.05)
    event.set()
    event.clear()
    for thread, told in waiting:
        thread.join(20)
        assert told == [True]


def test_condition(kit):
    condition = kit.condition()
    with pytest.raises(RuntimeError):
        condition.wait()
    with pytest.raises(RuntimeError):
        condition.notify()
    ready = []

    def wait():
        with condition:
            ready.append(1)
            return condition.wait(20)

    waiting = [in_thread(wait) for _ in range(3)]
    wait_until(lambda: len(ready) == 3)
    with condition:
        assert condition.wait(0.01) is False
        condition.notify()
    wait_until(lambda: sum(bool(told) for _, told in waiting) == 1)
    with condition:
        condition.notify_all()
    for thread, told in waiting:
        thread.join(20)
        assert told == [True]


def test_notifications_are_for_those_who_wait_now(kit):
    condition = kit.condition()
    with condition:
        condition.notify(5)
        assert condition.wait(0.01) is False
        assert condition.wait_for(lambda: False, timeout=0.01) is False
        assert condition.wait_for(lambda: 7) == 7


def test_a_condition_gives_up_a_lock_taken_twice(kit):
    condition = kit.condition()

    def wake():
        with condition:
            condition.notify()

    with condition, condition:
        thread, _ = in_thread(wake)
        assert condition.wait(20) is True
        thread.join(20)
        assert result(lambda: condition.acquire(False)) is False
    assert result(lambda: condition.acquire(False) and condition.release() is None) is True


def test_two_conditions_of_one_lock(kit):
    lock = kit.lock()
    full, empty = kit.condition(lock), kit.condition(lock)
    items = []

    def consume():
        got = []
        for _ in range(50):
            with full:
                full.wait_for(lambda: items)
                got.append(items.pop())
                empty.notify()
        return got

    thread, told = in_thread(consume)
    for number in range(50):
        with empty:
            empty.wait_for(lambda: not items)
            items.append(number)
            full.notify()
    thread.join(20)
    assert told == [list(range(50))]


def test_queue(kit):
    items = kit.queue(2)
    assert (items.empty(), items.full(), items.qsize(), items.maxsize) == (True, False, 0, 2)
    with pytest.raises(queue.Empty):
        items.get_nowait()
    with pytest.raises(queue.Empty):
        items.get(timeout=0.01)
    items.put("a")
    items.put(None, block=False)
    assert (items.empty(), items.full(), items.qsize()) == (False, True, 2)
    with pytest.raises(queue.Full):
        items.put_nowait("c")
    with pytest.raises(queue.Full):
        items.put("c", timeout=0.01)
    assert [items.get(), items.get(False)] == ["a", None]
    for wrong in (lambda: items.get(timeout=-1), lambda: items.put(1, timeout=-1)):
        with pytest.raises(ValueError, match="non-negative"):
            wrong()


def test_a_queue_counts_what_is_done(kit):
    items = kit.queue(10)
    for number in range(3):
        items.put(number)
    thread, told = in_thread(items.join)
    for _ in range(3):
        items.get()
        assert not told
        items.task_done()
    thread.join(20)
    assert told
    with pytest.raises(ValueError, match=r"too many|not done"):
        items.task_done()


def test_many_producers_and_consumers(kit):
    items = kit.queue(3)

    def produce(which):
        for number in range(100):
            items.put((which, number))

    def consume():
        return [items.get() for _ in range(100)]

    producers = [in_thread(lambda which=which: produce(which)) for which in range(3)]
    consumers = [in_thread(consume) for _ in range(3)]
    for thread, _ in [*producers, *consumers]:
        thread.join(20)
    got = [item for _, told in consumers for item in told[0]]
    assert sorted(got) == [(which, number) for which in range(3) for number in range(100)]
    for _, told in consumers:
        for which in range(3):
            mine = [number for producer, number in told[0] if producer == which]
            assert mine == sorted(mine)
