"""A stopped (SIGSTOP) process that holds a lock: it is named, and everything else goes on."""

from __future__ import annotations

import os
import signal
import time

import pytest
from processes import eventually, said, started
from stopped_holder import stopped_holder

import dsm_native as dsm


@pytest.fixture
def opened(name):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name, stripes=64) as cluster:
        cluster["held"] = b"first"
        yield cluster


def test_a_stopped_holder_is_named_and_others_go_on(opened):
    opened.default.update(dict.fromkeys(range(400), -1))
    opened.default.update(dict.fromkeys(range(400), -2))
    with stopped_holder(opened) as holder:
        for change in (
            lambda: opened.default.put("held", b"x", timeout=0.3),
            lambda: opened.default.delete("held", timeout=0.3),
            lambda: opened.default.add("held", timeout=0.3),
        ):
            start = time.monotonic()
            with pytest.raises(dsm.LockTimeoutError) as caught:
                change()
            assert 0.25 < time.monotonic() - start < 1.5
            message = str(caught.value)
            assert f"pid {holder.pid}" in message
            assert "state T (stopped)" in message
            assert f"kill -CONT {holder.pid}" in message
            assert isinstance(caught.value, TimeoutError)

        # Readers wait for no writer, dead or alive; the old value or the new one, whole.
        value = opened["held"]
        assert value in (b"first", b"probe") or value == bytes(32 << 20)
        assert "held" in opened
        assert opened.default.view("held") == value
        assert "held" in list(opened.default)

        served = refused = 0
        for number in range(400):
            try:
                opened.default.put(number, number, timeout=0.05)
                served += 1
                assert opened[number] == number
            except dsm.LockTimeoutError:
                refused += 1
        # One of 64 stripes is the holder's. It may be stopped while it takes memory from a node,
        # which keeps new memory of that node from the others; these keys need none.
        assert served > 350
        assert refused < 50

        os.kill(holder.pid, signal.SIGCONT)
        opened.default.put("held", b"after", timeout=10)
        opened.default.update({number: -number for number in range(400)})
        assert opened.default.get_many(range(400)) == [-number for number in range(400)]
    eventually(lambda: opened.check().clean, "everything is in order")


def test_the_clusters_time_out_is_the_default(name):
    with dsm.Cluster(nodes=1, name=name, stripes=1, lock_timeout=0.3) as cluster:
        cluster["held"] = b"first"
        with stopped_holder(cluster) as holder:
            for change in (
                lambda: cluster.default.__setitem__("other", 1),
                lambda: cluster.default.put_many({"other": 1}),
                lambda: cluster.default.pop("held"),
                lambda: cluster.check(),
            ):
                start = time.monotonic()
                with pytest.raises(dsm.LockTimeoutError, match=f"pid {holder.pid}, state T"):
                    change()
                assert time.monotonic() - start < 2
            os.kill(holder.pid, signal.SIGCONT)
            eventually(lambda: cluster.default.add("counted", timeout=5) > 0, "granted again")


def test_a_stopped_holder_that_is_killed_frees_its_stripe(opened):
    with stopped_holder(opened) as holder:
        holder.kill()
        start = time.monotonic()
        opened["held"] = b"mine"
        assert time.monotonic() - start < 2
        assert opened["held"] == b"mine"
    assert opened.check().clean


def test_ctrl_c_ends_a_wait_for_a_stopped_holder(opened):
    waiter = """
import dsm_native as dsm, os, signal, sys, threading, time
cluster = dsm.attach(sys.argv[1])
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    cluster.default.put("held", 1, timeout=60)
except KeyboardInterrupt:
    print("interrupted" if time.monotonic() - start < 3 else "late", flush=True)
"""
    with stopped_holder(opened), started(waiter, opened.name) as waiting:
        said(waiting, "interrupted")


def test_a_stopped_node_blocks_nobody(opened):
    pid = opened.nodes[0].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        opened.default.update({number: bytes(5000) for number in range(200)})
        assert len(opened.default) == 201
        assert opened.check().clean
    finally:
        start = time.monotonic()
        opened.close()  # ends the stopped node by SIGKILL
        assert time.monotonic() - start < 15


def test_a_checkpoint_names_the_stopped_holder_and_leaves_nothing(opened, tmp_path):
    opened._handle.lock_timeout = 0.5
    with stopped_holder(opened) as holder:
        for _ in range(2):
            with pytest.raises(dsm.LockTimeoutError, match=f"pid {holder.pid}, state T"):
                opened.checkpoint(tmp_path)
        os.kill(holder.pid, signal.SIGCONT)
        opened._handle.lock_timeout = 10.0
        assert opened.checkpoint(tmp_path).number == 1
        holder.kill()
    assert dsm.verify(tmp_path).sound
    assert opened.check().clean
