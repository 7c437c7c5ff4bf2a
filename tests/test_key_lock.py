"""The lock of one address: side by side with threading.Lock, across processes, under kills."""

from __future__ import annotations

import os
import pickle
import select
import signal
import threading
import time

import pytest
from processes import eventually, run, said, started

import dsm_native as dsm


@pytest.fixture(params=["threading", "key"])
def lock(request, region):
    """What both locks promise is tested on both."""
    return threading.Lock() if request.param == "threading" else region.lock("a")


def test_as_threading_lock(lock):
    assert lock.acquire() is True
    assert lock.locked()
    seen = []
    thread = threading.Thread(
        target=lambda: seen.extend([lock.acquire(False), lock.acquire(timeout=0.05)])
    )
    thread.start()
    thread.join()
    assert seen == [False, False]
    lock.release()
    assert not lock.locked()
    with lock:
        assert lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()
    for wrong in ({"blocking": False, "timeout": 1}, {"timeout": -2}):
        with pytest.raises(ValueError, match="time"):
            lock.acquire(**wrong)


def test_as_threading_lock_excludes_and_hands_over(lock):
    inside, order = [0], []

    def work(number):
        for _ in range(50):
            with lock:
                inside[0] += 1
                order.append(inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == [1] * 200


def test_owner_is_the_thread(region):
    lock = region.lock("a")
    with lock:
        with pytest.raises(dsm.UsageError, match="already"):
            lock.acquire()
        with pytest.raises(dsm.UsageError, match="already"):
            region.lock("a").acquire()
        errors = []

        def release():
            try:
                lock.release()
            except dsm.UsageError as error:
                errors.append(error)

        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
        assert len(errors) == 1
    with pytest.raises(dsm.UsageError):
        lock.release()


def test_keys_regions_and_values_are_apart(region, shared):
    other = shared.region("other of locks")
    with region.lock("a"), region.lock("b"), region.lock(("a", 1)), other.lock("a"):
        region["a"] = 1
        del region["a"]
    assert "other of locks" in shared.regions
    assert not any(name.startswith("\0") for name in shared.regions)
    with pytest.raises(dsm.UsageError):
        shared.region("\0locks")


def test_handles_pickle(region):
    copy = pickle.loads(pickle.dumps(region.lock(("a", 1))))
    with copy:
        assert region.lock(("a", 1)).locked()


def test_the_time_out_names_the_holder(region):
    with region.lock("a"):
        caught = []

        def wait():
            try:
                region.lock("a").acquire_within(0.05)
            except dsm.LockTimeoutError as error:
                caught.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert f"pid {os.getpid()}" in caught[0]
    with pytest.raises(dsm.UsageError):
        region.lock("a").acquire_within(-1)


HOLDER = """
import dsm_native as dsm, sys, time
cluster = dsm.attach(sys.argv[1])
cluster.default.lock("till").acquire()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_loses_it(cluster, how):
    lock = cluster.default.lock("till")
    with started(HOLDER, cluster.name) as holder:
        said(holder, "held")
        assert lock.locked()
        assert not lock.acquire(False)
        with pytest.raises(dsm.LockTimeoutError, match=str(holder.pid)):
            lock.acquire_within(0.05)
        deaths = []

        def note_death():
            select.select([descriptor], [], [])
            deaths.append(time.monotonic())

        descriptor = os.pidfd_open(holder.pid)
        noting = threading.Thread(target=note_death)
        noting.start()
        killer = threading.Timer(0.1, lambda: holder.send_signal(how))
        killer.start()
        assert lock.acquire(timeout=20)
        acquired = time.monotonic()
        noting.join()
        os.close(descriptor)
        # Told by the death, some hundred microseconds after it, not by the end of a slice.
        assert acquired - deaths[0] < 0.04
        assert lock.owner_died == holder.pid
        lock.release()
        killer.join()
    with lock:
        assert lock.owner_died is None
    assert cluster.check().clean


def test_a_stopped_holder_keeps_it_and_is_named(cluster):
    with started(HOLDER, cluster.name) as holder:
        said(holder, "held")
        os.kill(holder.pid, signal.SIGSTOP)
        eventually(lambda: "(stopped" in message(cluster), "the state is told")
        os.kill(holder.pid, signal.SIGCONT)


def message(cluster):
    with pytest.raises(dsm.LockTimeoutError) as caught:
        cluster.default.lock("till").acquire_within(0.01)
    return str(caught.value)


COUNTING = """
import dsm_native as dsm, os, signal, sys, time
cluster = dsm.attach(sys.argv[1])
region = cluster.default
lock = region.lock("count")
for number in range(1000):
    with lock:
        value = region["count"]
        if number == 30 and sys.argv[2] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        region["count"] = value + 1
    if number == 100:
        break
"""


def test_processes_count_under_the_lock_and_one_is_killed(cluster):
    cluster["count"] = 0
    with (
        started(COUNTING, cluster.name, "lives") as first,
        started(COUNTING, cluster.name, "dies") as second,
        started(COUNTING, cluster.name, "lives") as third,
    ):
        assert (first.wait(30), second.wait(30), third.wait(30)) == (0, -signal.SIGKILL, 0)
    assert cluster["count"] == 101 + 30 + 101
    assert not cluster.default.lock("count").locked()


def test_close_ends_an_acquire(name):
    cluster = dsm.Cluster(nodes=1, name=name)
    with started(HOLDER, name) as holder:
        said(holder, "held")
        threading.Timer(0.1, cluster.close).start()
        start = time.monotonic()
        with pytest.raises(dsm.ClosedError):
            cluster.default.lock("till").acquire()
        assert time.monotonic() - start < 10


FORKING = """
import os, sys
import dsm_native as dsm
with dsm.Cluster(nodes=1, name=sys.argv[1]) as cluster:
    lock = cluster.default.lock("a")
    lock.acquire()
    pid = os.fork()
    if pid == 0:
        try:
            lock.release()
        except dsm.ForkedError:
            print("refused", cluster.default.lock("a").acquire(False), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    lock.release()
    print(lock.locked())
"""


def test_a_forked_child_does_not_hold_it(name):
    result = run(FORKING, name)
    assert (result.returncode, result.stdout, result.stderr) == (0, "refused False\nFalse\n", "")
