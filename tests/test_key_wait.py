"""Waiting for a key: woken by any change of any process, never by nothing, always ended."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest
from processes import eventually, run, said, started

import dsm_native as dsm
from dsm_native._native.waiting import version_of, wait_version


def later(action):
    thread = threading.Thread(target=lambda: (time.sleep(0.05), action()))
    thread.start()
    return thread


CHANGES = {
    "put": lambda region: region.put("a", "new"),
    "put_many": lambda region: region.put_many({"a": "new"}),
    "transaction": lambda region: region.transact(lambda tx: tx.put("a", "new")),
    "large": lambda region: region.put("a", "new"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_wakes(region, kind):
    version = region.put("a", "old" * (3000 if kind == "large" else 1))
    thread = later(lambda: CHANGES[kind](region))
    value, seen = region.wait("a", newer_than=version, timeout=10)
    thread.join()
    assert (value, seen > version) == ("new", True)


def test_creation_deletion_and_what_is_there_already(region):
    thread = later(lambda: region.put("a", 1))
    value, version = region.wait("a", newer_than=0, timeout=10)
    thread.join()
    assert (value, version) == (1, region.get_versioned("a")[1])
    assert region.wait("a", newer_than=0) == (1, version)
    thread = later(lambda: region.delete("a"))
    assert region.wait("a", timeout=10) == (None, 0)
    thread.join()
    assert region.wait("a", newer_than=version) == (None, 0)


def test_the_time_ends_and_other_keys_of_the_stripe_do_not_count(region):
    version = region.put("a", 1)
    stop = threading.Event()

    def write_others():
        while not stop.is_set():
            region.update(dict.fromkeys(range(100), 0))

    thread = threading.Thread(target=write_others)
    thread.start()
    start = time.monotonic()
    with pytest.raises(dsm.WaitTimeoutError, match="no version above"):
        region.wait("a", newer_than=version, timeout=0.2)
    assert 0.19 < time.monotonic() - start < 5
    stop.set()
    thread.join()
    with pytest.raises(TimeoutError):
        region.wait("a", timeout=0)
    for wrong in (-1, 1.5, "x"):
        with pytest.raises(dsm.UsageError):
            region.wait("a", newer_than=wrong)


def test_no_change_is_missed_between_two_sides(region):
    """Two threads answer each other; a lost wake-up would cost a slice each time."""
    region.update({"ping": 0, "pong": 0})
    rounds = 300

    def answer():
        version = version_of(region, "pong")
        for number in range(1, rounds + 1):
            value, seen = 0, 0
            while value < number:
                value, seen = region.wait("ping", newer_than=seen or 0, timeout=10)
            version = region.put("pong", number)
        return version

    thread = threading.Thread(target=answer)
    start = time.monotonic()
    thread.start()
    seen = version_of(region, "pong")
    for number in range(1, rounds + 1):
        region["ping"] = number
        value, seen = region.wait("pong", newer_than=seen, timeout=10)
        assert value == number
    thread.join()
    assert time.monotonic() - start < rounds * 0.05, "every answer took a slice or more"


WRITER = """
import dsm_native as dsm, sys
region = dsm.attach(sys.argv[1]).default
for line in sys.stdin:
    region.put("a", int(line))
"""


def test_another_process_wakes(cluster):
    version = cluster.default.put("a", 0)
    with started(WRITER, cluster.name) as writer:
        for number in (1, 2, 3):
            writer.stdin.write(f"{number}\n")
            writer.stdin.flush()
            value, version = cluster.default.wait("a", newer_than=version, timeout=20)
            assert value == number


def test_a_sleeping_wait_uses_no_processor(cluster):
    before = time.process_time()
    with pytest.raises(dsm.WaitTimeoutError):
        cluster.default.wait("never", newer_than=0, timeout=0.5)
    assert time.process_time() - before < 0.1


def test_close_and_stop_end_a_wait(name):
    cluster = dsm.Cluster(nodes=1, name=name)
    thread = later(cluster.close)
    with pytest.raises(dsm.ClosedError):
        cluster.default.wait("a", newer_than=0, timeout=10)
    thread.join()


WAITING = """
import dsm_native as dsm, sys
region = dsm.attach(sys.argv[1]).default
print("waiting", flush=True)
try:
    region.wait("never", newer_than=0)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_control_c_ends_a_wait(cluster):
    with started(WAITING, cluster.name) as waiter:
        said(waiter, "waiting")
        time.sleep(0.05)
        waiter.send_signal(signal.SIGINT)
        said(waiter, "interrupted")


KILLED = """
import dsm_native as dsm, os, signal, sys
region = dsm.attach(sys.argv[1]).default
value = bytes(24 << 20)
print("ready", flush=True)
while True:
    region.put("held", value)
"""


def test_a_change_that_others_finish_wakes_too(cluster):
    """Killed within its put, most likely: whoever repairs the stripe rings for it."""
    with started(KILLED, cluster.name) as writer:
        said(writer, "ready")
        eventually(lambda: version_of(cluster.default, "held"), "the first put")
        for _ in range(5):
            seen = version_of(cluster.default, "held")
            assert wait_version(cluster.default, "held", seen, 20.0) > seen
        writer.kill()
        writer.wait()
    seen = version_of(cluster.default, "held")
    thread = later(lambda: cluster.default.put("held", b""))
    assert cluster.default.wait("held", newer_than=seen, timeout=20)[1] > seen
    thread.join()


def test_await(region):
    async def both():
        waiting = asyncio.create_task(region.wait_async("a", newer_than=0, timeout=10))
        ticks = 0
        while ticks < 5:
            await asyncio.sleep(0.01)
            ticks += 1
        region["a"] = 5
        value, _version = await waiting
        with pytest.raises(dsm.WaitTimeoutError):
            await region.wait_async("b", newer_than=0, timeout=0.1)
        cancelled = asyncio.create_task(region.wait_async("b", newer_than=0))
        await asyncio.sleep(0.02)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return value

    assert asyncio.run(both()) == 5


def test_apply(region):
    assert region.apply("n", lambda value: value + 1, default=0)[0] == 1
    value, version = region.apply("n", lambda value: value * 10)
    assert (value, version) == (10, region.get_versioned("n")[1])
    with pytest.raises(dsm.KeyNotFoundError):
        region.apply("absent", lambda value: value)
    with pytest.raises(ZeroDivisionError):
        region.apply("n", lambda value: value / 0)
    assert region["n"] == 10


def test_apply_loses_nothing(region):
    region["list"] = []

    def work(name):
        for number in range(50):
            region.apply("list", lambda value, item=(name, number): [*value, item])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(region["list"]) == [(name, number) for name in "abc" for number in range(50)]
    for name in "abc":
        assert [number for who, number in region["list"] if who == name] == list(range(50))


def test_a_daemon_that_waits_does_not_disturb_the_end(name):
    source = (
        "import dsm_native as dsm, sys, threading\n"
        "cluster = dsm.Cluster(nodes=1, name=sys.argv[1])\n"
        "threading.Thread(target=lambda: cluster.default.wait('a'), daemon=True).start()\n"
    )
    result = run(source, name)
    assert (result.returncode, result.stderr) == (0, "")
