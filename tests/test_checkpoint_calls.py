"""How checkpoints are asked for: several at once, odd arguments, failing files, forks."""

from __future__ import annotations

import errno
import io
import math
import os
import resource
import signal
import threading
import warnings

import pytest
from processes import eventually, fresh_name, gone

import dsm_native as dsm
from dsm_native.restore import verify


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "checkpoints")


def test_several_at_once_to_one_directory_wait_for_each_other(path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        for i in range(200):
            cluster[i] = os.urandom(20_000)
        start = threading.Barrier(4)
        ended = []

        def take():
            start.wait()
            try:
                ended.append(cluster.checkpoint(path).number)
            except dsm.DSMError as error:
                ended.append(error)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ended, key=repr) == [1, 2, 3, 4]


def test_two_clusters_to_one_directory_wait_for_each_other(path):
    with dsm.Cluster(nodes=1, stripes=16) as one, dsm.Cluster(nodes=1, stripes=16) as other:
        one.checkpoint(path)
        from dsm_native.checkpoint_directory import locked

        with locked(path, math.inf), pytest.raises(dsm.LockTimeoutError, match="being written"):
            other.checkpoint(path, timeout=0.05)
        assert other.checkpoint(path, timeout=0.05).number == 2


@pytest.mark.parametrize(
    ("place", "options", "text"),
    [
        (5, {}, "path"),
        (None, {}, "path"),
        ("x", {"timeout": "1"}, "timeout"),
        ("x", {"timeout": -1}, "timeout"),
        ("x", {"timeout": math.nan}, "timeout"),
        ("x", {"full": 1}, "full"),
    ],
)
def test_arguments_are_checked(tmp_path, place, options, text):
    with (
        dsm.Cluster(nodes=1, stripes=16) as cluster,
        pytest.raises(dsm.UsageError, match=text),
    ):
        cluster.checkpoint(str(tmp_path / place) if place == "x" else place, **options)
    assert os.listdir(tmp_path) == []


