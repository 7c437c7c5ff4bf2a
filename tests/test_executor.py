"""The executor beside the standard library's: one body of expectations, run on both."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from concurrent import futures
from functools import partial

import pytest
from processes import eventually

import dsm_native as dsm

# Forked from a process of many threads, as this one is, a pool of the standard library may hang.
CLEAN = multiprocessing.get_context("forkserver")


def add(a, b=0, *, c=0):
    return a + b + c


def fail(text):
    raise LookupError(text)


def sleep_then(seconds, value):
    time.sleep(seconds)
    return value


def first_after(flag, value):
    deadline = time.monotonic() + 20
    while not os.path.exists(flag):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return value


def set_up(value):
    os.environ["EXECUTOR_TEST"] = value


def look_up(_):
    return os.environ.get("EXECUTOR_TEST")


def refuse():
    raise ValueError("will not start")


def kill_me(_=None):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=["ours", "standard library"])
def make(request, shared):
    """Makes an executor of either kind."""
    if request.param == "ours":
        return shared.executor
    return partial(futures.ProcessPoolExecutor, max_workers=2, mp_context=CLEAN)


@pytest.fixture(params=["ours", "standard library"])
def pool(request, shared):
    made = shared.executor() if request.param == "ours" else futures.ProcessPoolExecutor(2, CLEAN)
    with made as opened:
        yield opened


def test_submit_passes_all_arguments(pool):
    assert pool.submit(add, 1).result() == 1
    assert pool.submit(add, 1, 2).result() == 3
    assert pool.submit(add, 1, b=2, c=3).result() == 6
    assert pool.submit(add, a=1).result(timeout=20) == 1
    assert isinstance(pool.submit(add, 1), futures.Future)
    assert isinstance(pool, futures.Executor)
    with pytest.raises(TypeError):
        pool.submit()


def test_an_exception_has_its_type_arguments_and_remote_cause(pool):
    future = pool.submit(fail, "told")
    assert isinstance(future.exception(), LookupError)
    with pytest.raises(LookupError, match="told") as caught:
        future.result()
    assert "in fail" in str(caught.value.__cause__)
    assert future.done()
    assert not future.cancel()


def test_map_is_an_ordered_lazy_iterator(pool):
    assert list(pool.map(add, range(50))) == list(range(50))
    assert list(pool.map(add, range(5), range(10, 20))) == [10, 12, 14, 16, 18]
    assert list(pool.map(add, range(23), chunksize=5)) == list(range(23))
    assert list(pool.map(add, [])) == []
    results = pool.map(int, ["1", "2", "x", "4"])
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="invalid literal"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(add, [1], chunksize=0)


def test_time_outs(pool, tmp_path):
    flag = str(tmp_path / "go")
    future = pool.submit(first_after, flag, 5)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    results = pool.map(partial(first_after, flag), [1, 2], timeout=0.1)
    with pytest.raises(TimeoutError):
        list(results)
    open(flag, "w").close()
    assert future.result(timeout=20) == 5


def test_waiting_for_many(pool):
    wanted = [pool.submit(sleep_then, 0.01, number) for number in range(6)]
    assert sorted(future.result() for future in futures.as_completed(wanted)) == list(range(6))
    done, not_done = futures.wait(wanted, timeout=20)
    assert (len(done), len(not_done)) == (6, 0)
    wanted = [pool.submit(sleep_then, 0.01, 1), pool.submit(fail, "x")]
    done, _ = futures.wait(wanted, return_when=futures.FIRST_EXCEPTION, timeout=20)
    assert any(future.exception() for future in done)


def test_callbacks_get_the_future_and_may_submit(pool):
    told, over = [], threading.Event()

    def note(future):
        told.append(future.result())
        over.set()

    first = pool.submit(add, 4)
    first.add_done_callback(
        lambda future: pool.submit(add, future.result()).add_done_callback(note)
    )
    assert over.wait(20)
    assert told == [4]
    first.add_done_callback(note)
    assert told == [4, 4]


def test_queued_tasks_can_be_cancelled_and_running_ones_not(pool, tmp_path):
    flag = str(tmp_path / "go")
    busy = [pool.submit(first_after, flag, number) for number in range(8)]
    eventually(lambda: busy[0].running(), "it runs")
    last = busy[-1]
    assert last.cancel()
    assert last.cancel()
    assert last.cancelled()
    assert last.done()
    with pytest.raises(futures.CancelledError):
        last.result()
    assert not busy[0].cancel()
    open(flag, "w").close()
    assert [future.result(timeout=20) for future in busy[:-1]] == list(range(7))
    assert last in futures.wait(busy, timeout=20).done


def test_after_shutdown_nothing_is_taken_and_everything_is_done(make):
    pool = make()
    wanted = [pool.submit(sleep_then, 0.02, number) for number in range(6)]
    pool.shutdown()
    assert all(future.done() for future in wanted)
    assert [future.result() for future in wanted] == list(range(6))
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(add, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(add, [1])
    pool.shutdown()


def test_shutdown_may_cancel_and_need_not_wait(make, tmp_path):
    pool, flag = make(), str(tmp_path / "go")
    wanted = [pool.submit(first_after, flag, number) for number in range(30)]
    eventually(lambda: wanted[0].running(), "it runs")
    pool.shutdown(wait=False, cancel_futures=True)
    eventually(lambda: wanted[-1].cancelled(), "the last one is cancelled")
    open(flag, "w").close()
    assert wanted[0].result(timeout=20) == 0


def test_an_initializer_runs_before_the_first_task(make):
    with make(initializer=set_up, initargs=("blue",)) as pool:
        assert set(pool.map(look_up, range(20))) == {"blue"}
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(initializer=3)


def test_a_failing_initializer_breaks_the_executor(make):
    with make(initializer=refuse) as pool:
        future = pool.submit(add, 1)
        with pytest.raises(futures.BrokenExecutor):
            future.result(timeout=20)
        with pytest.raises(futures.BrokenExecutor):
            pool.submit(add, 1).result(timeout=20)


def test_a_map_too_breaks_an_executor_whose_initializer_fails(make):
    pool = make(initializer=refuse)
    with pytest.raises(futures.BrokenExecutor):
        list(pool.map(abs, [1, 2, 3]))
    with pytest.raises(futures.BrokenExecutor):
        pool.submit(abs, 1)
    pool.shutdown()


def test_asyncio_can_run_in_it(pool):
    async def ask():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, add, n, 1) for n in range(20)))

    assert asyncio.run(ask()) == list(range(1, 21))


def test_threads_submit_and_wait_together(pool):
    failures = []

    def work(start):
        try:
            wanted = [pool.submit(add, start, n) for n in range(50)]
            assert [future.result(timeout=30) for future in wanted] == [
                start + n for n in range(50)
            ]
            assert list(pool.map(add, range(20))) == list(range(20))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_a_wait_for_a_long_task_makes_no_other_thread_wait(shared, tmp_path):
    # The thread that waits for the long task is the one that takes in what comes.
    flag = str(tmp_path / "go on")
    with shared.executor() as pool:
        long = pool.submit(first_after, flag, 0)
        leader = threading.Thread(target=long.result)
        leader.start()
        time.sleep(0.1)
        start = time.monotonic()
        for number in range(100):
            assert pool.submit(abs, -number).result() == number
            assert shared.map(abs, [-number]) == [number]
        elapsed = time.monotonic() - start
        open(flag, "w").close()
        leader.join()
    assert elapsed < 3  # each wait was a slice of 50 ms once


def test_a_module_path_that_changes_later_reaches_the_nodes(shared, tmp_path, monkeypatch):
    (tmp_path / "came_later.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import came_later

    with shared.executor() as pool:
        assert pool.submit(came_later.double, 4).result(timeout=20) == 8
        assert list(pool.map(came_later.double, range(5))) == [0, 2, 4, 6, 8]


def test_a_forked_child_neither_takes_results_nor_waits_for_them(shared, tmp_path):
    """A child that took its parent's results in would leave the parent waiting for ever."""
    flag = tmp_path / "go"
    pool = shared.executor()
    future = pool.submit(first_after, str(flag), "for the parent")
    child = multiprocessing.get_context("fork").Process(target=ask_in_child, args=(pool, future))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    flag.touch()
    assert future.result(timeout=20) == "for the parent"
    pool.shutdown()


def ask_in_child(pool, future):
    for ask in (partial(pool.submit, add, 1), partial(future.result, timeout=5)):
        try:
            ask()
        except dsm.ForkedError:
            continue
        os._exit(1)
