"""Shared arrays: what they hold, who sees it, who waits for whom, what they turn down."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import eventually, fresh_name, run, said, segments_of, started

import dsm_native as dsm

SHAPES = [(), (1,), (7,), (0,), (3, 0, 2), (40, 30), (2, 3, 4, 5)]
DTYPES = ["f8", "i1", "?", ">u2", "c16", "S5", "U3", "M8[s]", "V6", [("a", "<i4"), ("b", "f8", 2)]]
DTYPES.append(np.dtype([("a", "i1"), ("b", "f8")], align=True))


@pytest.fixture(scope="module")
def shared():
    """One cluster for the tests that only use an array of their own."""
    with dsm.Cluster(nodes=3, replication_factor=3, name=fresh_name(), stripes=64) as opened:
        yield opened
        assert opened.arrays == []
        assert opened.check().clean


@pytest.fixture
def cluster(name):
    """A cluster of its own, whose waits are short: stopped holders are waited out."""
    with dsm.Cluster(nodes=3, replication_factor=3, name=name, stripes=64) as opened:
        opened._handle.lock_timeout = 0.3
        yield opened


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    return f"a{abs(hash(request.node.name)) % 10**12}"


def sample(shape, dtype) -> np.ndarray:
    """Any bytes at all are elements of these types, but for booleans."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    limit = 2 if dtype == "?" else 120
    raw = (np.arange(count) % limit).astype(np.uint8)
    return np.ndarray(shape, dtype, raw.tobytes())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shapes_types_and_orders(shared, label, shape, dtype, order):
    array = shared.array(label, shape, dtype, order=order)
    values = sample(shape, dtype)
    assert (array.shape, array.dtype, array.order) == (shape, np.dtype(dtype), order)
    with array.writing() as block:
        block[...] = values
    for seen in (array.snapshot(), np.asarray(array), np.asarray(shared.array(label))):
        assert (seen.shape, seen.dtype) == (shape, np.dtype(dtype))
        if np.dtype(dtype).isalignedstruct:  # numpy leaves the gaps between fields alone
            assert (seen == values).all()
        else:
            assert seen.tobytes() == values.tobytes()
    whole = np.asarray(array)
    assert whole.flags.c_contiguous if order == "C" else whole.flags.f_contiguous
    assert whole.flags.writeable
    array.delete()


def test_memory_is_shared_and_outlives_everything(name):
    with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
        array = cluster.array("grid", (100, 100), "i4")
        seen = np.asarray(array)
        seen[5] = 7
        assert cluster.map(lambda a: int(np.asarray(a)[5].sum()), [array]) == [700]
        source = (
            "import dsm_native as dsm, numpy as np, sys\n"
            "np.asarray(dsm.attach(sys.argv[1]).array('grid'))[6] = 8\n"
        )
        assert run(source, name).returncode == 0
        assert seen[6].sum() == 800
        array.delete()
        assert not [found for found in segments_of(name) if "-a" in found]
        seen[7] = 9
        with pytest.raises(dsm.KeyNotFoundError):
            array.snapshot()
        other = np.asarray(cluster.array("grid", 10))
    assert (seen[5:8].sum(), other.sum()) == (2400, 0)
    del seen, other
    gc.collect()


def test_names_and_settings(shared, label):
    with pytest.raises(dsm.KeyNotFoundError):
        shared.array(label)
    array = shared.array(label, (10, 4), "f4", tile_rows=3, replication_factor=1)
    assert label in shared.arrays
    assert (array.tile_rows, array.replication_factor, array.undo) == (3, 1, True)
    same = shared.array(label, (10, 4), "f4", tile_rows=3, replication_factor=1, undo=True)
    assert np.shares_memory(np.asarray(same), np.asarray(same))
    for wrong in (
        {"shape": (10, 5)},
        {"dtype": "f8"},
        {"order": "F"},
        {"tile_rows": 4},
        {"replication_factor": 3},
        {"undo": False},
    ):
        with pytest.raises(dsm.UsageError, match=next(iter(wrong))):
            shared.array(label, **wrong)
    for wrong in (
        {"shape": (-1,)},
        {"shape": "ab"},
        {"shape": 1.5},
        {"shape": 2, "dtype": object},
        {"shape": 2, "dtype": "(2,3)f8"},
        {"shape": 2, "order": "A"},
        {"shape": 2, "tile_rows": 0},
        {"shape": 2, "replication_factor": 4},
        {"shape": 1 << 60},
    ):
        with pytest.raises(dsm.UsageError):
            shared.array(label + "x", **wrong)
    with pytest.raises(dsm.UsageError):
        shared.array("", 3)
    assert repr(array) == f"<Array {label!r} of cluster {shared.name!r}>"
    assert (array.ndim, array.size, array.nbytes, len(array)) == (2, 40, 160, 10)
    array.delete()


