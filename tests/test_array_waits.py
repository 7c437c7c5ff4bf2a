"""Blocks of an array that wait for others: for holders that are stopped, killed, forked, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from array_holder import HOLDER, in_thread
from processes import eventually, run, said, started

import dsm_native as dsm


def test_writers_wait_for_readers_and_their_time_out_names_them(triple, label):
    array = triple.array(label, (16, 16), tile_rows=4)
    outcome = []

    def write(rows, timeout):
        try:
            with array.writing(rows, timeout=timeout) as block:
                block[:] = 1
            outcome.append("written")
        except dsm.LockTimeoutError as error:
            outcome.append(str(error))

    with array.reading(slice(0, 8)) as held, array_of(triple, label).reading_elsewhere():
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

    def __init__(self, hasty, label):
        self.array = hasty.array(label)

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


@pytest.mark.parametrize("kind", ["writing", "reading"])
def test_a_stopped_holder_is_named_and_goes_on_afterwards(hasty, kind):
    array = hasty.array("grid", (16, 16), tile_rows=4)
    with started(HOLDER, hasty.name, kind) as holder:
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
def test_a_killed_writer_is_undone_for_the_next_and_for_snapshots(hasty, replicas):
    array = hasty.array("grid", (16, 16), tile_rows=4, replication_factor=replicas)
    array.fill(3)
    for turn in range(4):
        with started(HOLDER, hasty.name, "writing") as holder:
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


def test_without_undo_the_next_holder_is_told(hasty):
    for replicas in (1, 2):
        array = hasty.array("grid", (16, 16), tile_rows=4, replication_factor=replicas, undo=False)
        array.fill(3)
        with started(HOLDER, hasty.name, "writing") as holder:
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
def test_a_forked_child_cannot_end_its_parents_block(hasty):
    array = hasty.array("grid", (16, 16))
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
    result = run(source, hasty.name)
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


def test_ctrl_c_ends_a_wait_and_leaves_nothing_taken(hasty):
    array = hasty.array("grid", (16, 16), tile_rows=4)
    with array.writing(slice(0, 4)), started(CTRL_C, hasty.name) as waiter:
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
