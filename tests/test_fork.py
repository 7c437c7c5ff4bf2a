"""A handle knows its process (I-13): what a forked child may do with what it inherited."""

from __future__ import annotations

import os
import threading
import time
import traceback

import pytest
from processes import eventually, run

import dsm_native as dsm


def in_child(work):
    """Runs work() in a forked child; fails with its traceback."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            work()
            status = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, told


def test_a_child_joins_at_first_use_under_its_own_identity(cluster):
    cluster["k"] = 1

    def work():
        assert cluster["k"] == 1
        cluster["k"] = 2
        mine = [entry for entry in cluster.stats()["participants"] if entry["pid"] == os.getpid()]
        assert [entry["kind"] for entry in mine] == ["client"]
        assert cluster.default.add("hits", 5) == 5

    in_child(work)
    assert cluster["k"] == 2
    assert cluster["hits"] == 5
    eventually(lambda: len(cluster.stats()["participants"]) == 4, "the child's slot is freed")


def test_children_that_do_nothing_leave_no_trace(cluster):
    for _ in range(20):
        in_child(lambda: None)
    assert len(cluster.stats()["participants"]) == 4


def test_a_child_may_close_and_the_parent_goes_on(cluster):
    def work():
        cluster.close()
        with pytest.raises(dsm.ClosedError):
            cluster["k"]

    def use_and_close():
        cluster["k"] = 1
        cluster.close()
        cluster.close()

    in_child(work)
    in_child(use_and_close)
    assert cluster["k"] == 1
    assert cluster.map(lambda x: x + 1, [1]) == [2]


def test_what_only_the_owner_may_do_is_refused(cluster):
    def work():
        with pytest.raises(dsm.ForkedError, match=str(os.getppid())):
            cluster.map(str, [1])
        assert issubclass(dsm.ForkedError, dsm.UsageError)

    in_child(work)


def test_grandchildren(cluster):
    def work():
        in_child(lambda: cluster.default.add("n"))
        cluster.default.add("n")
        in_child(lambda: cluster.default.add("n"))

    in_child(work)
    assert cluster["n"] == 3


def test_an_attached_handle_is_inherited_as_well(cluster):
    other = dsm.attach(cluster.name)
    in_child(lambda: other.default.add("n"))
    other.default.add("n")
    assert cluster["n"] == 2
    other.close()


def test_handles_that_were_closed_stay_closed(cluster):
    other = dsm.attach(cluster.name)
    other.close()

    def work():
        with pytest.raises(dsm.ClosedError):
            other["k"]

    in_child(work)


def test_views_stay_valid_in_a_child(cluster):
    cluster["k"] = b"x" * 100_000
    view = cluster.default.view("k")

    def work():
        assert view == b"x" * 100_000
        cluster["k"] = b"y" * 100_000
        assert view == b"x" * 100_000
        assert cluster.default.view("k") == b"y" * 100_000

    in_child(work)
    assert view == b"x" * 100_000
    assert cluster["k"] == b"y" * 100_000


def test_fork_while_other_threads_write(cluster):
    stop = threading.Event()

    def churn(identity):
        while not stop.is_set():
            cluster[identity] = bytes(100_000)
            cluster.default.add("churn")

    pool = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
    for thread in pool:
        thread.start()
    try:
        for _ in range(10):
            in_child(lambda: [cluster.default.add("children") for _ in range(20)])
    finally:
        stop.set()
        for thread in pool:
            thread.join()
    assert cluster["children"] == 200
    assert cluster.check().clean


def test_the_owners_exit_is_not_the_childs(name):
    """A child that goes through the interpreter's ordinary exit must not end the cluster."""
    source = f"""
import dsm_native as dsm, os, sys
cluster = dsm.Cluster(nodes=2, name={name!r}, stripes=64)
cluster["k"] = 1
for leave in (lambda: sys.exit(0), cluster.close, lambda: cluster.__exit__(None, None, None)):
    child = os.fork()
    if child == 0:
        cluster["k"]
        leave()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(cluster["k"], cluster.map(abs, [-1]))
"""
    result = run(source)
    assert (result.stdout, result.stderr) == ("1 [1]\n", "")


def test_a_child_survives_its_parent_for_a_while(name):
    source = f"""
import dsm_native as dsm, os, sys, time
cluster = dsm.Cluster(nodes=1, name={name!r}, stripes=64)
cluster["k"] = b"x" * 9000
view = cluster.default.view("k")
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.close(writer)
    os.read(reader, 1)                 # until the parent has gone
    time.sleep(0.3)
    assert view == b"x" * 9000
    try:
        cluster["k"]
    except dsm.ClosedError:
        print("closed", flush=True)
    os._exit(0)
os.close(reader)
"""
    result = run(source)
    assert (result.stdout, result.stderr) == ("closed\n", "")


def test_fork_in_a_thread_while_the_parent_closes(name):
    for _ in range(3):
        cluster = dsm.Cluster(nodes=1, name=name, stripes=64)
        cluster["k"] = bytes(9000)
        view = cluster.default.view("k")
        closer = threading.Timer(0.002, cluster.close)
        closer.start()
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            in_child(lambda view=view: bytes(view))
        closer.join()
        assert view == bytes(9000)
        del view
