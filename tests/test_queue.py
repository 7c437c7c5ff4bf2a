"""Queues held against a deque: random operations through two attachments; items of every kind."""

from __future__ import annotations

import collections
import itertools
import operator
import queue
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from processes import fresh_name

import dsm_native as dsm

serial = itertools.count()
opened = {}


@pytest.fixture(scope="module", autouse=True)
def _attachments(shared):
    opened["both"] = (shared, dsm.attach(shared.name))
    yield
    opened["both"][1].close()


ITEMS = st.one_of(
    st.integers(), st.text(max_size=300), st.binary(max_size=600), st.floats(allow_nan=False),
    st.none(), st.tuples(st.integers(), st.text()), st.lists(st.integers(), max_size=200),
)  # fmt: skip
ATTACHMENT = st.integers(0, 1)


class PlainModel(RuleBasedStateMachine):
    """queue.Queue by a deque, a bound and a count."""

    @initialize(maxsize=st.integers(1, 5))
    def begin(self, maxsize):
        name = f"model {next(serial)}"
        self.queues = [cluster.queue(name, maxsize) for cluster in opened["both"]]
        self.model, self.maxsize, self.undone = collections.deque(), maxsize, 0

    @rule(by=ATTACHMENT, item=ITEMS)
    def put(self, by, item):
        if len(self.model) == self.maxsize:
            with pytest.raises(queue.Full):
                self.queues[by].put(item, block=False)
        else:
            self.queues[by].put(item)
            self.model.append(item)
            self.undone += 1

    @rule(by=ATTACHMENT)
    def get(self, by):
        if self.model:
            assert self.queues[by].get(timeout=5) == self.model.popleft()
        else:
            with pytest.raises(queue.Empty):
                self.queues[by].get_nowait()

    @rule(by=ATTACHMENT)
    def task_done(self, by):
        if self.undone:
            self.queues[by].task_done()
            self.undone -= 1
        else:
            with pytest.raises(ValueError, match="done"):
                self.queues[by].task_done()

    @invariant()
    def counts_agree(self):
        for found in getattr(self, "queues", ()):
            assert found.qsize() == len(self.model)
            assert found.empty() == (not self.model)
            assert found.full() == (len(self.model) == self.maxsize)
            assert found.unfinished_tasks == self.undone
            assert found.join(0) == (self.undone == 0)


class AcknowledgedModel(RuleBasedStateMachine):
    """A deque of what waits, a sorted list of what was given back, and what is open."""

    @initialize(maxsize=st.integers(1, 5))
    def begin(self, maxsize):
        name = f"model {next(serial)}"
        self.queues = [cluster.queue(name, maxsize, True) for cluster in opened["both"]]
        self.waiting, self.back, self.open = collections.deque(), {}, {}
        self.maxsize, self.position = maxsize, 0

    @rule(by=ATTACHMENT, item=ITEMS)
    def put(self, by, item):
        if len(self.waiting) == self.maxsize:
            with pytest.raises(dsm.QueueFullError):
                self.queues[by].put(item, timeout=0)
        else:
            self.queues[by].put(item)
            self.waiting.append((self.position, item, 0))
            self.position += 1

    @rule(by=ATTACHMENT)
    def take(self, by):
        if self.back:
            position = min(self.back)
            item, times = self.back.pop(position)
        elif self.waiting and len(self.open) < self.maxsize:
            position, item, times = self.waiting.popleft()
        else:
            with pytest.raises(dsm.QueueEmptyError):
                self.queues[by].take(block=False)
            return
        delivery = self.queues[by].take()
        assert (delivery.item, delivery.times) == (item, times + 1)
        self.open[position] = delivery

    @precondition(lambda self: getattr(self, "open", None))
    @rule(data=st.data(), acknowledge=st.booleans())
    def settle(self, data, acknowledge):
        position = data.draw(st.sampled_from(sorted(self.open)))
        delivery = self.open.pop(position)
        if acknowledge:
            delivery.ack()
        else:
            delivery.give_back()
            self.back[position] = (delivery.item, delivery.times)
        with pytest.raises(dsm.UsageError):
            delivery.ack()

    @invariant()
    def counts_agree(self):
        for found in getattr(self, "queues", ()):
            assert found.qsize() == len(self.waiting) + len(self.back)
            assert found.unfinished_tasks == len(self.waiting) + len(self.back) + len(self.open)


