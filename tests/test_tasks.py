"""What our executor does beyond the standard library's: values, places, nesting, endings."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from concurrent import futures

import numpy as np
import pytest
from processes import run

import dsm_native as dsm
from dsm_native._native.array_parcel import arrays_again
from dsm_native.outcomes import RemoteTraceback


def add(a, b=0, *, c=0):
    return a + b + c


def fail(text):
    raise LookupError(text)


def first_after(flag, value):
    deadline = time.monotonic() + 20
    while not os.path.exists(flag):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return value


def test_lambdas_closures_and_what_they_refer_to_are_never_stale(shared):
    with shared.executor() as pool:
        factor = 2
        by_cell = lambda x: x * factor  # noqa: E731
        assert pool.submit(by_cell, 4).result() == 8
        factor = 3
        assert pool.submit(by_cell, 4).result() == 12
        grown = []
        by_list = lambda: len(grown)  # noqa: E731
        assert pool.submit(by_list).result() == 0
        grown.append(1)
        assert pool.submit(by_list).result() == 1


def test_more_functions_than_nodes_keep(shared):
    with shared.executor() as pool:
        makers = [eval(f"lambda: {number}") for number in range(1200)]
        wanted = [pool.submit(maker) for maker in makers]
        assert [future.result() for future in wanted] == list(range(1200))
        assert pool.submit(makers[0]).result() == 0


def test_large_values_arrive_whole_and_arrays_read_only(shared):
    array = np.arange(200_000.0)
    with shared.executor() as pool:
        total, writeable = pool.submit(lambda a: (a.sum(), a.flags.writeable), array).result()
        assert (total, writeable) == (array.sum(), False)
        back = pool.submit(lambda n: np.full(n, 7.0), 100_000).result()
        assert back.sum() == 700_000
        assert not back.flags.writeable
        data = os.urandom(1_000_000)
        assert pool.submit(lambda a, b: a[::-1] + b, data, b=b"!").result() == data[::-1] + b"!"
        text = "x" * 300_000
        assert pool.submit(lambda t: t, text).result() == text
        nested = {"a": [array, array], "n": list(range(50_000))}
        result = pool.submit(lambda d: d, nested).result()
        assert result["a"][0] is result["a"][1]
        assert result["n"] == nested["n"]
        assert (result["a"][0] == array).all()
        big = pool.submit(lambda n: [bytes(n)] * 2, 40_000).result()
        assert big == [bytes(40_000)] * 2
    assert not list(parcels_of(shared))
    assert "\0parcels" not in shared.regions


def described(*args, **kwargs):
    """What a task sees of its arguments: type, dtype, order, shape, bytes, and who is who."""
    values = [*args, *kwargs.values()]
    seen = []
    for value in values:
        if isinstance(value, np.ndarray):
            order = (value.flags.c_contiguous, value.flags.f_contiguous)
            what = (value.dtype.str, value.dtype.fields, value.dtype.metadata, order, value.shape)
            content = value.tolist() if value.dtype.hasobject else value.tobytes()
            seen.append((type(value).__name__, what, content))
        else:
            seen.append(repr(value))
    alike = [next(i for i, other in enumerate(values) if other is value) for value in values]
    return seen, alike


class Tagged(np.ndarray):
    """A subclass, which only pickle can carry."""


LARGE_ARRAYS = {
    "one letter each": [np.arange(60_000).astype(letter) for letter in "?bBhHiIlLqQefdgFDG"],
    "orders": [
        np.arange(60_000.0).reshape(200, 300),
        np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
        np.arange(64_000.0).reshape(20, 2, 40, 40).transpose(3, 2, 1, 0),
        np.arange(60_000.0).reshape(1, 60_000, 1),
    ],
    "not contiguous": [np.arange(120_000.0)[::2], np.arange(60_000.0)[::-1]],
    "other types": [
        np.arange(60_000).astype(">f8"),
        np.zeros(20_000, [("a", "f8"), ("b", "i4")]),
        np.arange(60_000).astype("M8[s]"),
        np.full(20_000, "text"),
        np.zeros(60_000, np.dtype("f8", metadata={"unit": "m"})),
        np.arange(60_000.0).view(Tagged),
        np.array([{}, 1] * 30_000, dtype=object)[:9000],
    ],
}


@pytest.mark.parametrize("kind", LARGE_ARRAYS)
def test_an_array_arrives_as_a_pickle_of_it_would(shared, kind):
    with shared.executor() as pool:
        for array in LARGE_ARRAYS[kind]:
            wanted = described(pickle.loads(pickle.dumps(array, 5)))
            assert pool.submit(described, array).result() == wanted
            back = pool.submit(lambda value: value, array).result()
            assert described(back) == wanted
    assert not list(parcels_of(shared))


def test_arrays_among_other_arguments(shared):
    a, b = np.arange(60_000.0), np.arange(90_000).reshape(300, 300)
    many = [np.full(10_000, float(number)) for number in range(11)]
    calls = [
        ((a, 3), {}),
        ((1, a, "two", b, None), {"key": 4}),
        ((a, a), {}),
        ((a, b, a), {"again": a}),
        ((a,), {"b": b}),
        ((), {"a": a}),
        ((a, b"x" * 50_000, "y" * 50_000), {}),
        ((a, a[10:], b.T), {}),
        ((*many, "last"), {}),
    ]
    with shared.executor() as pool:
        for args, kwargs in calls:
            assert pool.submit(described, *args, **kwargs).result() == described(*args, **kwargs)
        alias = lambda x, y: (x is y[0], bool((x == y[0]).all()))  # noqa: E731
        assert pool.submit(alias, a, [a]).result() == (True, True)
        first, second = pool.map(lambda x, y: x[:2] + y, [a, b[0]], [1, 2])
        assert first.tolist() == [1, 2]
        assert second.tolist() == [2, 3]
        nested = lambda x: dsm.current().submit(np.negative, x).result()  # noqa: E731
        assert (pool.submit(nested, a).result() == -a).all()
    assert not list(parcels_of(shared))


def test_a_changed_array_arrives_as_it_is_at_each_submit(shared):
    array = np.zeros(60_000)
    with shared.executor() as pool:
        waiting = []
        for number in range(20):
            array[:] = number
            waiting.append(pool.submit(lambda x: (float(x.min()), float(x.max())), array))
        assert [one.result() for one in waiting] == [(n, n) for n in map(float, range(20))]


def test_a_description_that_is_cut_off_is_refused():
    array = np.arange(60_000.0)
    stored = memoryview(array.tobytes())
    sides = (60_000).to_bytes(8, "little")
    shape = array.nbytes.to_bytes(8, "little") + b"d\0\0\0" + b"\0\0" + b"\1\0"
    whole = b"\3\0" + b"\1\0" + b"\4\0\0\0" + b"key" + shape + sides + b"rest"
    (found,), rest = arrays_again(whole, stored)
    assert (found[0], rest) == (0, b"rest")
    assert (found[1] == array).all()
    for length in range(len(whole)):
        with pytest.raises(dsm.CorruptError):
            arrays_again(whole[:length], stored)
    with pytest.raises(TypeError):
        arrays_again(whole, stored[:-1])


def parcels_of(cluster):
    return cluster._scheduler.parcels.region


def test_large_exceptions_and_functions(shared):
    ballast = os.urandom(100_000)
    with pytest.raises(LookupError) as caught:
        shared.submit(lambda: fail(ballast)).result()
    assert caught.value.args == (ballast,)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert shared.submit(lambda: len(ballast)).result() == len(ballast)


def test_a_task_is_put_on_the_node_asked_for(shared):
    region = shared.region("placed")
    pids = {node.id: node.pid for node in shared.nodes}
    for node in pids:
        assert shared.submit(os.getpid, node=node).result() == pids[node]
        with shared.executor() as pool:
            assert pool.at(node=node).submit(os.getpid).result() == pids[node]
    asked = {shared.submit(os.getpid, near=key, region=region).result() for key in range(40)}
    assert asked == set(pids.values())
    assert len({shared.submit(os.getpid, near="one key").result() for _ in range(10)}) == 1
    for wrong in ({"node": 9}, {"node": 0, "near": 1}, {"node": True}):
        with pytest.raises(dsm.UsageError):
            shared.submit(os.getpid, **wrong)


def test_nobody_waits_behind_a_long_task(shared, tmp_path):
    flag = str(tmp_path / "go")
    with shared.executor() as pool:
        list(pool.map(add, range(2000)))  # windows are wide now
        long = [pool.submit(first_after, flag, 1) for _ in range(2)]
        short = [pool.submit(add, number) for number in range(200)]
        assert [future.result(timeout=20) for future in short] == list(range(200))
        assert not any(future.done() for future in long)
        open(flag, "w").close()
        assert [future.result(timeout=20) for future in long] == [1, 1]


def fibonacci(n):
    if n < 2:
        return n
    left = dsm.current().submit(fibonacci, n - 1)
    return fibonacci(n - 2) + left.result()


def test_tasks_may_wait_for_tasks_on_all_nodes_at_once(shared):
    before = set(parcels_of(shared))  # of large functions, which stay
    assert shared.submit(fibonacci, 9).result(timeout=60) == 34

    def outer(x):
        return sum(dsm.current().map(lambda y: y * x, range(20)))

    assert shared.map(outer, range(30)) == [190 * x for x in range(30)]

    def through_an_executor(x):
        with dsm.current().executor() as pool:
            large = pool.submit(lambda a: a * 2, np.ones(50_000)).result()
            return large.sum() + sum(pool.map(add, range(5)))

    assert shared.map(through_an_executor, range(4)) == [100_010] * 4
    with pytest.raises(LookupError, match="deep"):
        shared.submit(lambda: dsm.current().submit(fail, "deep").result()).result()
    assert set(parcels_of(shared)) <= before


def test_who_has_only_attached_is_told_so(shared):
    with dsm.attach(shared.name) as other:
        for call in (lambda: other.submit(abs, 1), other.executor, lambda: other.map(abs, [1])):
            with pytest.raises(dsm.UsageError, match="attached"):
                call()


def test_ends_of_the_cluster_end_everything(name, tmp_path):
    cluster = dsm.Cluster(nodes=1, name=name, stripes=64)
    pool = cluster.executor()
    wanted = [pool.submit(time.sleep, 60) for _ in range(5)]
    waiting = threading.Thread(target=lambda: futures.wait(wanted))
    waiting.start()
    cluster.close()
    waiting.join(10)
    assert not waiting.is_alive()
    for future in wanted:
        with pytest.raises(dsm.ClosedError):
            future.result(timeout=1)
    with pytest.raises(dsm.ClosedError):
        pool.submit(abs, 1)
    with pytest.raises(dsm.ClosedError):
        cluster.submit(abs, 1)
    pool.shutdown()


ENDINGS = {
    "waits as the standard library does": "f.add_done_callback(lambda f: print(f.result()))",
    "dropped": "del cluster, pool",
    "closed first": "cluster.close()",
    "in a thread": "import threading; threading.Thread(target=f.result).start()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_silently(name, ending):
    source = f"""
