"""Tasks of tasks, however their submitter waits for them: each way of waiting that the standard
library has, in any thread of the task, deep, wide, and beside tasks that wait for nobody.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent import futures

import pytest

import dsm_native as dsm


def later(value):
    time.sleep(0.01)
    return value


def by_as_completed(count):
    with dsm.current().executor() as pool:
        asked = [pool.submit(later, number) for number in range(count)]
        return sorted(future.result() for future in futures.as_completed(asked, timeout=20))


def by_wait(count):
    asked = [dsm.current().submit(later, number) for number in range(count)]
    done, open_still = futures.wait(asked, timeout=20)
    assert not open_still
    return sorted(future.result() for future in done)


def by_event_loop(count):
    async def ask():
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(pool, later, number) for number in range(count))
        return await asyncio.wait_for(asyncio.gather(*calls), 20)

    with dsm.current().executor() as pool:
        return asyncio.run(ask())


def by_callbacks(count):
    told, got = threading.Semaphore(0), []

    def heard(future):
        got.append(dsm.current().submit(later, future.result()).result(20))
        told.release()

    for number in range(count):
        dsm.current().submit(later, number).add_done_callback(heard)
    assert all(told.acquire(timeout=20) for _ in range(count))
    return sorted(got)


def by_threads(count):
    got = []

    def ask(number):
        got.append(dsm.current().submit(later, number).result(20))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return sorted(got)


WAYS = [by_as_completed, by_wait, by_event_loop, by_callbacks, by_threads]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_waiting_for_tasks_works_in_tasks(shared, way):
    assert shared.submit(way, 12).result(timeout=60) == list(range(12))
    assert shared.map(way, [4] * 9) == [list(range(4))] * 9  # all nodes wait at once
    assert shared.map(abs, range(-20, 0)) == list(range(20, 0, -1))


def tree(depth):
    if depth == 0:
        return 1
    asked = [dsm.current().submit(tree, depth - 1) for _ in range(2)]
    futures.wait(asked)
    return sum(future.result() for future in asked)


def threads_meanwhile(_):
    time.sleep(0.005)
    return threading.active_count()


def widest(count):
    asked = [dsm.current().submit(threads_meanwhile, number) for number in range(count)]
    return max(future.result() for future in futures.as_completed(asked))


def test_threads_are_as_many_as_tasks_are_deep_and_not_as_they_are_many(shared):
    assert shared.submit(tree, 6).result(timeout=60) == 64
    assert shared.submit(widest, 100).result(timeout=60) < 12


def for_ever():
    asked = [dsm.current().submit(for_ever)]
    futures.wait(asked)
    return asked[0].result()


def test_tasks_that_ask_without_end_end(shared):
    with pytest.raises(dsm.UsageError, match="100 deep"):
        shared.submit(for_ever).result(timeout=60)


def down(depth):
    return depth and 1 + dsm.current().submit(down, depth - 1, node=1).result(20)


def test_tasks_may_ask_for_tasks_on_their_own_node(shared):
    assert shared.submit(down, 20, node=1).result(timeout=60) == 20


def test_no_task_of_a_task_waits_behind_one_that_waits_for_nobody(shared, tmp_path):
    flag = str(tmp_path / "go on")

    def stay():
        while not os.path.exists(flag):
            time.sleep(0.01)

    long = [shared.submit(stay, node=number) for number in (0, 1)]
    try:
        assert shared.submit(by_wait, 12, node=2).result(timeout=20) == list(range(12))
    finally:
        open(flag, "w").close()
    futures.wait(long, timeout=20)


def test_a_thread_that_outlives_its_task_gets_its_answer(shared):
    answers = shared.region("answers")

    def begin():
        def ask():
            dsm.current().region("answers")["late"] = dsm.current().submit(later, 7).result(20)

        threading.Thread(target=ask).start()

    shared.submit(begin).result(timeout=20)
    assert answers.wait("late", newer_than=0, timeout=20)[0] == 7


def test_an_initializer_runs_once_however_many_threads_run_tasks(shared):
    counts = shared.region("initializers")

    def prepare():
        time.sleep(0.1)
        dsm.current().region("initializers").add(os.getpid())

    def ask():
        with dsm.current().executor(initializer=prepare) as pool:
            asked = [pool.submit(later, number) for number in range(30)]
            return len(list(futures.as_completed(asked, timeout=20)))

    assert shared.submit(ask).result(timeout=60) == 30
    assert set(counts.values()) == {1}


def test_what_failed_in_an_initializer_is_told_to_a_task(shared):
    def prepare():
        raise ValueError("out of paint")

    def ask():
        with (
            dsm.current().executor(initializer=prepare) as pool,
            pytest.raises(dsm.InitializerError, match="\\nValueError: out of paint\n"),
        ):
            pool.submit(abs, -1).result(timeout=20)

    shared.submit(ask).result(timeout=60)


def queued_ones_are_cancelled(count):
    with dsm.current().executor() as pool:
        asked = [pool.submit(time.sleep, 0.2) for _ in range(count)]
        time.sleep(0.1)
        cancelled = [future.cancel() for future in asked]
        assert [future.cancelled() for future in asked] == cancelled
        done, _ = futures.wait(asked, timeout=20)
        assert len(done) == count
    return cancelled.count(True)


def closed_map(count):
    with dsm.current().executor() as pool:
        results = pool.map(lambda x: time.sleep(0.05) or x, range(count))
        assert next(results) == 0
        results.close()
    with dsm.current().executor() as pool, pytest.raises(ZeroDivisionError):
        list(pool.map(lambda x: time.sleep(0.05) or 1 / x, range(count)))
    pool = dsm.current().executor()
    asked = [pool.submit(time.sleep, 0.05) for _ in range(count)]
    pool.shutdown(cancel_futures=True)
    assert all(future.done() for future in asked)
    return True


def test_tasks_of_tasks_can_be_cancelled(shared):
    assert shared.submit(queued_ones_are_cancelled, 40).result(timeout=60) >= 30
    start = time.monotonic()
    assert shared.submit(closed_map, 300).result(timeout=60)
    assert time.monotonic() - start < 10  # all 900 tasks would take 15 s on three nodes
    assert shared.map(abs, range(-20, 0)) == list(range(20, 0, -1))


def test_a_cluster_may_be_closed_while_tasks_wait_for_tasks(name):
    def wait():
        futures.wait([dsm.current().submit(time.sleep, 30) for _ in range(6)])

    with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
        pool = cluster.executor()
        waiting = [pool.submit(wait), pool.submit(abs, -1)]
        assert waiting[1].result(20) == 1
        time.sleep(0.3)
    with pytest.raises(dsm.ClosedError):
        waiting[0].result(20)