def test_a_handle_pickles_and_attaches_where_it_arrives(shared, label):
    array = shared.array(label, (6, 5))
    again = pickle.loads(pickle.dumps(array))
    np.asarray(array)[2] = 3
    assert np.asarray(again)[2].sum() == 15
    sums = shared.map(lambda pair: float(pair[0].snapshot(pair[1]).sum()), [(array, 2), (array, 3)])
    assert sums == [15, 0]
    array.delete()


def add_one(array, row) -> None:
    with array.writing(row) as block:
        block += 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_users_own_processes_get_arrays_as_arguments(shared, label, method):
    array = shared.array(label, (4, 8), "i8")
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=add_one, args=(array, 2)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert np.asarray(array).sum(axis=1).tolist() == [0, 0, 16, 0]
    array.delete()


# ---- blocks -------------------------------------------------------------------------------------


def indices(shape):
    """Basic indices: what numpy gives views for."""
    ints = [st.integers(-size, size - 1) if size else st.nothing() for size in shape]
    parts = [st.one_of(st.slices(size), own) for size, own in zip(shape, ints, strict=True)]
    full = st.tuples(*parts)
    return st.one_of(
        full, full.flatmap(lambda index: st.integers(0, len(index)).map(lambda n: index[:n])),
        st.just(...), full.map(lambda index: (..., index[-1])),
        full.map(lambda index: (None, *index)),
    )  # fmt: skip


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("replicas", [1, 3])
def test_blocks_against_a_plain_array(shared, order, replicas):
    shape = (9, 7, 300)
    array = shared.array(
        f"twin{order}{replicas}", shape, "i4", order=order, tile_rows=2, replication_factor=replicas
    )
    twin = np.zeros(shape, "i4", order=order)
    serial = iter(range(1, 10**9))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("wefrs"), indices(shape)), max_size=6))
    def steps(plan):
        for kind, index in plan:
            value = next(serial)
            if kind == "w":
                with array.writing(index) as block:
                    assert block.shape == twin[index].shape
                    block[...] = value
                twin[index] = value
            elif kind == "e":
                with contextlib.suppress(ZeroDivisionError), array.writing(index) as block:
                    block[...] = value
                    raise ZeroDivisionError
            elif kind == "f":
                array.copy_from(value, index)
                twin[index] = value
            elif kind == "r":
                with array.reading(index) as block:
                    assert not block.flags.writeable
                    assert (block == twin[index]).all()
            else:
                copy = array.snapshot(index)
                assert copy.shape == twin[index].shape
                assert (copy == twin[index]).all()
                copy[...] = -1
        assert (array.snapshot() == twin).all()

    steps()
    assert array.check() == (0, 0, [])
    array.delete()


def test_a_block_is_left_as_it_was_on_any_exception(shared, label):
    for replicas in (1, 2):
        array = shared.array(label, (100, 1000), replication_factor=replicas, tile_rows=10)
        array.fill(4)
        np.asarray(array)[50] = 5  # raw, and yet it is what the block began with
        before = array.versions()
        with contextlib.suppress(KeyboardInterrupt), array.writing(slice(45, 55)) as block:
            block[:] = 9
            raise KeyboardInterrupt
        assert (array.snapshot()[50] == 5).all()
        assert (np.delete(array.snapshot(), 50, 0) == 4).all()
        assert [new > old for new, old in zip(array.versions(), before, strict=True)] == [
            4 <= tile <= 5 for tile in range(10)
        ]
        with pytest.raises(ValueError, match="read-only"):
            block[0, 0] = 1
        array.delete()