# Queues stay until their cluster ends, which has room for 1,024 of them.
limits = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestPlain = PlainModel.TestCase
TestPlain.settings = limits
TestAcknowledged = AcknowledgedModel.TestCase
TestAcknowledged.settings = limits


@pytest.mark.parametrize("acknowledge", [False, True])
def test_items_of_every_kind_and_size(shared, acknowledge):
    found = shared.queue(f"kinds {acknowledge}", 64, acknowledge)
    items = [
        None, True, 7, -(1 << 70), 1.5, "text ü", b"", b"x" * 240, b"x" * 241, "x" * 100_000,
        [1, {"a": (2, 3)}], range(10), np.arange(5), np.eye(300), {"array": np.arange(1000)},
    ]  # fmt: skip
    for item in items:
        found.put(item)
    for item in items:
        got = found.get()
        assert type(got) is type(item)
        assert np.array_equal(got, item) if isinstance(item, np.ndarray) else str(got) == str(item)
        found.task_done()
    assert found.join(0)
    assert len(found._open_region()) == 0


def test_an_item_that_found_no_room_leaves_nothing(shared):
    found = shared.queue("no room", 1)
    found.put(1)
    with pytest.raises(dsm.QueueFullError):
        found.put(bytes(1000), block=False)
    assert len(found._open_region()) == 0


class Bomb:
    """Goes off when it is unpickled."""

    def __init__(self, ballast):
        self.ballast = ballast

    def __setstate__(self, state):
        raise ZeroDivisionError("goes off")


@pytest.mark.parametrize("ballast", [0, 100_000])
def test_an_item_that_goes_off_is_taken_or_given_back(shared, ballast):
    plain = shared.queue(f"bombs {ballast}", 4)
    plain.put(Bomb(bytes(ballast)))
    plain.put("next")
    with pytest.raises(ZeroDivisionError):
        plain.get()
    assert plain.get() == "next"
    kept = shared.queue(f"kept bombs {ballast}", 4, True)
    kept.put(Bomb(bytes(ballast)))
    for take in (kept.take, kept.get, kept.take):
        with pytest.raises(ZeroDivisionError):
            take(timeout=5)
    assert (kept.qsize(), kept.unfinished_tasks) == (1, 1)
    assert len(plain._open_region()) == (1 if ballast else 0)
    plain._open_region().clear()


def test_a_block_that_raises_gives_the_item_back(shared):
    found = shared.queue("raises", 4, True)
    found.put("item")
    with pytest.raises(ZeroDivisionError), found.take() as item:
        operator.truediv(item == "item", 0)
    delivery = found.take()
    assert delivery.times == 2
    delivery.ack()
    with pytest.raises(dsm.UsageError, match="acknowledgement"):
        shared.queue("plain").take()


def test_gets_are_acknowledged_by_the_thread_that_got(shared):
    found = shared.queue("threads", 4, True)
    found.put(1)
    found.put(2)
    assert found.get() == 1
    told = []

    def other():
        with pytest.raises(dsm.UsageError, match="too many"):
            found.task_done()
        told.append(found.get())
        found.task_done()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert told == [2]
    assert found.unfinished_tasks == 1
    found.task_done()
    assert found.unfinished_tasks == 0


def test_a_queue_holds_many_items():
    with dsm.Cluster(nodes=1, stripes=64, name=fresh_name()) as cluster:
        found = cluster.queue("many", 131_072, True)
        for number in range(20_000):
            found.put(number)
        assert [found.get() for _ in range(20_000)] == list(range(20_000))
        with pytest.raises(dsm.LimitError, match="bytes for queues"):
            cluster.queue("as many again", 131_072, True)