import dsm_native as dsm, time
cluster = dsm.Cluster(nodes=1, name={name!r}, stripes=64)
pool = cluster.executor()
f = pool.submit(lambda: (time.sleep(0.3), "done")[1])
{ENDINGS[ending]}
"""
    result = run(source)
    assert result.stderr == ""
    assert result.returncode == 0
    if ending.startswith("waits"):
        assert result.stdout == "done\n"


def test_idle_processes_use_no_processor(shared):
    assert shared.map(abs, [-1]) == [1]

    def used():
        return time.process_time() + sum(
            shared.submit(time.process_time, node=n).result() for n in range(3)
        )

    before, start = used(), time.monotonic()
    time.sleep(1)
    assert used() - before < 0.05 * 4 * (time.monotonic() - start)


def test_progress_bar(shared, capsys):
    assert shared.map(abs, range(-30, 0), progress=True) == list(range(30, 0, -1))
    shown = capsys.readouterr().err
    assert "30/30 tasks" in shown
    assert shown.endswith("\n")


def test_wrong_settings_are_refused(shared):
    for wrong in ({"retries": -1}, {"retries": 1.5}, {"task_timeout": 0}, {"task_timeout": "1"}):
        with pytest.raises(dsm.UsageError):
            shared.executor(**wrong)
        with pytest.raises(dsm.UsageError):
            shared.map(abs, [1], **wrong)


def test_python_is_new_enough_for_buffersize(shared):
    with shared.executor() as pool:
        taken = []
        numbers = (taken.append(n) or n for n in range(100))
        results = pool.map(add, numbers, buffersize=5)
        assert [next(results) for _ in range(10)] == list(range(10))
        assert len(taken) <= 15
        results.close()
    assert sys.version_info >= (3, 11)
