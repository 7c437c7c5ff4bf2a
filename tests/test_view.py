"""Views: where the value lies, unchanged whatever happens to the object, the handle or the node."""

from __future__ import annotations

import gc
import os
import signal
import struct

import numpy as np
import pytest
from processes import run

import dsm_native as dsm

LARGE = 1 << 20


def used_bytes(cluster):
    return sum(node.bytes for node in cluster.nodes)


def pins(cluster):
    """Pins of processes that may hold views; a node's service thread pins what it is hashing."""
    participants = cluster.stats()["participants"]
    return sum(entry["pins"] for entry in participants if entry["kind"] != "node")


def test_a_view_of_bytes_is_a_read_only_memoryview(region):
    region["k"] = bytes(range(256)) * 100
    view = region.view("k")
    assert type(view) is memoryview
    assert (view.readonly, view.format, view.nbytes) == (True, "B", 25_600)
    assert view == bytes(range(256)) * 100
    with pytest.raises(TypeError):
        view[0] = 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_view_of_an_array_is_a_read_only_array(region, order):
    array = np.asarray(np.arange(60_000.0).reshape(200, 300), order=order)
    region["k"] = array
    view = region.view("k")
    assert type(view) is np.ndarray
    assert np.array_equal(view, array)
    assert view.flags.f_contiguous == (order == "F")
    assert not view.flags.writeable
    assert not view.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True


def test_views_share_memory_and_copies_do_not(region, shared):
    region["k"] = bytes(LARGE)
    before = pins(shared)
    views = [region.view("k") for _ in range(100)]
    assert pins(shared) == before + 100
    first, second = (np.frombuffer(view, "u1") for view in views[:2])
    assert first.ctypes.data == second.ctypes.data
    del views, first, second
    assert pins(shared) == before


@pytest.mark.parametrize("size", [0, 1, 100, 2000, 4096, 5000, 100_000])
def test_views_of_every_size(region, size):
    value = os.urandom(size)
    region["k"] = value
    view = region.view("k")
    region["k"] = b"other"
    del region["k"]
    assert view == value
    assert view.readonly


@pytest.mark.parametrize("value", [None, 1, 1.5, "text" * 5000, [1], {"a": np.zeros(9000)}])
def test_values_of_other_types_have_no_view(region, shared, value):
    region["k"] = value
    before = pins(shared)
    with pytest.raises(dsm.ValueTypeError, match=r"get\(\)"):
        region.view("k")
    gc.collect()
    assert pins(shared) == before


def test_a_view_stays_as_it_is_after_overwrite_and_delete(region):
    region["k"] = b"1" * LARGE
    first = region.view("k")
    region["k"] = b"2" * LARGE
    second = region.view("k")
    del region["k"]
    for number in range(20):
        region[number] = bytes([number]) * LARGE
    assert first == b"1" * LARGE
    assert second == b"2" * LARGE


def test_a_view_outlives_close(name):
    with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
        cluster["k"] = np.arange(100_000)
        view = cluster.default.view("k")
        part = view[500:600]
    assert np.array_equal(view, np.arange(100_000))
    del view, cluster
    gc.collect()
    assert part.sum() == sum(range(500, 600))


def test_a_view_outlives_the_node(name):
    with dsm.Cluster(nodes=1, name=name, stripes=64) as cluster:
        cluster["k"] = b"x" * LARGE
        view = cluster.default.view("k")
        os.kill(cluster.nodes[0].pid, signal.SIGKILL)
        assert view == b"x" * LARGE
    assert view == b"x" * LARGE


def test_memory_comes_back_when_views_die(cluster):
    cluster["k"] = bytes(LARGE)
    base = used_bytes(cluster)
    views = []
    for number in range(10):
        cluster["k"] = bytes([number]) * LARGE
        views.append(cluster.default.view("k"))
    assert used_bytes(cluster) >= base + 8 * LARGE  # each keeps its own bytes
    assert all(view == bytes([number]) * LARGE for number, view in enumerate(views))
    del views
    for _ in range(3):
        cluster["k"] = bytes(LARGE)
    assert used_bytes(cluster) <= base + 2 * LARGE
    assert cluster.check().clean


def test_churn_with_pins_held_runs_at_steady_memory(cluster):
    cluster.default.update({number: os.urandom(50_000) for number in range(40)})
    held = [cluster.default.view(number) for number in range(0, 40, 8)]
    expected = [bytes(view) for view in held]
    most = used_bytes(cluster)
    for turn in range(60):
        for number in range(40):
            cluster[number] = bytes([turn]) * (40_000 + 500 * (number * turn % 40))
        if turn == 5:
            most = used_bytes(cluster)
    assert used_bytes(cluster) <= 1.5 * most
    assert [bytes(view) for view in held] == expected


def test_beyond_the_pin_table_views_are_copies(region, shared):
    region["k"] = np.arange(3000)
    views = [region.view("k") for _ in range(4200)]
    # A little fewer than 4,096 may be ours: fork preparation or other tests hold none here.
    assert len({view.ctypes.data for view in views}) == 4200 - 4096 + 1
    region["k"] = np.zeros(3000, int)
    assert all(view[2999] == 2999 for view in views[::50])
    assert views[-1][5] == 5
    assert not views[-1].flags.writeable
    assert region["k"].sum() == 0  # reading still works with a full table
    del views
    assert pins(shared) == 0


def test_a_forked_child_keeps_the_views_that_the_parent_drops(name):
    source = f"""
import dsm_native as dsm, os, gc
with dsm.Cluster(nodes=2, name={name!r}, stripes=64) as cluster:
    region = cluster.default
    region["k"] = b"old" * 100_000
    view = region.view("k")
    to_child, from_parent = os.pipe()[::-1]
    reader, writer = from_parent, to_child
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)                      # the parent has dropped and overwritten
        good = view == b"old" * 100_000
        good = good and region["k"] == b"new" * 100_000
        del view
        os._exit(0 if good else 1)
    del view
    for _ in range(5):
        region["k"] = b"mid" * 100_000          # would reuse the memory if nothing pinned it
        region["k"] = b"new" * 100_000
    os.write(writer, b"!")
    print(os.waitpid(child, 0)[1])
    while sum(entry["pins"] for entry in cluster.stats()["participants"]):
        pass
    print(cluster.check().clean)
"""
    result = run(source)
    assert (result.stdout, result.stderr) == ("0\nTrue\n", "")


def test_a_killed_viewer_holds_no_memory(cluster):
    cluster["k"] = bytes(LARGE)
    base = used_bytes(cluster)
    source = """
import dsm_native as dsm, os, signal, sys
cluster = dsm.attach(sys.argv[1])
views = []
for number in range(10):
    cluster["k"] = bytes(1 << 20)
    views.append(cluster.default.view("k"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(source, cluster.name).returncode == -signal.SIGKILL
    for _ in range(100):
        cluster["k"] = bytes(LARGE)
        if used_bytes(cluster) <= base + 2 * LARGE:
            break
    assert used_bytes(cluster) <= base + 2 * LARGE
    assert cluster.check().clean


def test_other_buffers_over_a_view(region):
    region["k"] = struct.pack("<3000q", *range(3000))
    view = region.view("k")
    assert list(view.cast("q"))[:3] == [0, 1, 2]
    assert np.frombuffer(view, "<i8")[2999] == 2999
    assert bytes(view[8:16]) == struct.pack("<q", 1)