def test_what_blocks_turn_down(shared, label):
    array = shared.array(label, (10, 10))
    for index in ([1, 2], np.array([True] * 10), True, "field", 1.5, (slice(None), [0])):
        with pytest.raises(dsm.UsageError, match="views"):
            array.writing(index)
    with pytest.raises(IndexError), array.writing(10):
        pass
    with pytest.raises(TypeError, match="snapshot"):
        array[3]
    with array.writing(0):
        for second in (array.writing(9), array.reading(9)):
            with pytest.raises(dsm.UsageError, match="open already"), second:
                pass
        with pytest.raises(dsm.UsageError, match="open already"):
            array.resize((5, 5))
    block = array.writing(0)
    with block:
        pass
    with pytest.raises(dsm.UsageError, match="one `with`"), block:
        pass
    array.fill(1)
    array.delete()


def test_a_snapshot_during_a_block_shows_what_was_before(shared, label):
    for replicas in (1, 2, 3):
        array = shared.array(label, (64, 512), replication_factor=replicas, tile_rows=4)
        array.fill(1)
        with array.writing(slice(10, 50)) as block:
            block[:] = 2
            assert (array.snapshot() == 1).all()
            assert (array.snapshot((slice(8, 12), slice(None, None, 7))) == 1).all()
            assert np.asarray(array)[10, 0] == 2  # raw
        assert array.snapshot().sum() == 512 * (40 * 2 + 24)
        array.delete()


def in_thread(action):
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_writers_wait_for_readers_and_their_time_out_names_them(shared, label):
    array = shared.array(label, (16, 16), tile_rows=4)
    outcome = []

    def write(rows, timeout):
        try:
            with array.writing(rows, timeout=timeout) as block:
                block[:] = 1
            outcome.append("written")
        except dsm.LockTimeoutError as error:
            outcome.append(str(error))

    with array.reading(slice(0, 8)) as held, array_of(shared, label).reading_elsewhere():
        in_thread(lambda: write(slice(8, 16), 5)).join()
        in_thread(lambda: write(slice(7, 9), 0.1)).join()
        waiting = in_thread(lambda: write(slice(0, 2), 10))
        assert not held.any()
    waiting.join()
    assert outcome[0] == outcome[2] == "written"
    assert f"pid {os.getpid()}" in outcome[1]
    assert "being read" in outcome[1]
    array.delete()


class array_of:  # noqa: N801
    """Another thread's reading of another part, which must not matter."""

    def __init__(self, cluster, label):
        self.array = cluster.array(label)

    @contextlib.contextmanager
    def reading_elsewhere(self):
        inside, done = threading.Event(), threading.Event()

        def read():
            with self.array.reading(slice(0, 4)):
                inside.set()
                done.wait(10)

        thread = in_thread(read)
        assert inside.wait(10)
        done.set()
        thread.join()
        yield


