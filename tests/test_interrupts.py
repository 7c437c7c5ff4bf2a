"""Ctrl-C at any instant, of an executor's use or within locks: nothing is lost or stays taken."""

from __future__ import annotations

import pytest
from processes import run

SCRIPT = """
import dsm_native as dsm, os, random, signal, sys, threading, time
from concurrent import futures

signal.signal(signal.SIGINT, signal.default_int_handler)
name, seed = sys.argv[1:]
draw = random.Random(seed)
problems = []

def others(pool, over):
    # Threads that signals do not reach: by result(), by wait(), by callbacks, by map().
    while not over.is_set():
        asked = [pool.submit(abs, -number) for number in range(5)]
        if len(futures.wait(asked, timeout=20).done) != 5:
            problems.append("wait")
        told = threading.Event()
        pool.submit(abs, -1).add_done_callback(lambda _: told.set())
        if not told.wait(20):
            problems.append("callback")
        if pool.submit(abs, -7).result(20) != 7 or list(pool.map(abs, [-1, -2])) != [1, 2]:
            problems.append("result")

def until_interrupted(step):
    try:
        while True:
            step()
    except KeyboardInterrupt:
        pass

def work(pool, cluster):
    steps = [
        lambda: pool.submit(abs, -3).result(),
        lambda: cluster.map(abs, range(50)),
        lambda: [future.result() for future in [pool.submit(abs, 1) for _ in range(20)]],
        lambda: futures.wait([pool.submit(abs, 1) for _ in range(5)]),
        lambda: pool.submit(len, bytes(100_000)).result(),
    ]
    for _ in range(60):
        def interrupt():
            time.sleep(draw.random() * 0.02)
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            until_interrupted(draw.choice(steps))
            thread.join()
        except KeyboardInterrupt:  # it came a moment too early or late for the one above
            thread.join()
        if pool.submit(abs, -9).result(20) != 9 or cluster.map(abs, [-1]) != [1]:
            problems.append("afterwards")

with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
    with cluster.executor() as pool:
        over = threading.Event()
        threads = [threading.Thread(target=others, args=(pool, over)) for _ in range(2)]
        for thread in threads:
            thread.start()
        work(pool, cluster)
        over.set()
        for thread in threads:
            thread.join(30)
            if thread.is_alive():
                problems.append("a thread hangs")
print(problems)
os._exit(0) if problems else None
"""


@pytest.mark.parametrize("seed", range(3))
def test_interrupts_lose_nothing_and_lock_nothing(name, seed):
    result = run(SCRIPT, name, str(seed))
    assert (result.stdout, result.stderr, result.returncode) == ("[]\n", "", 0)


HOLDERS = """
import dsm_native as dsm, os, random, signal, sys, threading, time

signal.signal(signal.SIGINT, signal.default_int_handler)
name, seed = sys.argv[1:]
draw = random.Random(seed)

def forever(step):
    try:
        while True:
            step()
    except KeyboardInterrupt:
        pass

with dsm.Cluster(nodes=1, name=name, stripes=64) as cluster:
    shop = cluster.region("shop")
    guards = {
        "lock": cluster.lock("a"),
        "semaphore": cluster.semaphore("a"),
        "condition": cluster.condition("b"),
        "key": shop.lock("a"),
    }

    def held(kind, guard):
        def hold():
            with guard:
                pass
        return hold

    problems = []
    for _ in range(120):
        kind = draw.choice(list(guards))
        def interrupt():
            time.sleep(draw.random() * 0.004)
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            forever(held(kind, guards[kind]))
            thread.join()
        except KeyboardInterrupt:
            thread.join()
        got = []
        def look():
            got.append(guards[kind].acquire(timeout=5))
            if got[0]:
                guards[kind].release()
        other = threading.Thread(target=look)
        other.start()
        other.join()
        if got != [True]:
            problems.append(kind)
            break
print(problems)
"""


@pytest.mark.parametrize("seed", range(2))
def test_interrupts_leave_nothing_taken(name, seed):
    result = run(HOLDERS, name, str(seed))
    assert (result.stdout, result.stderr, result.returncode) == ("[]\n", "", 0)
