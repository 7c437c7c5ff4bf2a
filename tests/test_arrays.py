"""Shared arrays: what they hold, who sees it, and blocks against a plain array."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run, segments_of

import dsm_native as dsm

SHAPES = [(), (1,), (7,), (0,), (3, 0, 2), (40, 30), (2, 3, 4, 5)]
DTYPES = ["f8", "i1", "?", ">u2", "c16", "S5", "U3", "M8[s]", "V6", [("a", "<i4"), ("b", "f8", 2)]]
DTYPES.append(np.dtype([("a", "i1"), ("b", "f8")], align=True))
PARTS = np.dtype({"names": ["b", "a"], "formats": ["i1", ("f4", 2)], "offsets": [9, 1]})
LAYERS = {"names": ["all", "low"], "formats": ["u4", "u2"], "offsets": [0, 0], "itemsize": 8}
DTYPES += [PARTS, np.dtype(LAYERS), np.dtype([("in", PARTS, (2,)), (("a title", "t"), "i2")])]


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
def test_shapes_types_and_orders(triple, label, shape, dtype, order):
    array = triple.array(label, shape, dtype, order=order)
    values = sample(shape, dtype)
    assert (array.shape, array.dtype, array.order) == (shape, np.dtype(dtype), order)
    with array.writing() as block:
        block[...] = values
    for seen in (array.snapshot(), np.asarray(array), np.asarray(triple.array(label))):
        assert (seen.shape, seen.dtype) == (shape, np.dtype(dtype))
        if np.dtype(dtype).names:  # numpy leaves the gaps between fields alone
            assert (seen == values).all()
        else:
            assert seen.tobytes() == values.tobytes()
    whole = np.asarray(array)
    assert whole.flags.c_contiguous if order == "C" else whole.flags.f_contiguous
    assert whole.flags.writeable
    array.delete()


def test_memory_is_shared_and_outlives_everything(name):
    with dsm.Cluster(nodes=2, name=name, stripes=64) as hasty:
        array = hasty.array("grid", (100, 100), "i4")
        seen = np.asarray(array)
        seen[5] = 7
        assert hasty.map(lambda a: int(np.asarray(a)[5].sum()), [array]) == [700]
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
        other = np.asarray(hasty.array("grid", 10))
    assert (seen[5:8].sum(), other.sum()) == (2400, 0)
    del seen, other
    gc.collect()


def test_names_and_settings(triple, label):
    with pytest.raises(dsm.KeyNotFoundError):
        triple.array(label)
    array = triple.array(label, (10, 4), "f4", tile_rows=3, replication_factor=1)
    assert label in triple.arrays
    assert (array.tile_rows, array.replication_factor, array.undo) == (3, 1, True)
    same = triple.array(label, (10, 4), "f4", tile_rows=3, replication_factor=1, undo=True)
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
            triple.array(label, **wrong)
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
            triple.array(label + "x", **wrong)
    with pytest.raises(dsm.UsageError):
        triple.array("", 3)
    assert repr(array) == f"<Array {label!r} of cluster {triple.name!r}>"
    assert (array.ndim, array.size, array.nbytes, len(array)) == (2, 40, 160, 10)
    array.delete()


def test_a_handle_pickles_and_attaches_where_it_arrives(triple, label):
    array = triple.array(label, (6, 5))
    again = pickle.loads(pickle.dumps(array))
    np.asarray(array)[2] = 3
    assert np.asarray(again)[2].sum() == 15
    sums = triple.map(lambda pair: float(pair[0].snapshot(pair[1]).sum()), [(array, 2), (array, 3)])
    assert sums == [15, 0]
    array.delete()


def add_one(array, row) -> None:
    with array.writing(row) as block:
        block += 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_users_own_processes_get_arrays_as_arguments(triple, label, method):
    array = triple.array(label, (4, 8), "i8")
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
def test_blocks_against_a_plain_array(triple, order, replicas):
    shape = (9, 7, 300)
    array = triple.array(
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


def test_a_block_is_left_as_it_was_on_any_exception(triple, label):
    for replicas in (1, 2):
        array = triple.array(label, (100, 1000), replication_factor=replicas, tile_rows=10)
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


def test_what_is_no_element_type_is_turned_down(triple, label):
    halves = np.dtype((np.int32, {"low": ("i2", 0), "high": ("i2", 2)}))
    for dtype in ("O", [("a", "O")], "S0", ("i4", (2,)), halves):
        with pytest.raises(dsm.UsageError, match="dtype"):
            triple.array(label, 3, dtype)
    with pytest.raises(dsm.UsageError, match="an array's name"):
        triple.array("", 3)
    assert label not in triple.arrays


def test_what_blocks_turn_down(triple, label):
    array = triple.array(label, (10, 10))
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


def test_a_snapshot_during_a_block_shows_what_was_before(triple, label):
    for replicas in (1, 2, 3):
        array = triple.array(label, (64, 512), replication_factor=replicas, tile_rows=4)
        array.fill(1)
        with array.writing(slice(10, 50)) as block:
            block[:] = 2
            assert (array.snapshot() == 1).all()
            assert (array.snapshot((slice(8, 12), slice(None, None, 7))) == 1).all()
            assert np.asarray(array)[10, 0] == 2  # raw
        assert array.snapshot().sum() == 512 * (40 * 2 + 24)
        array.delete()