HOLDER = """
import dsm_native as dsm, sys
array = dsm.attach(sys.argv[1]).array("grid")
with getattr(array, sys.argv[2])(slice(0, 8)) as block:
    if sys.argv[2] == "writing":
        block[:] = 99
    print("inside", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


@pytest.mark.parametrize("kind", ["writing", "reading"])
def test_a_stopped_holder_is_named_and_goes_on_afterwards(cluster, kind):
    array = cluster.array("grid", (16, 16), tile_rows=4)
    with started(HOLDER, cluster.name, kind) as holder:
        said(holder, "inside")
        holder.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(dsm.LockTimeoutError, match=f"pid {holder.pid}.*stopped"):
            array.fill(1)
        with pytest.raises(dsm.LockTimeoutError), array.writing(7, timeout=0.1):
            pass
        with array.writing(8, timeout=5) as block:  # another tile
            block[:] = 5
        assert array.snapshot(slice(0, 8)).sum() == 0
        assert time.monotonic() - start < 30
        holder.send_signal(signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        said(holder, "out")
    assert array.snapshot(slice(0, 8)).sum() == (99 * 128 if kind == "writing" else 0)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_killed_writer_is_undone_for_the_next_and_for_snapshots(cluster, replicas):
    array = cluster.array("grid", (16, 16), tile_rows=4, replication_factor=replicas)
    array.fill(3)
    for turn in range(4):
        with started(HOLDER, cluster.name, "writing") as holder:
            said(holder, "inside")
            assert np.asarray(array)[0, 0] == 99
            holder.kill()
            if turn % 2:
                holder.wait()
                eventually(lambda: (np.asarray(array) == 3).all(), "a service thread restores")
            else:
                with array.writing(slice(4, 6), timeout=5) as block:
                    assert (block == 3).all()
            assert (array.snapshot() == 3).all()
    assert array.check() == (0, 0, [])


def test_without_undo_the_next_holder_is_told(cluster):
    for replicas in (1, 2):
        array = cluster.array(
            "grid", (16, 16), tile_rows=4, replication_factor=replicas, undo=False
        )
        array.fill(3)
        with started(HOLDER, cluster.name, "writing") as holder:
            said(holder, "inside")
            holder.kill()
        for use in (array.writing, array.reading):
            with pytest.raises(dsm.TornWriteError, match=f"pid {holder.pid}") as caught, use(5):
                pass
            assert caught.value.tiles == (0, 1)
        with pytest.raises(dsm.TornWriteError):
            array.snapshot()
        assert (array.snapshot(slice(8, 16)) == 3).all()
        assert array.torn() == {0: holder.pid, 1: holder.pid}
        array.accept([0])
        assert (array.snapshot(slice(0, 4)) == 99).all()
        if replicas == 1:
            with pytest.raises(dsm.UsageError, match="nothing to restore from"):
                array.restore()
            array.accept()
        else:
            array.restore()
            assert (array.snapshot(slice(4, 8)) == 3).all()
        assert array.torn() == {}
        assert array.check() == (0, 0, [])
        with contextlib.suppress(ZeroDivisionError), array.writing(0) as block:
            block[:] = 5
            raise ZeroDivisionError
        assert (array.snapshot(0) == 5).all(), "published, there is no image"
        array.delete()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_cannot_end_its_parents_block(cluster):
    array = cluster.array("grid", (16, 16))
    with array.writing() as block:
        block[:] = 1
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                opened = array.writing(0)
                opened._block = None
                with opened:
                    pass
            except dsm.DSMError as error:
                code = 0 if isinstance(error, dsm.LockTimeoutError) else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    source = (
        "import dsm_native as dsm, os, sys\n"
        "array = dsm.attach(sys.argv[1]).array('grid')\n"
        "try:\n"
        "    with array.writing() as block:\n"
        "        if os.fork() == 0:\n"
        "            parent = False\n"
        "        else:\n"
        "            parent = True\n"
        "            assert os.waitstatus_to_exitcode(os.wait()[1]) == 0\n"
        "            block[:] = 2\n"
        "except dsm.ForkedError:\n"
        "    os._exit(1 if parent else 0)\n"
        "assert parent\n"
    )
    result = run(source, cluster.name)
    assert (result.returncode, result.stderr) == (0, "")
    assert (array.snapshot() == 2).all()


CTRL_C = """
import dsm_native as dsm, sys
array = dsm.attach(sys.argv[1]).array("grid")
print("begun", flush=True)
try:
    with array.writing(timeout=60):
        pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
with array.reading(slice(8, 16)) as block:
    print(int(block.sum()), flush=True)
