"""Events reach every subscriber, in order, each exactly once, whatever the callbacks do."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest
from members import kinds, serving
from processes import eventually, said, started

import dsm_native as dsm
from dsm_native._native.members import report_exit


def test_every_subscriber_gets_every_event_once_and_in_order(watched):
    heard = [[] for _ in range(12)]
    subscriptions = [watched.subscribe(mine.append) for mine in heard]
    for incarnation in (2, 3, 4):
        for node in range(3):
            watched.faults.kill(node)
        for node in range(3):
            eventually(lambda n=node, i=incarnation: serving(watched, n, i), f"{node} serves")
    told = [event for event in watched.events() if event.sequence >= heard[0][0].sequence]
    eventually(lambda: all(len(mine) >= len(told) for mine in heard), "all have heard all")
    for subscription in subscriptions:
        subscription.close()
    numbers = [event.sequence for event in heard[0]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert all(mine == heard[0] for mine in heard)
    deaths = [(event.node, event.incarnation) for event in heard[0] if event.kind == "dead"]
    assert sorted(deaths) == [(node, number) for node in range(3) for number in (1, 2, 3)]
    assert all(event.when <= after.when for event, after in zip(told, told[1:], strict=False))


def test_subscribers_in_several_processes(watched):
    source = """
import sys, dsm_native as dsm
cluster = dsm.attach(sys.argv[1])
done = []
cluster.subscribe(lambda event: print(event.sequence, event.kind, event.node, flush=True))
print("ready", flush=True)
sys.stdin.readline()
"""
    heard = []
    with started(source, watched.name) as one, started(source, watched.name) as other:
        said(one, "ready")
        said(other, "ready")
        with watched.subscribe(heard.append):
            watched.faults.kill(1)
            eventually(lambda: "replaced" in kinds(heard), "the node serves again")
            for event in heard:
                for process in (one, other):
                    said(process, f"{event.sequence} {event.kind} {event.node}")
    assert kinds(heard) == ["dead", "repaired", "exited", "replaced"]


def test_subscribers_on_the_nodes(watched):
    def listen(region):
        heard = region.cluster_events = []
        dsm.current().subscribe(lambda event: heard.append(event.kind))
        deadline = time.monotonic() + 20
        while "replaced" not in heard and time.monotonic() < deadline:
            time.sleep(0.001)
        return heard

    class Box:
        pass

    others = [watched.submit(listen, Box(), node=node) for node in (0, 2)]
    eventually(lambda: all(other.running() for other in others), "they listen")
    time.sleep(0.3)
    watched.faults.kill(1)
    for other in others:
        assert other.result(30) == ["dead", "repaired", "exited", "replaced"]


def test_an_exception_of_a_callback_ends_nothing(watched, monkeypatch):
    heard, noted = [], []
    monkeypatch.setattr(sys, "unraisablehook", noted.append)

    def fail(event):
        heard.append(event.kind)
        raise KeyError(event.kind)

    with watched.subscribe(fail) as subscription:
        watched.faults.kill(0)
        eventually(lambda: "replaced" in heard, "delivery goes on")
        assert subscription.active
    assert heard == ["dead", "repaired", "exited", "replaced"]
    assert [note.exc_value.args for note in noted] == [(kind,) for kind in heard]
    assert "callback" in noted[0].err_msg


def test_no_call_begins_after_close(watched):
    heard = []
    subscription = watched.subscribe(heard.append)
    subscription.close()
    subscription.close()
    assert not subscription.active
    watched.faults.kill(0)
    eventually(lambda: serving(watched, 0, 2), "the node serves again")
    assert heard == []


def test_a_subscription_may_be_closed_by_its_callback(watched):
    heard, made = [], []

    def once(event):
        heard.append(event)
        made[0].close()

    made.append(watched.subscribe(once))
    watched.faults.kill(0)
    eventually(lambda: serving(watched, 0, 2), "the node serves again")
    eventually(lambda: not made[0].active, "it has ended")
    assert kinds(heard) == ["dead"]


def test_since_tells_what_was_before(watched):
    watched.faults.kill(2)
    eventually(lambda: serving(watched, 2, 2), "the node serves again")
    heard = []
    with watched.subscribe(heard.append, since=1):
        eventually(lambda: len(heard) >= len(watched.events()), "all is told")
    assert heard == watched.events()
    assert kinds(heard, 2) == ["joined", "dead", "repaired", "exited", "replaced"]


def test_a_slow_subscriber_learns_that_it_missed_some(watched):
    """The ring holds 1,023 events; the second thread is kept busy while it is overwritten."""
    heard, go = [], threading.Event()

    def slow(event):
        heard.append(event)
        go.wait(60)

    with watched.subscribe(slow):
        report_exit(watched._handle, 0, 1, 0)  # of a process that never joined
        eventually(lambda: heard, "the first one is being told")
        for number in range(2999):
            report_exit(watched._handle, 0, 2 + number, 0)
        go.set()
        latest = watched.events()[-1].sequence
        eventually(lambda: heard[-1].sequence == latest, "it has caught up")
    first, gap, *rest = heard
    assert (first.kind, gap.kind) == ("exited", "missed")
    assert gap.amount + len(rest) + 1 == 3000
    assert rest[0].sequence == first.sequence + 1 + gap.amount
    numbers = [event.sequence for event in rest]
    assert numbers == list(range(numbers[0], latest + 1))
    assert len(watched.events()) == 1023


def test_arguments(watched):
    with pytest.raises(dsm.UsageError, match="callable"):
        watched.subscribe(None)
    for since in (0, -1, 1.5, "a", True):
        with pytest.raises(dsm.UsageError, match="since"):
            watched.subscribe(print, since=since)


def test_delivery_ends_with_the_cluster(name):
    heard = []
    with dsm.Cluster(nodes=1, name=name, stripes=1) as cluster:
        with dsm.attach(name) as other:
            left = other.subscribe(heard.append)
        assert not left.active
        mine = cluster.subscribe(heard.append)
        assert mine.active
    assert not mine.active
    with pytest.raises(dsm.ClosedError):
        cluster.subscribe(heard.append)
    with pytest.raises(dsm.ClosedError):
        cluster.failures()


def test_a_forked_child_subscribes_itself(watched):
    heard = []
    subscription = watched.subscribe(heard.append)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        mine = []
        watched.subscribe(mine.append)
        os.write(write, b"0" if subscription.active else b"1")
        deadline = time.monotonic() + 20
        while "replaced" not in kinds(mine) and time.monotonic() < deadline:
            time.sleep(0.01)
        subscription.close()
        os.write(write, f"{kinds(mine)} {kinds(heard)}".encode())
        os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    watched.faults.kill(1)
    assert os.read(read, 1000).decode() == f"{['dead', 'repaired', 'exited', 'replaced']} []"
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    eventually(lambda: "replaced" in kinds(heard), "the parent has heard, too")
    subscription.close()


def test_a_program_with_a_subscription_ends_in_silence(name):
    source = """
import sys, dsm_native as dsm
cluster = dsm.Cluster(nodes=1, name=sys.argv[1], stripes=1)
cluster.subscribe(print)
print("ready", flush=True)
"""
    with started(source, name) as program:
        said(program, "ready")
        assert program.wait(20) == 0


def test_idle_subscribers_do_not_poll_hot(watched):
    for _ in range(8):
        watched.subscribe(print)
    before = time.process_time()
    time.sleep(1)
    assert time.process_time() - before < 0.2
