"""Nodes that are added and removed: what is there stays there, who was attached goes on, and what
cannot be is refused.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from processes import eventually, said, segments_of, started
from stopped_holder import stopped_holder

import dsm_native as dsm

VALUES = (b"", b"small", bytes(3000), bytes(range(256)) * 40, 7, "text", [1, 2])


def filled(cluster, keys=600):
    """Two regions, one of them with a single copy; what they hold."""
    region, single = cluster.region("all"), cluster.region("single", replication_factor=1)
    held = {number: VALUES[number % len(VALUES)] for number in range(keys)}
    region.update(held)
    single.update(held)
    return [(region, held), (single, held)]


def holds(cluster, regions):
    for region, held in regions:
        assert dict(region.items()) == held
        assert sorted(region) == sorted(held)
        assert len(region) == len(held)
    report = cluster.check()
    assert report.clean, report.texts


def ids(cluster):
    return [node.id for node in cluster.nodes]


def test_a_node_comes_and_goes(cluster):
    regions = filled(cluster)
    assert cluster.add_node() == 3
    assert ids(cluster) == [0, 1, 2, 3]
    moved = cluster.rebalance(timeout=60)
    assert moved.done
    assert moved.moved_objects > 0
    assert cluster.node_count == 4
    holds(cluster, regions)
    objects = {node.id: node.objects for node in cluster.nodes}
    assert min(objects.values()) > 0.6 * max(objects.values())
    cluster.remove_node(1)
    assert ids(cluster) == [0, 2, 3]
    assert [name for name in segments_of(cluster.name) if name.endswith("-n1")] == []
    holds(cluster, regions)
    assert cluster.add_node(weight=2) == 1
    cluster.rebalance(timeout=60)
    assert cluster.nodes[1].weight == 2
    assert cluster.nodes[1].incarnation == 2
    holds(cluster, regions)
    kinds = [event.kind for event in cluster.events()]
    assert kinds.count("draining") == kinds.count("left") == 1
    assert "dead" not in kinds
    assert cluster.failures() == []


@pytest.mark.parametrize("replicas", [1, 2])
def test_no_more_is_moved_than_the_share_of_who_comes(name, replicas):
    with dsm.Cluster(nodes=4, replication_factor=replicas, name=name) as cluster:
        cluster.default.update(dict.fromkeys(range(20000), b"x"))
        copies = 20_000 * replicas
        cluster.add_node()
        moved = cluster.rebalance(timeout=60).moved_objects
        assert copies / 5 * 0.85 < moved < copies / 5 * 1.15
        cluster.add_node(weight=2)
        moved = cluster.rebalance(timeout=60).moved_objects
        assert copies * 2 / 7 * 0.85 < moved < copies * 2 / 7 * 1.15
        held = cluster.nodes[0].objects
        cluster.remove_node(0)
        assert held * 0.99 < cluster.rebalancing.moved_objects < held * 1.15 + 50
        assert cluster.check().clean


def test_what_is_refused(name):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name, stripes=64) as cluster:
        with pytest.raises(dsm.UsageError, match="replication_factor=2"):
            cluster.remove_node(1)
        for unknown in (2, 63, -1, True, "1", None):
            with pytest.raises(dsm.UsageError, match=r"one of \[0, 1\]"):
                cluster.remove_node(unknown)
        for weight in (0, -1, 1e-9, 66, float("nan"), True, "1", None):
            with pytest.raises(dsm.UsageError, match="weight"):
                cluster.add_node(weight)
        with pytest.raises(dsm.UsageError, match="timeout"):
            cluster.remove_node(1, timeout=0)
        with pytest.raises(dsm.UsageError, match="bytes_per_s"):
            cluster.rebalance(bytes_per_s=-1)
        with pytest.raises(dsm.UsageError, match="no node 5"):
            cluster.set_weight(5, 1.0)
        assert ids(cluster) == [0, 1]
        assert cluster.rebalance().done
    with pytest.raises(dsm.ClosedError):
        cluster.add_node()


CLIENT = """
import dsm_native as dsm, sys
cluster = dsm.attach(sys.argv[1])
region = cluster.region("all")
view = region.view("viewed")
print("ready", flush=True)
for line in sys.stdin:
    word, key = line.split()
    if word == "put":
        region[int(key)] = int(key) * 3
        print("put", flush=True)
    elif word == "get":
        print("got", region[int(key)], flush=True)
    elif word == "all":
        print("all", len(list(region)), sum(value == 1 for value in region.values()), flush=True)
    elif word == "view":
        print("view", bytes(view[:3]).hex(), len(view), flush=True)
