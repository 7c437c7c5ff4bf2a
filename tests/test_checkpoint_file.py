"""The file of a checkpoint is the frames end to end, whatever the file system refuses or cuts."""

from __future__ import annotations

import errno
import os

import pytest

import dsm_native as dsm
from dsm_native._native.frames import DISK_BLOCK_BYTES, FrameBuffer
from dsm_native.checkpoint_file import CheckpointFile
from dsm_native.checkpoint_frames import GENS, FrameReader, FrameWriter

write, open_file = os.write, os.open


def refuse_open(path, flags, *mode):
    if flags & os.O_DIRECT:
        raise OSError(errno.EINVAL, "no such files here")
    return open_file(path, flags, *mode)


def refuse_blocks(descriptor, data):
    if direct(descriptor):
        raise OSError(errno.EINVAL, "other blocks")
    return write(descriptor, data)


def direct(descriptor):
    with open(f"/proc/self/fdinfo/{descriptor}") as file:
        flags = next(line.split()[1] for line in file if line.startswith("flags"))
    return bool(int(flags, 8) & os.O_DIRECT)


def write_half_a_block(descriptor, data):
    return write(descriptor, memoryview(data)[: DISK_BLOCK_BYTES // 2])


def write_one_block(descriptor, data):
    return write(descriptor, memoryview(data)[:DISK_BLOCK_BYTES])


FAULTS = {
    "none": {},
    "open": {"open": refuse_open},
    "blocks": {"write": refuse_blocks},
    "short": {"write": write_one_block},
    "torn": {"write": write_half_a_block},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_frames_lie_end_to_end(tmp_path, monkeypatch, fault):
    for name, function in FAULTS[fault].items():
        monkeypatch.setattr(os, name, function)
    path = str(tmp_path / "file")
    file = CheckpointFile(path)
    payloads = [os.urandom(size) for size in (1, 64, 262_144, 4_032, 99_999) * 40]
    writer = FrameWriter(file.write, True)
    try:
        for number, payload in enumerate(payloads):
            writer.add(GENS, payload, number)
        writer.finish()
    finally:
        writer.stop()
    file.sync()
    file.close()
    file.close()
    monkeypatch.undo()
    assert os.path.getsize(path) == writer.offset > 3 * (4 << 20)
    with open(path, "rb") as opened:
        reader = FrameReader(opened.read, path)
        reader.begins = False
        for number, payload in enumerate(payloads):
            frame = reader.next()
            assert (frame.subject, bytes(frame.payload)) == (number, payload)


def test_what_follows_a_buffer_takes_what_fills_no_block():
    first, second = (FrameBuffer(4 * DISK_BLOCK_BYTES, 9) for _ in range(2))
    first.reset(DISK_BLOCK_BYTES)
    assert first.add(GENS, bytes(5_000), 7)
    whole, end = bytes(first), first.end
    second.follow(first)
    assert len(first) == DISK_BLOCK_BYTES
    assert (bytes(first) + bytes(second), second.end) == (whole, end)


@pytest.mark.parametrize("fault", ["open", "blocks"])
def test_a_checkpoint_where_it_is_refused(tmp_path, monkeypatch, fault):
    for name, function in FAULTS[fault].items():
        monkeypatch.setattr(os, name, function)
    value = os.urandom(9_000_001)
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["large"] = value
        cluster.default.put_many({number: bytes(number % 3_000) for number in range(5_000)})
        cluster.checkpoint(tmp_path)
    assert dsm.verify(tmp_path).sound
    with dsm.restore(tmp_path) as cluster:
        assert cluster["large"] == value
        assert all(cluster[number] == bytes(number % 3_000) for number in range(0, 5_000, 37))
