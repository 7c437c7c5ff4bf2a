"""Locks, semaphores and queues by name: one operation of one process, beside multiprocessing's."""

import itertools
import multiprocessing
import queue
import threading

import pytest
from sync import ITEM, take_turns

import dsm_native as dsm

COUNT = 1000
serial = itertools.count()


@pytest.fixture(scope="module")
def cluster():
    with dsm.Cluster(nodes=1) as opened:
        yield opened


LOCKS = {
    "dsm_native": lambda cluster: cluster.lock(f"lock {next(serial)}"),
    "dsm_native, re-entrant": lambda cluster: cluster.lock(f"lock {next(serial)}", reentrant=True),
    "dsm_native, semaphore": lambda cluster: cluster.semaphore(f"semaphore {next(serial)}"),
    "multiprocessing": lambda cluster: multiprocessing.Lock(),
    "multiprocessing, semaphore": lambda cluster: multiprocessing.Semaphore(),
    "threading": lambda cluster: threading.Lock(),
}
QUEUES = {
    "dsm_native": lambda cluster: cluster.queue(f"queue {next(serial)}"),
    "dsm_native, acknowledged": lambda cluster: cluster.queue(f"queue {next(serial)}", 1024, True),
    "multiprocessing": lambda cluster: multiprocessing.Queue(1024),
    "queue.Queue": lambda cluster: queue.Queue(1024),
}


@pytest.mark.benchmark(group="take a lock and give it back, a thousand times")
@pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)
def test_lock(benchmark, cluster, make):
    benchmark.pedantic(take_turns, (make(cluster), COUNT), rounds=50, warmup_rounds=2)


@pytest.mark.benchmark(group="put 64 B and get it, a thousand times")
@pytest.mark.parametrize("make", QUEUES.values(), ids=QUEUES)
def test_put_and_get(benchmark, cluster, make):
    made = make(cluster)
    done = made.task_done if getattr(made, "acknowledge", False) else int

    def loop():
        for _ in range(COUNT):
            made.put(ITEM)
            made.get()
            done()

    benchmark.pedantic(loop, rounds=20, warmup_rounds=1)