def test_paths_are_text_bytes_or_path_objects(tmp_path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = 1
        cluster.checkpoint(os.fsencode(tmp_path / "x"))
        assert cluster.checkpoint(tmp_path / "x").number == 2
    with dsm.restore(os.fsencode(tmp_path / "x"), allow_previous=True) as cluster:
        assert cluster["key"] == 1
    with pytest.raises(dsm.UsageError, match="path"):
        dsm.restore(5)
    with pytest.raises(dsm.UsageError, match="checkpoint_path"):
        dsm.Cluster(nodes=1, checkpoint_interval=1, checkpoint_path=5)


def test_a_file_with_more_behind_its_end_does_not_verify(tmp_path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = 1
        with open(tmp_path / "file", "wb") as file:
            cluster.checkpoint(file)
    assert verify(str(tmp_path / "file")).sound
    with open(tmp_path / "file", "ab") as file:
        file.write(b"\0")
    (problem,) = verify(str(tmp_path / "file")).problems
    assert "after the last frame" in problem
    with pytest.raises(dsm.CorruptError, match="after the last frame"):
        dsm.restore(tmp_path / "file")
    with open(tmp_path / "file", "rb") as file, dsm.restore(file) as cluster:
        assert file.read() == b"\0"  # a stream may be a part of something longer
        assert cluster["key"] == 1


def test_a_warning_that_is_an_error_keeps_no_cluster_open(tmp_path):
    (tmp_path / "file").write_text("no directory")
    name = fresh_name()
    cluster = dsm.Cluster(
        1, name=name, checkpoint_interval=math.inf, checkpoint_path=str(tmp_path / "file")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="no directory"):
            cluster.close()
    assert cluster.closed
    gone(name)


def test_any_failure_of_one_leaves_the_timer_going(path, monkeypatch):
    with dsm.Cluster(1, checkpoint_interval=0.02, checkpoint_path=path) as cluster:
        failing = [MemoryError("m"), RuntimeError("can't start new thread"), ValueError("v")]
        real = cluster.checkpoint

        def checkpoint(place):
            if failing:
                raise failing.pop()
            return real(place)

        def tried():
            return cluster._timer.taken and not failing

        monkeypatch.setattr(cluster, "checkpoint", checkpoint)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            eventually(tried, "the last one succeeds")
        assert {str(entry.message)[-1] for entry in warned} >= {"m", "d", "v"}


def test_a_disk_that_is_full_keeps_no_half_of_a_file(path):
    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = os.urandom(9_000_000)
        cluster.checkpoint(path)
        before = sorted(os.listdir(path))
        # Python ignores SIGXFSZ, so that beyond the limit a write fails with EFBIG.
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                cluster.checkpoint(path, full=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sorted(os.listdir(path)) == before
        assert verify(path).sound
        assert cluster.checkpoint(path, full=True).number == 2


def test_a_child_forked_within_one_does_not_end_it(path):
    class Forking(io.BytesIO):
        def write(self, data):
            child = os.fork()
            if child == 0:
                raise InterruptedError
            assert os.waitpid(child, 0)[1] == 0
            return super().write(data)

    with dsm.Cluster(nodes=1, stripes=16) as cluster:
        cluster["key"] = 1
        file = Forking()
        try:
            cluster.checkpoint(file)
        except InterruptedError:
            os._exit(0)
        file.seek(0)
        with dsm.restore(file) as restored:
            assert restored["key"] == 1


class Stops(io.BytesIO):
    """Much is replaced while the first buffer is written; then the disk fails, or a kill comes."""

    def __init__(self, region, killed):
        super().__init__()
        self.region, self.killed = region, killed

    def write(self, data):
        for i in range(500):
            self.region[i] = 0
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "no room")


@pytest.mark.parametrize("killed", [False, True])
def test_one_that_fails_keeps_no_memory(name, killed):
    def control_bytes():
        return os.stat(f"/dev/shm/dsm-{os.getuid()}-{name}").st_blocks * 512

    with dsm.Cluster(nodes=1, name=name, stripes=16) as cluster:
        for i in range(500):
            cluster[i] = os.urandom(30_000)  # 15 MB, all of them to be kept
        cluster.checkpoint(io.BytesIO())
        before = control_bytes()
        child = os.fork()
        if child == 0:
            try:
                cluster.checkpoint(Stops(cluster.default, killed))
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) == killed
        assert cluster[7] == 0
        eventually(lambda: control_bytes() < before + 2_000_000, "what was kept is freed")
        assert cluster.check().clean


class Taker:
    """A stream that keeps what it is given, as long as `answer` says that it took it."""

    def __init__(self, answer):
        self.kept, self._answer = [], answer

    def write(self, data):
        self.kept.append(data)
        return self._answer(len(data))


def test_a_stream_may_keep_what_it_is_given():
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        for number in range(12):
            cluster[number] = os.urandom(1 << 20)
        stream = Taker(lambda size: None)
        cluster.checkpoint(stream)
        assert len(stream.kept) > 2
        assert {type(part) for part in stream.kept} == {bytes}
    assert verify(io.BytesIO(b"".join(stream.kept))).sound


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(0, OSError), (-1, OSError), (1 << 40, OSError), (True, TypeError), ("all", TypeError)],
)
def test_a_stream_that_makes_no_progress_is_an_error(answer, kind):
    with dsm.Cluster(nodes=1, stripes=2) as cluster:
        cluster["a"] = 1
        stream = Taker(lambda size: answer)
        with pytest.raises(kind, match="took|returned|interpreted"):
            cluster.checkpoint(stream)
        assert len(stream.kept) == 1
        cluster.checkpoint(io.BytesIO())


def test_a_stream_that_would_block_is_an_error():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with dsm.Cluster(nodes=1, stripes=2) as cluster, open(reading, "rb"):
        cluster["a"] = b"a" * (1 << 20)
        with open(writing, "wb", buffering=0) as stream, pytest.raises(BlockingIOError):
            cluster.checkpoint(stream)


def test_a_relative_path_of_the_timer_is_that_of_the_beginning(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    with dsm.Cluster(
        nodes=1, stripes=2, checkpoint_interval=1000, checkpoint_path="saved"
    ) as cluster:
        cluster["a"] = 1
        monkeypatch.chdir(tmp_path / "other")
    assert os.listdir(tmp_path / "other") == []
    assert verify(tmp_path / "one" / "saved").sound
