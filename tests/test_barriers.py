"""Barriers: the same bodies over threading's and ours, and what only processes can do to them."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from children import Child
from processes import eventually
from test_sync_kills import forever
from test_sync_semantics import in_thread

import dsm_native as dsm

serial = itertools.count()


@pytest.fixture(params=["threading", "dsm_native"])
def make(request, shared):
    """Makes a barrier of either kind."""
    if request.param == "threading":
        return threading.Barrier
    return lambda *settings: shared.barrier(f"barrier {next(serial)}", *settings)


def test_barrier(make):
    barrier = make(3)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)
    for _ in range(30):
        waiting = [in_thread(barrier.wait) for _ in range(3)]
        for thread, _ in waiting:
            thread.join(20)
        assert sorted(told[0] for _, told in waiting) == [0, 1, 2]
    assert barrier.n_waiting == 0


def test_a_barrier_breaks_by_abort_and_by_time_out(make):
    barrier = make(2)
    thread, told = in_thread(barrier.wait)
    eventually(lambda: barrier.n_waiting == 1, "one waits")
    barrier.abort()
    thread.join(20)
    assert issubclass(told[0], threading.BrokenBarrierError)
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.01)
    assert barrier.broken


def test_resetting_a_barrier_ends_waits(make):
    barrier = make(2)
    thread, told = in_thread(barrier.wait)
    eventually(lambda: barrier.n_waiting == 1, "one waits")
    barrier.reset()
    thread.join(20)
    assert issubclass(told[0], threading.BrokenBarrierError)
    assert not barrier.broken
    waiting = [in_thread(barrier.wait) for _ in range(2)]
    for thread, _ in waiting:
        thread.join(20)
    assert sorted(told[0] for _, told in waiting) == [0, 1]


def test_the_action_of_a_barrier_comes_before_the_others_go_on(make):
    acts, slow = [], threading.Event()

    def act():
        acts.append(barrier.n_waiting > 0)
        slow.wait(0.05)
        acts.append("done")

    barrier = make(3, act)

    def cross(_):
        seen = []
        for _round in range(20):
            barrier.wait()
            seen.append(acts.count("done"))
            barrier.wait()
        return seen

    crossing = [in_thread(lambda: cross(None)) for _ in range(3)]
    for thread, _ in crossing:
        thread.join(60)
    assert [told[0] for _, told in crossing] == [list(range(1, 41, 2))] * 3
    assert acts == [True, "done"] * 40
    assert not barrier.broken


def test_who_comes_while_a_barrier_acts_is_of_the_next_round(make):
    begun, go_on = threading.Event(), threading.Event()

    def act():
        begun.set()
        go_on.wait(20)

    barrier = make(2, act)
    first = [in_thread(barrier.wait) for _ in range(2)]
    assert begun.wait(20)
    late = [in_thread(barrier.wait) for _ in range(2)]
    time.sleep(0.1)
    assert not any(told for _, told in late)
    go_on.set()
    for thread, _ in first + late:
        thread.join(20)
    assert sorted(told[0] for _, told in first) == [0, 1]
    assert sorted(told[0] for _, told in late) == [0, 1]


def test_an_action_that_raises_breaks_the_barrier(make):
    barrier = make(2, lambda: {}["nothing"])
    waiting = [in_thread(barrier.wait) for _ in range(2)]
    for thread, _ in waiting:
        thread.join(20)
    ends = sorted((told[0] for _, told in waiting), key=lambda kind: kind.__name__)
    assert issubclass(ends[0], threading.BrokenBarrierError)
    assert ends[1] is KeyError
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken


def test_a_barrier_may_have_a_time_out_of_its_own(make):
    barrier = make(2, None, 0.05)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken


def test_a_barrier_breaks_whether_its_party_waits_or_works(shared):
    for waits in (True, False):
        barrier = shared.barrier(f"breaks {waits}", 2)

        def party(say, barrier=barrier, waits=waits):
            barrier.wait()
            say("passed")
            if waits:
                barrier.wait()
            forever(say)

        with Child(party) as child:
            barrier.wait(20)
            assert child.hears() == "passed"
            if waits:
                eventually(lambda barrier=barrier: barrier.n_waiting == 1, "it waits again")
                child.kill()
                eventually(lambda barrier=barrier: barrier.broken, "it breaks")
            else:
                threading.Timer(0.1, child.kill).start()
            with pytest.raises(dsm.BrokenBarrierError):
                barrier.wait(20)
            child.ends()
        barrier.reset()
        assert not barrier.broken


def test_a_barrier_breaks_whose_action_is_killed(shared):
    barrier = shared.barrier("breaks in its action", 2)

    def act(say):
        say("acting")
        forever(say)

    def party(say):
        # The other one waits by now, so this is the last, and its action counts.
        eventually(lambda: barrier.n_waiting == 1, "the other one waits")
        shared.barrier("breaks in its action", 2, lambda: act(say)).wait()

    told = []

    def wait():
        with pytest.raises(dsm.BrokenBarrierError):
            barrier.wait(20)
        told.append("broken")

    with Child(party) as child:
        thread = threading.Thread(target=wait)
        thread.start()
        assert child.hears() == "acting"
        with pytest.raises(dsm.BrokenBarrierError):
            barrier.wait(0.05)  # a third one, which does not come in between
        barrier.reset()
        thread.join(20)
        child.kill()
        child.ends()
    assert told == ["broken"]
    eventually(lambda: barrier.broken, "the dead child was a party of the round before")
    barrier.reset()

    with Child(party) as child:
        thread = threading.Thread(target=wait)
        thread.start()
        assert child.hears() == "acting"
        child.kill()
        thread.join(20)
        child.ends()
    assert told == ["broken", "broken"]
    assert barrier.broken
