"""Clusters: settings, names, handles in other processes, and every way in which they end."""

from __future__ import annotations

import os
import signal
import time

import pytest
from processes import eventually, gone, node_pids, run, started

import dsm_native as dsm

SMALL = "nodes=2, stripes=64"
STATE_OFFSET = 184  # docs/segment-format.md, which a test compares with the code


@pytest.mark.parametrize(
    ("settings", "said_about"),
    [
        ({"nodes": 0}, "nodes"),
        ({"nodes": 64}, "nodes"),
        ({"nodes": True}, "nodes"),
        ({"nodes": 2.0}, "nodes"),
        ({"nodes": 2, "replication_factor": 3}, "replication_factor"),
        ({"nodes": 2, "replication_factor": 0}, "replication_factor"),
        ({"nodes": 6, "replication_factor": 6}, "replication_factor"),
        ({"nodes": 1, "stripes": 3}, "stripes"),
        ({"nodes": 1, "stripes": 0}, "stripes"),
        ({"nodes": 1, "stripes": 1 << 17}, "stripes"),
        ({"nodes": 1, "segment_bytes": -1}, "segment_bytes"),
        ({"nodes": 1, "segment_bytes": 4096}, "sizes of the cluster"),
        ({"nodes": 1, "lock_timeout": float("nan")}, "lock_timeout"),
        ({"nodes": 1, "lock_timeout": "1"}, "lock_timeout"),
        ({"nodes": 1, "lock_timeout": -1}, "lock_timeout"),
        ({"nodes": 1, "name": ""}, "name"),
        ({"nodes": 1, "name": "a/b"}, "name"),
        ({"nodes": 1, "name": "a-b"}, "name"),
        ({"nodes": 1, "name": ".a"}, "name"),
        ({"nodes": 1, "name": "x" * 64}, "name"),
        ({"nodes": 1, "name": b"x"}, "name"),
        ({"nodes": 1, "detach": True}, "name"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, said_about):
    with pytest.raises(dsm.UsageError, match=said_about):
        dsm.Cluster(**settings)
    assert issubclass(dsm.UsageError, ValueError)


def test_defaults_fit_the_machine(name):
    with dsm.Cluster(name=name, stripes=64) as cluster:
        assert len(cluster.nodes) == min(os.cpu_count(), 63)
        assert cluster.stats()["replication_factor"] == min(2, len(cluster.nodes))


def test_an_anonymous_cluster_has_a_name_of_its_own():
    with dsm.Cluster(nodes=1, stripes=1) as first, dsm.Cluster(nodes=1, stripes=1) as second:
        assert first.name != second.name
        names = [first.name, second.name]
    for each in names:
        gone(each)


def test_opening_and_closing_four_nodes_is_quick(name):
    start = time.monotonic()
    with dsm.Cluster(nodes=4, replication_factor=2, name=name) as cluster:
        cluster["k"] = 1
        assert cluster["k"] == 1
    assert time.monotonic() - start < 3  # 0.8 s on an idle machine; others may be busy here


def test_item_access_goes_to_the_default_region(cluster):
    cluster["k"] = 1
    assert cluster["k"] == cluster.default["k"] == 1
    assert "k" in cluster
    del cluster["k"]
    assert "k" not in cluster
    with pytest.raises(KeyError):
        cluster["k"]


def test_a_cluster_is_no_mapping(cluster):
    with pytest.raises(TypeError, match="not iterable"):
        iter(cluster)
    with pytest.raises(TypeError):
        len(cluster)
    assert bool(cluster)
    assert not hasattr(cluster, "clear")


def test_regions_keep_their_settings(cluster):
    first = cluster.region("r", replication_factor=1, allow_pickle=False)
    assert cluster.region("r") is first
    assert (first.replication_factor, first.allow_pickle) == (1, False)
    again = cluster.region("r", replication_factor=1, allow_pickle=False)
    again["k"] = 1
    assert first["k"] == 1
    with pytest.raises(dsm.UsageError, match="replication_factor=1, not 2"):
        cluster.region("r", replication_factor=2)
    with pytest.raises(dsm.UsageError, match="allow_pickle=False, not True"):
        cluster.region("r", allow_pickle=True)
    other = dsm.attach(cluster.name)
    assert other.region("r").replication_factor == 1
    other.close()
    assert cluster.regions == ["default", "r"]


@pytest.mark.parametrize("bad", ["", "x" * 65, "é" * 33, b"x", None, 1, [], "\udc80"])
def test_names_of_regions_are_checked(cluster, bad):
    with pytest.raises(dsm.UsageError, match="region"):
        cluster.region(bad)
    assert cluster.region("x" * 64).name == "x" * 64


def test_other_levels_are_refused(cluster):
    with pytest.raises(dsm.UsageError, match="consistency"):
        cluster.region("weak", consistency="eventual")
    with pytest.raises(dsm.UsageError, match="replication_factor"):
        cluster.region("wide", replication_factor=3)


def test_the_table_of_regions_has_an_end(cluster):
    for number in range(255):
        cluster.region(f"region {number}")
    with pytest.raises(dsm.LimitError, match="256"):
        cluster.region("one more")
    assert len(cluster.regions) == 256
    cluster.default["k"] = 1


def test_nodes_and_stats_tell_what_is_there(cluster):
    cluster.region("r").update(dict.fromkeys(range(200), b"x" * 100))
    nodes = cluster.nodes
    assert [node.id for node in nodes] == [0, 1, 2]
    assert {node.state for node in nodes} == {"alive"}
    assert sorted(node.pid for node in nodes) == sorted(node_pids(cluster.name))
    assert sum(node.objects for node in nodes) == 400
    assert all(node.incarnation == 1 and node.bytes > 0 for node in nodes)
    assert all(0 <= node.heartbeat_age_s < 10 for node in nodes)
    stats = cluster.stats()
    assert stats["regions"] == {"default": 0, "r": 200}
    assert [entry["kind"] for entry in stats["participants"]] == ["owner"] + ["node"] * 3


def test_a_killed_node_is_told_and_its_objects_stay(cluster):
    cluster["k"] = b"x" * 10_000
    os.kill(cluster.nodes[1].pid, signal.SIGKILL)
    eventually(lambda: cluster.nodes[1].state == "dead", "the node is known to be dead")
    assert cluster["k"] == b"x" * 10_000
    cluster.region("r").update({number: number for number in range(500)})
    assert len(cluster.region("r")) == 500
    assert cluster.check().clean


def test_check_counts_what_it_saw(cluster):
    cluster.region("r").update(dict.fromkeys(range(100), b"x" * 10))
    report = cluster.check()
    assert report.clean
    assert (report.stripes, report.objects, report.value_bytes) == (64, 100, 1000)


def test_close_is_idempotent_and_use_after_it_is_an_error(name):
    cluster = dsm.Cluster(nodes=2, name=name, stripes=64)
    region = cluster.region("r")
    region["k"] = 1
    cluster.close()
    cluster.close()
    assert cluster.closed
    assert "closed" in repr(cluster)
    calls = [
        lambda: region["k"], lambda: region.get("k"), lambda: region.put("k", 1),
        lambda: region.delete("k"), lambda: region.add("k"), lambda: "k" in region,
        lambda: len(region), lambda: list(region), lambda: region.get_many(["k"]),
        lambda: region.put_many({"k": 1}), lambda: region.view("k"), lambda: region.clear(),
        lambda: region.get_versioned("k"), lambda: region.setdefault("k", 1),
        lambda: cluster["k"], lambda: cluster.region("r"), lambda: cluster.nodes,
        lambda: cluster.stats(), lambda: cluster.check(), lambda: cluster.map(str, [1]),
        lambda: cluster.regions,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((dsm.ClosedError, dsm.UsageError)) as caught:
            call()
        assert name in str(caught.value) or "map" in str(call) or "process" in str(caught.value)


def test_attach_by_name(cluster):
    other = dsm.attach(cluster.name)
    other["k"] = 1
    assert cluster["k"] == 1
    assert len(cluster.stats()["participants"]) == 5
    with pytest.raises(dsm.UsageError, match="for the process that started"):
        other.map(str, [1])
    other.close()
    assert len(cluster.stats()["participants"]) == 4
    with pytest.raises(dsm.ClosedError):
        other["k"]
    assert cluster["k"] == 1


def test_attach_to_nothing(name):
    with pytest.raises(dsm.ClusterNotFoundError, match=name) as caught:
        dsm.attach(name)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(dsm.UsageError):
        dsm.attach("no/name")


def test_attached_handles_learn_that_the_cluster_stopped(name):
    cluster = dsm.Cluster(nodes=1, name=name, stripes=1)
    other = dsm.attach(name)
    cluster.close()
    assert other.closed
    with pytest.raises(dsm.ClosedError, match="stopped"):
        other["k"]
    with pytest.raises(dsm.ClusterNotFoundError):
        dsm.attach(name)
    other.close()


def test_the_table_of_participants_has_an_end(name):
    with dsm.Cluster(nodes=1, name=name, stripes=1) as cluster:
        handles = [dsm.attach(name) for _ in range(192)]
        with pytest.raises(dsm.LimitError, match="192"):
            dsm.attach(name)
        handles.pop().close()
        again = dsm.attach(name)
        again["k"] = 1
        for handle in [*handles, again]:
            handle.close()
        assert cluster["k"] == 1


def test_a_second_cluster_of_that_name_is_refused(cluster):
    cluster["k"] = 1
    with pytest.raises(dsm.ClusterExistsError, match="attach") as caught:
        dsm.Cluster(nodes=1, name=cluster.name)
    assert isinstance(caught.value, FileExistsError)
    result = run(f"import dsm_native as dsm; dsm.Cluster(nodes=1, name={cluster.name!r})")
    assert result.returncode == 1
    assert "ClusterExistsError" in result.stderr
    assert cluster["k"] == 1


def test_many_start_under_one_name_and_one_wins(name):
    source = f"""
import dsm_native as dsm, sys
sys.stdin.readline()
try:
    cluster = dsm.Cluster({SMALL}, name={name!r})
except dsm.ClusterExistsError:
    print("lost", flush=True)
else:
    cluster["k"] = 1
    print("won", flush=True)
    sys.stdin.readline()
    assert cluster["k"] == 1
    cluster.close()
"""
    from contextlib import ExitStack

    with ExitStack() as stack:
        racers = [stack.enter_context(started(source)) for _ in range(4)]
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        answers = sorted(racer.stdout.readline().strip() for racer in racers)
        assert answers == ["lost", "lost", "lost", "won"]
        for racer in racers:
            if racer.poll() is None:
                racer.communicate("\n")
        assert [racer.returncode for racer in racers] == [0] * 4


def test_the_name_is_free_at_once_after_close(name):
    for number in range(4):
        with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
            assert "k" not in cluster
            cluster["k"] = number


@pytest.mark.parametrize("damage", [b"\0\0\0\0", b"\4\0\0\0", b"\xff\xff\xff\xff"])
def test_a_damaged_state_word_is_no_end_and_is_written_back(name, damage):
    place = f"/dev/shm/dsm-{os.getuid()}-{name}"
    with dsm.Cluster(nodes=1, stripes=64, name=name) as cluster:
        cluster["key"] = "value"
        with open(place, "r+b") as control:
            control.seek(STATE_OFFSET)
            before = control.read(4)
            control.seek(STATE_OFFSET)
            control.write(damage)
        assert cluster["key"] == "value"
        with dsm.attach(name) as other:
            assert other["key"] == "value"
        with open(place, "rb") as control:
            control.seek(STATE_OFFSET)
            assert control.read(4) == before
