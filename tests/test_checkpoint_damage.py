"""Damaged checkpoints: every byte flipped, every length cut, files exchanged: never other data."""

from __future__ import annotations

import io
import os
import random
import shutil
import threading

import numpy as np
import pytest

import dsm_native as dsm
from dsm_native import checkpoint_directory
from dsm_native._native.frames import frame_head, frame_room

SEED = 20261


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small directory: a whole file and a delta; and what they hold."""
    path = tmp_path_factory.mktemp("saved") / "checkpoints"
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        cluster["text"] = "é" * 40
        cluster["gone"] = 1
        cluster["large"] = b"l" * 70_000
        cluster.array("grid", 9, "i2", tile_rows=3).fill(4)
        cluster.checkpoint(path)
        del cluster["gone"]
        cluster["text"] = ("new", 1)
        cluster.checkpoint(path)
    return path


def frames_of(data):
    offset, file, found = 0, 0, []
    while offset < len(data):
        kind, size, *_, file = frame_head(data[offset : offset + 64], offset, file)
        found.append((offset, kind, size))
        offset += frame_room(size)
    return found


def copy_of(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_every_flipped_bit_of_a_stream_is_noticed():
    with dsm.Cluster(nodes=1, stripes=1) as cluster:
        cluster["a"] = 1
        cluster.array("grid", 3, "i2")
        file = io.BytesIO()
        cluster.checkpoint(file)
    data = bytearray(file.getvalue())
    assert dsm.verify(io.BytesIO(data)).sound
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        report = dsm.verify(io.BytesIO(data))
        assert not report.sound, f"byte {place}"
        assert "offset" in report.problems[0]
        data[place] ^= 1 << place % 8


def test_every_flipped_bit_of_a_manifest_is_noticed(saved, tmp_path):
    path = copy_of(saved, tmp_path) / "00000002.json"
    data = bytearray(path.read_bytes())
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(dsm.CorruptError, match="00000002.json"):
            checkpoint_directory.read_manifest(str(path))
        data[place] ^= 1 << place % 8


def test_every_length_is_too_short():
    with dsm.Cluster(nodes=1, stripes=1) as cluster:
        cluster["a"] = b"a" * 300
        file = io.BytesIO()
        cluster.checkpoint(file)
    data = file.getvalue()
    for size in range(len(data)):
        assert not dsm.verify(io.BytesIO(data[:size])).sound, size


def test_restoring_what_is_damaged_is_refused(saved, tmp_path):
    """Bytes of every kind of frame, in header, payload and padding, in both files."""
    draw = random.Random(SEED)
    path = copy_of(saved, tmp_path)
    refused = 0
    for name in ("00000001.full", "00000002.delta"):
        data = bytearray((path / name).read_bytes())
        places = []
        for offset, _, size in frames_of(data):
            places += [offset + draw.randrange(64), offset + 64 + draw.randrange(max(size, 1))]
        for place in draw.sample(places, min(len(places), 14)):
            data[place] ^= 1 << draw.randrange(8)
            (path / name).write_bytes(data)
            with pytest.raises(dsm.CorruptError, match=f"{name}.*offset"):
                dsm.restore(path)
            refused += 1
            data = bytearray((saved / name).read_bytes())
            (path / name).write_bytes(data)
    assert refused == 28


@pytest.mark.parametrize("cut", [1, 63, 64, 1000, 70_000])
def test_cut_files_are_refused(saved, tmp_path, cut):
    path = copy_of(saved, tmp_path)
    os.truncate(path / "00000001.full", os.path.getsize(path / "00000001.full") - cut)
    with pytest.raises(dsm.CorruptError, match=r"00000001.full.*offset"):
        dsm.restore(path)


def test_files_of_others_are_refused(saved, tmp_path):
    path = copy_of(saved, tmp_path)
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        cluster["text"] = "of another cluster"
        cluster.checkpoint(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "00000001.full", path / "00000001.full")
    with pytest.raises(dsm.CorruptError):
        dsm.restore(path)
    assert not dsm.verify(path).sound
    os.unlink(path / "00000001.full")
    with pytest.raises(dsm.CorruptError, match="gone"):
        dsm.restore(path)


def test_a_delta_alone_is_no_checkpoint(saved):
    with pytest.raises(dsm.CorruptError, match="builds"):
        dsm.restore(saved / "00000002.delta")
    assert not dsm.verify(saved / "00000002.delta").sound


def test_frames_out_of_their_place_are_refused():
    with dsm.Cluster(nodes=1, stripes=8) as cluster:
        for i in range(40):
            cluster[i] = i
        file = io.BytesIO()
        cluster.checkpoint(file)
    data = file.getvalue()
    frames = [(offset, size) for offset, kind, size in frames_of(data) if kind == 3]
    (one, size), (other, _) = next(
        (left, right)
        for left in frames
        for right in frames
        if left < right and frame_room(left[1]) == frame_room(right[1])
    )
    room = frame_room(size)
    swapped = bytearray(data)
    swapped[one : one + room], swapped[other : other + room] = (
        data[other : other + room],
        data[one : one + room],
    )
    without = data[:one] + data[one + room :]
    twice = data[: one + room] + data[one:]
    for changed in (bytes(swapped), without, twice):
        assert not dsm.verify(io.BytesIO(changed)).sound
        with pytest.raises(dsm.CorruptError, match=f"offset {one:,}|offset {one + room:,}"):
            dsm.restore(io.BytesIO(changed))


def test_noise_is_refused():
    draw = np.random.default_rng(SEED)
    for size in (0, 1, 64, 1000, 100_000):
        with pytest.raises(dsm.CorruptError):
            dsm.restore(io.BytesIO(draw.bytes(size)))


def two_whole_ones(path):
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        for value in (1, 2, 3):
            cluster["number"] = value
            cluster.checkpoint(path, full=True)
    return sorted(name for name in os.listdir(path) if name != "lock")


def test_files_that_changed_places_are_named(tmp_path):
    """Of one cluster and of one size: nothing but their numbers tells them apart."""
    first, one, second, other = two_whole_ones(tmp_path)
    assert (first, other) == ("00000002.full", "00000003.json")
    for name, by in ((second, first), (other, one)):
        (tmp_path / "aside").write_bytes((tmp_path / name).read_bytes())
        assert os.path.getsize(tmp_path / name) == os.path.getsize(tmp_path / by)
        shutil.copy(tmp_path / by, tmp_path / name)
        with pytest.raises(dsm.CorruptError, match=f"{name}.*offset"):
            dsm.restore(tmp_path)
        assert any(name in problem for problem in dsm.verify(tmp_path).problems)
        with dsm.restore(tmp_path, allow_previous=True) as cluster:
            assert cluster["number"] == 2
        shutil.copy(tmp_path / "aside", tmp_path / name)


@pytest.mark.parametrize("name", ["00000003.full", "00000003.json"])
@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("/nowhere", path)])
def test_what_is_no_file_is_damage_and_the_checkpoint_before_helps(tmp_path, name, make):
    two_whole_ones(tmp_path)
    os.unlink(tmp_path / name)
    make(tmp_path / name)
    with pytest.raises(dsm.CorruptError, match=f"{name}.*offset"):
        dsm.restore(tmp_path)
    assert any(name in problem for problem in dsm.verify(tmp_path).problems)
    with dsm.restore(tmp_path, allow_previous=True) as cluster:
        assert cluster["number"] == 2
        assert cluster.checkpoint(tmp_path).number == 4  # though a directory is not swept


def test_a_checkpoint_that_lost_a_file_does_not_count_as_one_of_two(tmp_path):
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        for value in (1, 2):
            cluster["number"] = value
            cluster.checkpoint(tmp_path, full=True)
        os.truncate(tmp_path / "00000002.full", 100)
        cluster["number"] = 3
        cluster.checkpoint(tmp_path, full=True)
    os.truncate(tmp_path / "00000003.full", 100)
    with dsm.restore(tmp_path, allow_previous=True) as cluster:
        assert cluster["number"] == 1


def test_verifying_and_restoring_beside_a_writer_of_the_directory(tmp_path):
    """What is swept between looking and opening is no damage."""
    ended = threading.Event()
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        cluster.checkpoint(tmp_path)

        def keep_writing():
            while not ended.is_set():
                cluster.default.add("count", 1)
                cluster.checkpoint(tmp_path, full=True)

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            for _ in range(150):
                assert dsm.verify(tmp_path).problems == ()
                with dsm.SavedCheckpoint(tmp_path) as saved:
                    assert saved.stripes == 2
        finally:
            ended.set()
            writer.join()
