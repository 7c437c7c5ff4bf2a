"""SIGKILL while a checkpoint is taken and written: the one before stays, the next one succeeds."""

from __future__ import annotations

import os
import signal
import time

import pytest

import dsm_native as dsm

STEPS = ("open", "write", "fsync", "rename", "unlink", "close")


def die_at(step, late):
    """From now on this process ends itself at that call of the kernel's, before it or after it."""
    count = 0

    def counting(function):
        def call(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == step and not late:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **keywords)
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name)))


def in_child(act):
    """Runs it in a forked child; whether that was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def numbers(path):
    with dsm.restore(path, nodes=1) as cluster:
        return {key: cluster[key] for key in cluster.default}


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("full", [False, True], ids=["delta", "full"])
def test_killed_at_every_step_of_writing_a_directory(tmp_path, full, late):
    path = str(tmp_path / "checkpoints")
    with dsm.Cluster(nodes=1, stripes=4, lock_timeout=20) as cluster:
        cluster["number"] = 0
        cluster.checkpoint(path)
        cluster["number"] = 1
        cluster.checkpoint(path)
        step, killed = 0, True
        while killed:
            step += 1
            before = cluster["number"]
            cluster["number"] = before + 1

            def act(step=step):
                die_at(step, late)
                cluster.checkpoint(path, full=full)

            killed = in_child(act)
            assert dsm.verify(path).sound, f"step {step}"
            found = numbers(path)["number"]
            assert found in (before, before + 1), f"step {step}"
            assert killed or found == before + 1
            # The next one succeeds, whatever was left, and leaves two generations, and one of
            # another chain if they share theirs.
            assert cluster.checkpoint(path, full=full).objects <= 1
            names = os.listdir(path)
            assert sum(name.endswith(".json") for name in names) in ((2,) if full else (2, 3))
            assert not [name for name in names if name.endswith(".new")]
            assert cluster.check().clean
    assert step > 15
    assert numbers(path) == {"number": step + 1}


def test_killed_in_the_middle_of_the_walk(tmp_path):
    """A process that takes checkpoints without end is killed at random; another one goes on."""
    path = str(tmp_path / "checkpoints")

    class Nowhere:
        def write(self, data):
            return len(data)

    def take_for_ever():
        while True:
            cluster.checkpoint(Nowhere())

    with dsm.Cluster(nodes=2, stripes=16, lock_timeout=20) as cluster:
        for i in range(2000):
            cluster[i] = bytes(i % 900)
        cluster["large"] = b"l" * 3_000_000
        for attempt in range(12):
            pid = os.fork()
            if pid == 0:
                take_for_ever()
            deadline = time.monotonic() + 0.02 + attempt * 0.007
            while time.monotonic() < deadline:
                cluster["large"] = bytes([attempt]) * 3_000_000
                cluster[attempt] = "changed"
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            report = cluster.checkpoint(path)
            assert report.number == attempt + 1
        assert cluster.check().clean
        expected = {key: cluster[key] for key in cluster.default}
        limbo = sum(cluster._handle.usage(node)["limbo_bytes"] for node in range(2))
        cluster["large"] = b""
        assert limbo <= 4 * 3_000_000
    with dsm.restore(path) as cluster:
        assert {key: cluster[key] for key in cluster.default} == expected
