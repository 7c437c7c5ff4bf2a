"""Transactions where something ends: clusters, parents of forks, stopped processes, memory."""

from __future__ import annotations

import os
import signal
import time

import pytest
from processes import run, said, started

import dsm_native as dsm


def test_other_clusters_regions_are_refused(region, name):
    tx = region.transaction()
    with dsm.Cluster(nodes=1, name=name) as other, pytest.raises(dsm.UsageError, match=name):
        tx.region(other.default)


def test_after_close(name):
    cluster = dsm.Cluster(nodes=1, name=name)
    tx = cluster.transaction()
    tx["a"] = 1
    cluster.close()
    with pytest.raises(dsm.ClosedError):
        tx["a"]
    with pytest.raises(dsm.ClosedError):
        tx.commit()


def test_the_cluster_has_transactions_too(cluster):
    other = cluster.region("other")
    with cluster.transaction() as tx:
        tx["a"] = tx.region(other)["b"] = 1
    assert (cluster["a"], other["b"]) == (1, 1)
    assert cluster.transact(lambda tx: tx.add("a")) == 2
    assert cluster.check().clean


FORKING = """
import os, sys
import dsm_native as dsm
with dsm.Cluster(nodes=1, name=sys.argv[1]) as cluster:
    tx = cluster.transaction()
    tx["a"] = 1
    pid = os.fork()
    if pid == 0:
        for use in (lambda: tx["a"], tx.commit):
            try:
                use()
            except dsm.ForkedError as error:
                print("refused", flush=True)
        with cluster.transaction() as own:
            own["b"] = 2
        os._exit(0)
    os.waitpid(pid, 0)
    tx.commit()
    print(cluster["a"], cluster["b"])
"""


def test_a_forked_child_begins_its_own(name):
    result = run(FORKING, name)
    assert (result.returncode, result.stdout, result.stderr) == (0, "refused\nrefused\n1 2\n", "")


WRITER = """
import dsm_native as dsm, sys
cluster = dsm.attach(sys.argv[1])
value = bytes(24 << 20)
print("ready", flush=True)
while True:
    with cluster.transaction() as tx:
        tx["held"] = value
        tx["beside"] = 1
"""


def test_a_stopped_committer_is_named_and_readers_go_on(name):
    with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
        cluster["held"] = b"first"
        with started(WRITER, name) as writer:
            said(writer, "ready")
            for _ in range(200):
                os.kill(writer.pid, signal.SIGSTOP)
                try:
                    with cluster.transaction(timeout=0.05) as tx:
                        tx["held"] = b"probe"
                except dsm.LockTimeoutError as error:
                    message = str(error)
                    break
                os.kill(writer.pid, signal.SIGCONT)
                time.sleep(0.003)
            else:
                pytest.fail("the writer was never stopped within its commit")
            assert f"pid {writer.pid}, state T (stopped)" in message
            assert "held" in cluster
            os.kill(writer.pid, signal.SIGCONT)
        with cluster.transaction() as tx:
            tx["held"] = b"mine"
        assert cluster.check().clean


def test_a_full_store_changes_nothing(name):
    with dsm.Cluster(nodes=1, name=name, stripes=16, segment_bytes=8 << 20) as cluster:
        cluster["a"] = b"old"
        tx = cluster.transaction()
        tx["a"] = b"new"
        tx["large"] = bytes(6 << 20)
        tx["larger"] = bytes(6 << 20)
        with pytest.raises(dsm.StoreFullError):
            tx.commit()
        assert cluster["a"] == b"old"
        assert "large" not in cluster
        with cluster.transaction() as tx:
            tx["large"] = bytes(6 << 20)
        assert cluster.check().clean


def test_the_number_of_stripes_is_limited(name):
    """The kernel reports the death of a thread to the waiters of 2,048 of its locks at most."""
    with dsm.Cluster(nodes=1, name=name, stripes=8192) as cluster:
        tx = cluster.transaction()
        tx.update((key, 0) for key in range(4000))
        with pytest.raises(dsm.LimitError, match="2000 stripes"):
            tx.commit()
        assert len(cluster.default) == 0