"""


def test_ctrl_c_ends_a_wait_and_leaves_nothing_taken(cluster):
    array = cluster.array("grid", (16, 16), tile_rows=4)
    with array.writing(slice(0, 4)), started(CTRL_C, cluster.name) as waiter:
        said(waiter, "begun")
        eventually(lambda: array.stats()["writers"] == 2, "it waits")
        waiter.send_signal(signal.SIGINT)
        said(waiter, "interrupted")
        said(waiter, "0")
    assert array.stats()["writers"] == 0


def test_closing_the_cluster_within_a_block_publishes_and_raises_nothing(name):
    owner = dsm.Cluster(nodes=2, name=name, stripes=64)
    array = owner.array("grid", (4, 4))
    with array.writing() as block:
        block[:] = 1
        owner.close()
        block[0] = 2
    with pytest.raises(dsm.ClosedError):
        array.snapshot()
    assert block.sum() == 20


# ---- as a whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sizes", [(20, 30), (5, 4), (10, 0), (11, 7), (10, 8)], ids=str)
def test_resize_keeps_what_both_shapes_have(shared, label, order, sizes):
    array = shared.array(label, (10, 8), "i4", order=order, tile_rows=3)
    other = shared.array(label)
    values = np.arange(80).reshape(10, 8)
    array.copy_from(values)
    old = np.asarray(other)
    array.resize(sizes)
    expected = np.zeros(sizes, "i4")
    expected[:10, :8] = values[: sizes[0], : sizes[1]]
    for seen in (array, other):
        assert seen.shape == sizes
        assert (seen.snapshot() == expected).all()
    assert (old == values).all()
    assert array.check() == (0, 0, [])
    with pytest.raises(dsm.UsageError, match="axes"):
        array.resize((3,))
    array.delete()
    with pytest.raises(dsm.KeyNotFoundError):
        other.delete()


def test_resize_and_delete_wait_for_blocks(cluster):
    array = cluster.array("grid", (16, 16), tile_rows=4)
    with started(HOLDER, cluster.name, "writing") as holder:
        said(holder, "inside")
        for change in (lambda: array.resize((8, 8)), array.delete):
            with pytest.raises(dsm.LockTimeoutError, match=f"pid {holder.pid}"):
                change()
        resizing = in_thread(lambda: array.resize((8, 8), timeout=20))
        eventually(lambda: array.stats()["writers"] == 2, "the resize waits")
        holder.stdin.write("\n")
        holder.stdin.flush()
        said(holder, "out")
        resizing.join()
    assert (array.snapshot() == 99).all()
    assert array.shape == (8, 8)
    assert len([found for found in segments_of(cluster.name) if "-a" in found]) == 3


def test_fill_copy_tiles_and_stats(shared, label):
    for order in "CF":
        array = shared.array(label, (10, 6), "f4", order=order, tile_rows=4)
        array.fill(2)
        array.copy_from([1, 2, 3], (slice(0, 2), slice(0, 3)))
        assert array.snapshot(0).tolist() == [1, 2, 3, 2, 2, 2]
        tiles = list(array.tiles())
        assert [tile.number for tile in tiles] == list(range(3 if order == "C" else 2))
        seen = np.zeros((10, 6), int)
        for tile in tiles:
            seen[tile.index] += 1
            assert tile.version == 2 if tile.number == 0 else tile.version >= 1
        assert (seen == 1).all()
        assert [tile.node for tile in tiles] == sorted(tile.node for tile in tiles)
        stats = shared.stats()["arrays"][label]
        assert (stats["bytes"], stats["writers"], stats["dtype"]) == (240, 0, "float32")
        array.delete()


def test_other_libraries_get_the_memory_itself(shared, label):
    array = shared.array(label, (6, 4), "i4")
    raw = np.asarray(array)
    assert np.shares_memory(np.from_dlpack(array), raw)
    view = memoryview(array)
    assert (view.shape, view.readonly) == ((6, 4), False)
    view[1, 2] = 7
    assert raw[1, 2] == array.snapshot()[1, 2] == 7
    assert np.array(array, copy=True).base is None
    assert np.asarray(array, dtype="f8").dtype == "f8"
    assert float(np.sum(array)) == 7
    array.delete()


def test_no_room_leaves_nothing_behind(shared, label):
    before = segments_of(shared.name)
    with pytest.raises(dsm.StoreFullError, match=label):
        shared.array(label, (1 << 42,), "u1")
    assert segments_of(shared.name) == before
    array = shared.array(label, 1000)
    with pytest.raises(dsm.StoreFullError, match=label):
        array.resize(1 << 40)
    assert array.shape == (1000,)
    array.fill(1)
    array.delete()
    assert segments_of(shared.name) == before


MAKER = """
import dsm_native as dsm, numpy as np, sys
cluster = dsm.attach(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
array = cluster.array("made", (1000, 1000), "i8")
with array.writing(0) as block:
    block += 1
print("made", flush=True)
"""


def test_makers_at_once_get_one_array(cluster):
    with contextlib.ExitStack() as stack:
        makers = [stack.enter_context(started(MAKER, cluster.name)) for _ in range(3)]
        for maker in makers:
            said(maker, "ready")
        for maker in makers:
            maker.stdin.write("\n")
            maker.stdin.flush()
        for maker in makers:
            said(maker, "made")
    assert cluster.array("made").snapshot(0)[0] == 3


def test_segments_that_nobody_maps_are_kept_and_those_of_the_dead_are_swept(name):
    source = (
        "import dsm_native as dsm, os, sys, signal\n"
        "cluster = dsm.Cluster(nodes=1, name=sys.argv[1], stripes=64)\n"
        "cluster.array('grid', 10).fill(6)\n"
        "dsm.clean()\n"
        "print(int(cluster.array('grid').snapshot().sum()), flush=True)\n"
        "pids = [node.pid for node in cluster.nodes]\n"
        "[os.kill(pid, signal.SIGSTOP) for pid in pids]\n"
        "[os.kill(pid, signal.SIGKILL) for pid in (*pids, os.getpid())]\n"
    )
    result = run(source, name)
    assert result.stdout == "60\n", result.stderr
    eventually(lambda: dsm.clean() is not None and not segments_of(name), "all is swept")


# ---- checks -------------------------------------------------------------------------------------


def copies_of(cluster):
    """The array's segments as files, by copy."""
    return [f"/dev/shm/{found}" for found in segments_of(cluster.name) if "-a" in found]


def damage(path, offset_from_end, data):
    with open(path, "r+b") as file:
        file.seek(-offset_from_end, os.SEEK_END)
        file.write(data)


@pytest.mark.parametrize(("copy", "replicas"), [(0, 3), (1, 2), (2, 3)])
def test_check_finds_differing_copies_and_mends_them(cluster, copy, replicas):
    array = cluster.array("grid", (64, 512), "u1", tile_rows=8, replication_factor=replicas)
    array.fill(7)
    damage(copies_of(cluster)[copy], 100, b"\0")
    problems, repaired, texts = array.check()
    assert (problems, repaired) == (1, 0)
    assert "tile" in texts[0]
    assert not cluster.check().clean
    assert cluster.check(repair=True).repaired == 1
    assert cluster.check().clean
    assert (array.snapshot() == 7).all()


def test_check_finds_damaged_headers_and_words(cluster):
    array = cluster.array("grid", (64, 512), "u1", tile_rows=8)
    array.fill(7)
    for copy in (0, 2):
        with open(copies_of(cluster)[copy], "r+b") as file:
            file.seek(100)
            file.write(b"\xff")
        assert array.check()[0] == 1
        opened = "import dsm_native as dsm, sys; dsm.attach(sys.argv[1]).array('grid')"
        assert "CorruptError" in run(opened, cluster.name).stderr
        assert array.check(repair=True)[1] == 1
        assert run(opened, cluster.name).returncode == 0
    size = os.path.getsize(copies_of(cluster)[0])
    tiles = size - 64 * 512 - 4096  # eight tiles of 64 bytes in a page of their own
    with open(copies_of(cluster)[0], "r+b") as file:
        file.seek(tiles + 64)
        file.write(b"\xff\xff\xff\x7f")
        file.seek(tiles + 128 + 8)
        file.write(b"\xff")
    with pytest.raises(dsm.CorruptError):
        array.fill(8)
    assert array.check(repair=True)[:2] == (2, 2)
    assert array.check() == (0, 0, [])
    array.fill(8)
    assert (array.snapshot() == 8).all()


def test_an_array_whose_segment_was_removed_is_reported_and_given_up(cluster):
    cluster.array("lost", (4, 4)).fill(1)
    cluster.array("kept", (4, 4)).fill(2)
    gc.collect()
    os.unlink(next(path for path in copies_of(cluster) if path.endswith("1-1")))
    with pytest.raises(dsm.CorruptError, match="'lost'.*removed"):
        cluster.array("lost")
    report = cluster.check()
    assert report.problems == 1
    assert "lost" in report.texts[0]
    assert cluster.check(repair=True).repaired == 1
    assert cluster.check().clean
    assert cluster.arrays == ["kept"]
    assert len(copies_of(cluster)) == 3
    assert cluster.array("lost", (4, 4)).snapshot().sum() == 0


def test_threads_share_a_handle(shared, label):
    array = shared.array(label, (8, 4096), "i8", tile_rows=2)
    torn = []

    def work(number):
        for turn in range(60):
            if (turn + number) % 3:
                with array.writing() as block:
                    block += 1
            else:
                seen = array.snapshot()
                torn.extend([] if seen.min() == seen.max() else [seen])

    threads = [in_thread(lambda number=number: work(number)) for number in range(4)]
    for thread in threads:
        thread.join()
    assert not torn
    assert (array.snapshot() == 160).all()
    array.delete()


def test_interrupted_blocks_leave_with_their_object(shared, label):
    array = shared.array(label, (8, 8))
    block = array.writing()
    view = block.__enter__()
    view[:] = 5
    del block, view
    gc.collect()
    assert array.snapshot().sum() == 0
    array.fill(1)
    assert sys.getrefcount(array) < 10
    array.delete()
