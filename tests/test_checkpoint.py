"""Checkpoints and restoring: what goes in comes out, with versions, onto any number of nodes."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import dsm_native as dsm
from dsm_native import cli


def state(cluster):
    """Every object of every region with its version, and every array."""
    objects = {
        (name, key): cluster.region(name).get_versioned(key)
        for name in cluster.regions
        for key in cluster.region(name)
    }
    arrays = {name: cluster.array(name) for name in cluster.arrays}
    return objects, {
        name: (array.shape, array.dtype, array.order, array.tile_rows, array.undo, array.snapshot())
        for name, array in arrays.items()
    }


def assert_same(found, expected):
    objects, arrays = found
    assert objects.keys() == expected[0].keys()
    for place, (value, version) in expected[0].items():
        got, at = objects[place]
        assert at == version, place
        assert type(got) is type(value)
        same = np.array_equal(got, value) if isinstance(value, np.ndarray) else got == value
        assert same, place
    assert arrays.keys() == expected[1].keys()
    for name, (*shape, content) in expected[1].items():
        assert arrays[name][:-1] == tuple(shape), name
        assert np.array_equal(arrays[name][-1], content), name


def fill(cluster):
    region = cluster.region("prices", replication_factor=1)
    for i in range(500):
        cluster[i] = {"number": i}
        region.put(f"key {i}", np.arange(i * 3.0))
    region.put_many({("a", 1): None, b"raw": b"\0" * 70_000, "text": "é" * 3000, 2**70: True})
    cluster["large"] = os.urandom(3_000_000)
    cluster.default.add("hits", 41)
    grid = cluster.array("grid", (1000, 70), tile_rows=64)
    with grid.writing() as block:
        block[:] = np.arange(70_000.0).reshape(1000, 70)
    table = cluster.array("table", 9, [("id", "i4"), ("name", "S5")], undo=False)
    table.fill((3, b"xy"))
    cluster.array("columns", (30, 7), "c8", order="F").fill(1 + 2j)
    cluster.array("none", (0, 4), "u1")
    cluster.array("number", (), "i8").fill(7)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "checkpoints")


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_a_directory_holds_objects_arrays_and_versions(path, nodes):
    with dsm.Cluster(nodes=2, stripes=64) as cluster:
        fill(cluster)
        report = cluster.checkpoint(path)
        expected = state(cluster)
        next_version = cluster.default.put(1, "later")
    assert report.number == 1
    assert not report.incremental
    assert report.objects == len(expected[0])
    with dsm.restore(path, nodes=nodes) as cluster:
        assert_same(state(cluster), expected)
        assert len(cluster.nodes) == nodes
        assert cluster.region("prices").replication_factor == 1
        assert cluster.default.replication_factor == min(2, nodes)
        assert len(cluster.default) == len([key for key in expected[0] if key[0] == "default"])
        assert cluster.check().clean
        # Versions go on where they were.
        assert cluster.default.put(1, "later") >= next_version


def test_a_version_is_never_given_twice(path):
    with dsm.Cluster(nodes=1, stripes=1) as cluster:
        cluster["key"] = 1
        latest = cluster.default.delete("key")
        cluster.checkpoint(path)
    with dsm.restore(path) as cluster:
        assert "key" not in cluster
        assert cluster.default.put("key", 2) > latest


def test_changes_only_are_written_again(path):
    with dsm.Cluster(nodes=2, stripes=256) as cluster:
        fill(cluster)
        whole = cluster.checkpoint(path)
        for step in range(4):
            for i in range(step, 500, 50):
                del cluster[i]
            cluster[1000 + step] = "new"
            cluster.region("prices").put("text", "changed" * step)
            with cluster.array("grid").writing(slice(step * 70, step * 70 + 1)) as block:
                block[:] = -step
            report = cluster.checkpoint(path)
            assert report.incremental
            assert report.bytes < whole.bytes / 4
        cluster.array("columns").delete()
        cluster.array("number").delete()
        cluster.array("number", 3, "i2").fill(9)
        cluster.checkpoint(path)
        expected = state(cluster)
        cluster["not"] = "saved"
    assert_restores(path, expected)


def assert_restores(source, expected, **options):
    with dsm.restore(source, **options) as cluster:
        assert_same(state(cluster), expected)
        assert cluster.check().clean


def test_a_stream_needs_no_seeking(path):
    class Pipe:
        """Takes and gives a few bytes at a time."""

        def __init__(self, data=b""):
            self.data = io.BytesIO(data)

        def write(self, data):
            return self.data.write(bytes(data[:100_001]))

        def read(self, size):
            return self.data.read(min(size, 70_001))

    with dsm.Cluster(nodes=2, stripes=16) as cluster:
        fill(cluster)
        target = Pipe()
        report = cluster.checkpoint(target)
        expected = state(cluster)
    data = target.data.getvalue()
    assert len(data) == report.bytes
    source = Pipe(data + b"what follows is not touched")
    assert_restores(source, expected, nodes=3)
    assert source.data.read() == b"what follows is not touched"
    with open(path, "wb") as file:
        file.write(data)
    assert_restores(path, expected)
    assert dsm.verify(io.BytesIO(data)).sound


def test_two_generations_are_kept(path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        for number in range(1, 5):
            cluster["number"] = number
            assert cluster.checkpoint(path, full=True).number == number
    assert sorted(os.listdir(path)) == [
        "00000003.full", "00000003.json", "00000004.full", "00000004.json", "lock",
    ]  # fmt: skip
    with open(f"{path}/00000004.full", "r+b") as file:
        file.seek(200)
        file.write(b"x")
    with pytest.raises(dsm.CorruptError, match=r"00000004.full: .*offset 0"):
        dsm.restore(path)
    with dsm.restore(path, allow_previous=True) as cluster:
        assert cluster["number"] == 3
    report = dsm.verify(path)
    assert not report.sound
    assert len(report.problems) == 1


def test_a_damaged_base_does_not_take_all_generations(path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster.default.update({number: bytes(500) for number in range(200)})
        for number, full in enumerate([True, False, True, False, False], 1):
            cluster["number"] = number
            assert cluster.checkpoint(path, full=full).number == number
    assert {name for name in os.listdir(path) if name.endswith(".json")} == {
        "00000002.json", "00000004.json", "00000005.json",
    }  # fmt: skip
    assert dsm.verify(path).sound
    with open(f"{path}/00000003.full", "r+b") as file:
        file.seek(200)
        file.write(b"x")
    with pytest.raises(dsm.CorruptError, match=r"00000003.full"):
        dsm.restore(path)
    with dsm.restore(path, allow_previous=True) as cluster:
        assert cluster["number"] == 2
    with open(f"{path}/00000001.full", "r+b") as file:
        file.seek(200)
        file.write(b"x")
    with pytest.raises(dsm.CorruptError, match=r"00000001.full"):
        dsm.restore(path, allow_previous=True)


def test_the_command_tells_what_is_damaged(path, capsys):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = "value"
        cluster.checkpoint(path)
    assert cli.main(["verify", path]) == 0
    assert "0 problems" in capsys.readouterr().out
    os.truncate(f"{path}/00000001.full", 300)
    assert cli.main(["verify", path]) == 1
    assert "00000001.full" in capsys.readouterr().out
    shutil.rmtree(path)
    assert cli.main(["verify", path]) == 1


def test_a_restoration_that_fails_leaves_nothing(path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        fill(cluster)
        cluster.checkpoint(path)
    size = os.path.getsize(f"{path}/00000001.full")
    before = set(os.listdir("/dev/shm"))
    with open(f"{path}/00000001.full", "r+b") as file:
        file.seek(size - 100)
        file.write(b"x")
    with pytest.raises(dsm.CorruptError):
        dsm.restore(path, name="restored")
    assert {name for name in os.listdir("/dev/shm") if "restored" in name} - before == set()
    with pytest.raises(dsm.ClusterNotFoundError):
        dsm.attach("restored")


def test_intervals_and_the_last_one(path):
    with dsm.Cluster(
        nodes=1, stripes=16, checkpoint_interval=0.05, checkpoint_path=path
    ) as cluster:
        cluster["key"] = 1
        deadline = 200
        while cluster._timer.taken < 2 and deadline:
            deadline -= 1
            cluster._timer._ended.wait(0.05)
        assert cluster._timer.taken >= 2
        cluster["key"] = "at the end"
    with dsm.restore(path) as cluster:
        assert cluster["key"] == "at the end"


def test_a_failing_interval_is_warned_of(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    with pytest.warns(RuntimeWarning, match="no directory"):
        dsm.Cluster(
            nodes=1, stripes=16, checkpoint_interval=100, checkpoint_path=str(blocked)
        ).close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"checkpoint_interval": 1}, "go together"),
        ({"checkpoint_path": "x"}, "go together"),
        ({"checkpoint_interval": 0, "checkpoint_path": "x"}, "checkpoint_interval"),
        ({"checkpoint_interval": "1", "checkpoint_path": "x"}, "checkpoint_interval"),
    ],
)
def test_settings_are_checked(options, text):
    with pytest.raises(dsm.UsageError, match=text):
        dsm.Cluster(nodes=1, **options)


def test_wrong_sources_are_told(tmp_path):
    with pytest.raises(dsm.UsageError, match="no checkpoint"):
        dsm.restore(tmp_path)
    with pytest.raises(FileNotFoundError):
        dsm.restore(tmp_path / "absent")
    with pytest.raises(dsm.UsageError, match="stripes"):
        dsm.restore(tmp_path, stripes=4)
    with pytest.raises(dsm.CorruptError, match="offset 0"):
        dsm.restore(io.BytesIO(b"not a checkpoint" * 100))
    with pytest.raises(dsm.CorruptError, match="offset 0"):
        dsm.restore(io.BytesIO(b""))


def test_one_at_a_time(path):
    class Slow(io.BytesIO):
        """A stream during whose writing another checkpoint is asked for."""

        def write(self, data):
            with pytest.raises(dsm.LockTimeoutError, match=f"pid {os.getpid()} is taking"):
                cluster.checkpoint(path, timeout=0.05)
            return super().write(data)

    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = 1
        cluster.checkpoint(Slow())
        assert cluster.checkpoint(path).number == 1


def test_a_failing_file_leaves_the_cluster_as_it_was(path):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "no room")

    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = 1
        for _ in range(3):
            with pytest.raises(OSError, match="no room"):
                cluster.checkpoint(Full())
        cluster["key"] = 2
        assert cluster.checkpoint(path).objects == 1
        assert cluster.check().clean


def test_a_program_that_ends_without_closing_saves_at_its_end(path):
    script = f"""
import dsm_native as dsm
cluster = dsm.Cluster(nodes=1, stripes=16, checkpoint_interval=1000, checkpoint_path={path!r})
cluster["key"] = "saved"
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    with dsm.restore(path) as cluster:
        assert cluster["key"] == "saved"


def test_as_many_nodes_as_there_were(path):
    with dsm.Cluster(nodes=2, stripes=16) as cluster:
        cluster["key"] = 1
        cluster.remove_node(0 if cluster.add_node() else 1)
        cluster.checkpoint(path)
        assert cluster.node_count == 2
    with dsm.restore(path) as cluster:
        assert cluster.node_count == 2
        assert cluster["key"] == 1