"""


def ask(client, line, answer):
    client.stdin.write(f"{line} 0\n" if " " not in line else f"{line}\n")
    client.stdin.flush()
    said(client, answer)


def test_who_was_attached_before_goes_on_through_builds_of_the_same_id(cluster):
    region = cluster.region("all")
    region.update(dict.fromkeys(range(300), 1))
    region["viewed"] = b"abc" + bytes(20_000)
    with started(CLIENT, cluster.name) as client:
        said(client, "ready")
        for turn in range(3):
            node = cluster.add_node()
            assert node == 3
            cluster.rebalance(timeout=60)
            if turn % 2:  # it learns of this build only after it is gone
                ask(client, "get 5", "got 1")
            region[turn] = turn * 100
            cluster.remove_node(0 if turn == 2 else 3)
            ask(client, f"get {turn}", f"got {turn * 100}")
            region[turn] = 1
        region["viewed"] = b"other" + bytes(9)
        ask(client, "all", "all 301 300")
        ask(client, "put 7", "put")
        assert region[7] == 21
        # What it looks at is what it was, wherever that memory's node has gone.
        ask(client, "view", "view 616263 20003")
        os.kill(client.pid, signal.SIGSTOP)
        cluster.add_node()
        cluster.rebalance(timeout=60)
        cluster.remove_node(1)
        region[8] = 888
        os.kill(client.pid, signal.SIGCONT)
        ask(client, "get 8", "got 888")
    report = cluster.check()
    assert report.clean, report.texts


@pytest.mark.parametrize("removed", ["home", "other"])
def test_a_stripe_of_a_stopped_process_is_left_named_and_moved_later(name, removed):
    with dsm.Cluster(nodes=2, replication_factor=1, name=name, stripes=16) as cluster:
        cluster.default.update({number: number for number in range(200)})
        with stopped_holder(cluster) as holder:
            cluster.add_node()
            # A node that has nothing of the stripe waits for its lock, too, before it goes.
            home = next(n for n in (0, 1) if _holds_key(cluster, n) == (removed == "home"))
            with pytest.raises(dsm.WaitTimeoutError) as caught:
                cluster.remove_node(home, timeout=2)
            message = str(caught.value)
            assert f"pid {holder.pid}" in message
            assert "stopped" in message
            # A stopped process may keep new memory of a node from others, too: what does not need
            # any has moved, and reads go on.
            assert cluster.rebalancing.blocked >= 1
            assert [cluster[number] for number in range(200)] == list(range(200))
            os.kill(holder.pid, signal.SIGCONT)
            eventually(lambda: home not in ids(cluster), "the removal goes on by itself")
        assert [cluster[number] for number in range(200)] == list(range(200))
        eventually(lambda: cluster.check().clean, "everything is in order")


def _holds_key(cluster, node):
    return cluster.submit(where, near="held").result() == node


def where():
    return dsm.current()._scheduler.station.node


def test_tasks_follow(cluster):
    regions = filled(cluster, 100)
    node = cluster.add_node()
    cluster.rebalance(timeout=60)
    assert cluster.submit(where, node=node).result(20) == node
    assert {cluster.submit(where, near=number, region=regions[0][0]).result(20)
            for number in range(100)} == {0, 1, 2, 3}  # fmt: skip
    assert set(cluster.map(lambda _: (time.sleep(0.01), where())[1], range(80))) == {0, 1, 2, 3}
    slow = cluster.submit(lambda: (time.sleep(1.0), where())[1], node=node)
    eventually(slow.running, "it has begun")
    queued = [cluster.submit(where, node=node) for _ in range(20)]
    cluster.remove_node(node)
    assert slow.result(0.1) == node  # it was let finish
    assert all(future.result(20) in (0, 1, 2, 3) for future in queued)
    with pytest.raises(dsm.UsageError, match="node must be one of"):
        cluster.submit(where, node=node)
    assert set(cluster.map(lambda _: (time.sleep(0.01), where())[1], range(60))) == {0, 1, 2}
    assert cluster.map(nested, range(6)) == [6] * 6


def nested(_):
    return sum(dsm.current().map(lambda number: number, range(4)))


def test_a_task_and_a_client_may_add_and_remove(cluster):
    regions = filled(cluster, 200)
    assert cluster.submit(lambda: dsm.current().add_node()).result(60) == 3
    assert cluster.submit(where, node=3).result(20) == 3
    other = dsm.attach(cluster.name)
    other.remove_node(0)
    assert ids(cluster) == ids(other) == [1, 2, 3]
    assert other.add_node() == 0
    other.rebalance(timeout=60)
    assert cluster.submit(where, node=0).result(20) == 0
    other.close()
    holds(cluster, regions)


def test_a_view_outlives_the_node_that_it_looks_at(name):
    with dsm.Cluster(nodes=2, replication_factor=1, name=name, stripes=16) as cluster:
        region = cluster.default
        held = {number: bytes([number]) * 50_000 for number in range(12)}
        region.update(held)
        views = {number: region.view(number) for number in held}
        cluster.add_node()
        cluster.remove_node(0)
        cluster.remove_node(1)
        region.update(dict.fromkeys(range(12), b"other"))
        assert all(bytes(views[number]) == held[number] for number in held)
        cluster.add_node()
        cluster.rebalance(timeout=60)
        assert all(bytes(views[number]) == held[number] for number in held)
        assert dict(region.items()) == dict.fromkeys(range(12), b"other")
        del views
        assert cluster.check().clean


def test_transactions_and_waits_go_across(cluster):
    region = cluster.default
    region.update({"a": 50, "b": 50})
    with cluster.transaction() as kept:
        assert kept["a"] + kept["b"] == 100
        cluster.add_node()
        cluster.rebalance(timeout=60)
        assert kept["a"] + kept["b"] == 100
        kept["a"], kept["b"] = 10, 90
    assert (region["a"], region["b"]) == (10, 90)
    with pytest.raises(dsm.TransactionAbortedError), cluster.transaction() as late:  # noqa: PT012
        assert late["a"] == 10
        region["a"] = 11
        cluster.remove_node(0)
        late["b"] = 0
    version = region.get_versioned("a")[1]
    cluster.remove_node(1)
    cluster.add_node()
    cluster.rebalance(timeout=60)
    assert region.put("a", 12) > version  # no version comes twice, wherever the key is
    assert region.wait("a", newer_than=version, timeout=5)[0] == 12


def test_arrays_do_not_mind(cluster):
    import numpy as np

    grid = cluster.array("grid", shape=(400, 100))
    with grid.writing() as block:
        block[...] = np.arange(40_000).reshape(400, 100)
    cluster.add_node()
    cluster.remove_node(0)
    assert {tile.node for tile in grid.tiles()} <= {1, 2, 3}
    with grid.writing(slice(0, 10)) as block:
        block[...] = 1
    assert grid.snapshot(slice(0, 10)).sum() == 1000
    assert grid.snapshot(slice(10, 400)).sum() == np.arange(1000, 40_000).sum()
    assert cluster.check().clean


def test_rebalance_shows_how_far_it_is(cluster, capsys):
    regions = filled(cluster, 300)
    told = []
    cluster.rebalance(bytes_per_s=40_000)
    started_at = time.monotonic()
    cluster.add_node()
    assert not cluster.rebalancing.done
    with pytest.raises(dsm.WaitTimeoutError, match="still to be moved"):
        cluster.rebalance(timeout=0.05)
    moved = cluster.rebalance(progress=told.append, bytes_per_s=2_000_000)
    assert sum(told) > 0
    assert moved.moved_bytes / (time.monotonic() - started_at) < 3_000_000
    cluster.rebalance(bytes_per_s=0, progress=True)
    assert "stripes" in capsys.readouterr().err
    holds(cluster, regions)


def test_iteration_shows_each_key_once_while_stripes_move(cluster):
    region = cluster.default
    region.update(dict.fromkeys(range(2000), 0))
    cluster.rebalance(bytes_per_s=3_000_000)
    for change in (cluster.add_node, lambda: cluster.remove_node(0), cluster.add_node):
        change()
        while not cluster.rebalancing.done:
            assert sorted(region) == list(range(2000))
            assert len(region) == 2000
    assert cluster.check().clean
