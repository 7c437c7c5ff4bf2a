"""Arrays as a whole: resized, deleted, passed to other libraries, swept, checked and mended."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import numpy as np
import pytest
from array_holder import HOLDER, in_thread
from processes import eventually, run, said, segments_of, started

import dsm_native as dsm


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sizes", [(20, 30), (5, 4), (10, 0), (11, 7), (10, 8)], ids=str)
def test_resize_keeps_what_both_shapes_have(triple, label, order, sizes):
    array = triple.array(label, (10, 8), "i4", order=order, tile_rows=3)
    other = triple.array(label)
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


def test_resize_and_delete_wait_for_blocks(hasty):
    array = hasty.array("grid", (16, 16), tile_rows=4)
    with started(HOLDER, hasty.name, "writing") as holder:
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
    assert len([found for found in segments_of(hasty.name) if "-a" in found]) == 3


def test_fill_copy_tiles_and_stats(triple, label):
    for order in "CF":
        array = triple.array(label, (10, 6), "f4", order=order, tile_rows=4)
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
        stats = triple.stats()["arrays"][label]
        assert (stats["bytes"], stats["writers"], stats["dtype"]) == (240, 0, "float32")
        array.delete()


def test_other_libraries_get_the_memory_itself(triple, label):
    array = triple.array(label, (6, 4), "i4")
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


def test_no_room_leaves_nothing_behind(triple, label):
    before = segments_of(triple.name)
    with pytest.raises(dsm.StoreFullError, match=label):
        triple.array(label, (1 << 42,), "u1")
    assert segments_of(triple.name) == before
    array = triple.array(label, 1000)
    with pytest.raises(dsm.StoreFullError, match=label):
        array.resize(1 << 40)
    assert array.shape == (1000,)
    array.fill(1)
    array.delete()
    assert segments_of(triple.name) == before


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


def test_makers_at_once_get_one_array(hasty):
    with contextlib.ExitStack() as stack:
        makers = [stack.enter_context(started(MAKER, hasty.name)) for _ in range(3)]
        for maker in makers:
            said(maker, "ready")
        for maker in makers:
            maker.stdin.write("\n")
            maker.stdin.flush()
        for maker in makers:
            said(maker, "made")
    assert hasty.array("made").snapshot(0)[0] == 3


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


def copies_of(hasty):
    """The array's segments as files, by copy."""
    return [f"/dev/shm/{found}" for found in segments_of(hasty.name) if "-a" in found]


def damage(path, offset_from_end, data):
    with open(path, "r+b") as file:
        file.seek(-offset_from_end, os.SEEK_END)
        file.write(data)


@pytest.mark.parametrize(("copy", "replicas"), [(0, 3), (1, 2), (2, 3)])
def test_check_finds_differing_copies_and_mends_them(hasty, copy, replicas):
    array = hasty.array("grid", (64, 512), "u1", tile_rows=8, replication_factor=replicas)
    array.fill(7)
    damage(copies_of(hasty)[copy], 100, b"\0")
    problems, repaired, texts = array.check()
    assert (problems, repaired) == (1, 0)
    assert "tile" in texts[0]
    assert not hasty.check().clean
    assert hasty.check(repair=True).repaired == 1
    assert hasty.check().clean
    assert (array.snapshot() == 7).all()


def test_damaged_headers_and_words_are_found_and_mended(hasty):
    array = hasty.array("grid", (64, 512), "u1", tile_rows=8)
    array.fill(7)
    for copy in (0, 2):
        with open(copies_of(hasty)[copy], "r+b") as file:
            file.seek(100)
            file.write(b"\xff")
        assert array.check()[0] == 1
        opened = "import dsm_native as dsm, sys; dsm.attach(sys.argv[1]).array('grid')"
        assert run(opened, hasty.name).returncode == 0
        assert array.check() == (0, 0, [])
    size = os.path.getsize(copies_of(hasty)[0])
    tiles = size - 64 * 512 - 4096  # eight tiles of 64 bytes in a page of their own
    with open(copies_of(hasty)[0], "r+b") as file:
        file.seek(tiles + 64)
        file.write(b"\xff\xff\xff\x7f")
        file.seek(tiles + 128 + 8)
        file.write(b"\xff")
    assert array.check()[:2] == (2, 0)
    array.fill(8)
    assert array.check() == (0, 0, [])
    assert (array.snapshot() == 8).all()


def test_threads_share_a_handle(triple, label):
    array = triple.array(label, (8, 4096), "i8", tile_rows=2)
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


def test_interrupted_blocks_leave_with_their_object(triple, label):
    array = triple.array(label, (8, 8))
    block = array.writing()
    view = block.__enter__()
    view[:] = 5
    del block, view
    gc.collect()
    assert array.snapshot().sum() == 0
    array.fill(1)
    assert sys.getrefcount(array) < 10
    array.delete()
