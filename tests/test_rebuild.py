"""Lost segments: unlinked, zeroed, or given up after a death; another takes the place of each."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest
from segments import SMALL, Segment

import dsm_native as dsm

KEYS = 300


def value_of(index: int) -> bytes:
    return b"value%06d" % index * (1 if index % 20 else 1000)


def filled(nodes: int, copies: int, **options) -> dsm.Cluster:
    cluster = dsm.Cluster(nodes, copies, stripes=32, segment_bytes=SMALL, **options)
    cluster.default.put_many({f"key {index}": value_of(index) for index in range(KEYS)})
    assert cluster.check().clean
    return cluster


def lose(cluster: dsm.Cluster, node: int, how: str) -> None:
    segment = Segment(cluster.name, node)
    if how == "unlink":
        os.unlink(segment.path)
    else:
        segment.zero()


def await_rebuilds(cluster: dsm.Cluster, nodes: list[int], times: int = 1) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if all(cluster.stats()["nodes"][node]["rebuilds"] >= times for node in nodes):
            return
        time.sleep(0.02)
    raise AssertionError(f"not rebuilt: {cluster.stats()['nodes']}")


class Load:
    """Threads that write and read their own keys and must always see what they wrote last."""

    def __init__(self, cluster: dsm.Cluster) -> None:
        self.errors: list[BaseException] = []
        self.stop = False
        self.rounds = 0
        self.threads = [
            threading.Thread(target=self.run, args=(cluster, number)) for number in range(2)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, cluster: dsm.Cluster, number: int) -> None:
        counter = 0
        try:
            while not self.stop:
                for index in range(40):
                    key = f"load {number} {index}"
                    cluster[key] = (counter, index)
                    assert cluster[key] == (counter, index)
                    probe = counter * 7 % KEYS
                    assert cluster[f"key {probe}"] == value_of(probe)
                    counter += 1
                self.rounds += 1
        except BaseException as error:
            self.errors.append(error)

    def end(self) -> None:
        self.stop = True
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors
        assert self.rounds


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("how", ["unlink", "zero"])
def test_a_lost_segment_is_replaced_while_everybody_goes_on(how, copies):
    with filled(4, copies) as cluster:
        load = Load(cluster)
        for node in (1, 2):
            lose(cluster, node, how)
            await_rebuilds(cluster, [node])
        time.sleep(0.2)
        load.end()
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))
        with dsm.attach(cluster.name) as other:  # which opens the new segments by their names
            assert all(other[f"key {index}"] == value_of(index) for index in range(KEYS))
        assert not cluster.lost()
        cluster.check(repair=True)
        assert cluster.check().clean
        kinds = [event.kind for event in events_of(cluster)]
        assert kinds.count("segment_lost") == kinds.count("rebuild_done") == 2


def events_of(cluster: dsm.Cluster) -> list[dsm.NodeEvent]:
    found: list[dsm.NodeEvent] = []
    with cluster.subscribe(found.append, since=1):
        time.sleep(0.3)
    return found


def test_an_unlinked_segment_loses_nothing_with_one_copy():
    with filled(2, 1) as cluster:
        lose(cluster, 0, "unlink")
        await_rebuilds(cluster, [0])
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))
        assert not cluster.lost()
        assert cluster.check().clean


def lost_keys(cluster: dsm.Cluster) -> list[int]:
    lost = []
    for index in range(KEYS):
        try:
            found = cluster[f"key {index}"]
        except dsm.NoReplicasAvailableError:
            lost.append(index)
        else:
            assert found == value_of(index)
    return lost


def test_what_no_replica_has_is_named_until_it_is_accepted():
    with filled(2, 1) as cluster:
        lose(cluster, 0, "zero")
        lost = lost_keys(cluster)
        assert 0 < len(lost) < KEYS
        await_rebuilds(cluster, [0])
        for index in lost:
            with pytest.raises(dsm.NoReplicasAvailableError, match=f"'key {index}'"):
                cluster.default.get(f"key {index}")
            with pytest.raises(dsm.NoReplicasAvailableError):
                cluster.default.put(f"key {index}", 1, if_version=0)
        assert sum(cluster.lost().unknown.values()) == len(lost)
        cluster[f"key {lost[0]}"] = "again"
        assert cluster[f"key {lost[0]}"] == "again"
        assert sum(cluster.accept_loss().unknown.values()) == len(lost)
        assert not cluster.lost()
        assert [cluster.default.get(f"key {index}") for index in lost[1:]] == [None] * (
            len(lost) - 1
        )
        assert cluster.check().clean


def test_two_segments_at_once():
    with filled(4, 3) as cluster:
        load = Load(cluster)
        lose(cluster, 1, "zero")
        lose(cluster, 2, "unlink")
        await_rebuilds(cluster, [1, 2])
        load.end()
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))
        assert not cluster.lost()


def test_rebuild_as_a_strategy_replaces_the_segment_of_a_killed_node():
    with filled(3, 2, recovery="rebuild") as cluster:
        load = Load(cluster)
        os.kill(cluster.nodes[1].pid, signal.SIGKILL)
        await_rebuilds(cluster, [1])
        load.end()
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))
        assert cluster.check().clean


def test_with_recovery_none_a_loss_is_reported_only():
    with filled(3, 2, recovery="none") as cluster:
        lose(cluster, 1, "zero")
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))
        time.sleep(0.6)
        assert cluster.stats()["nodes"][1]["rebuilds"] == 0
        assert cluster.check().problems


def test_the_scrubber_finds_what_nobody_reads():
    with filled(2, 2, scrub_bytes_per_s=1 << 30) as cluster:
        segment = Segment(cluster.name, 0)
        hits = sum(segment.flip(b"value%06d" % index) for index in range(0, KEYS, 7))
        assert hits
        deadline = time.monotonic() + 40
        while cluster.stats()["recovery"]["objects_copied"] < hits and time.monotonic() < deadline:
            time.sleep(0.1)
        assert cluster.stats()["recovery"]["objects_copied"] == hits
        assert cluster.stats()["nodes"][0]["damaged_stripes"]
        assert cluster.check().clean
        assert "damage_mended" in [event.kind for event in events_of(cluster)]


def await_alone(cluster: dsm.Cluster, nodes: int) -> None:
    """Until whoever was added for the rebuild's sake is gone again."""
    deadline = time.monotonic() + 20
    while len(cluster.nodes) != nodes:
        assert time.monotonic() < deadline, cluster.nodes
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["zero", "unlink"])
def test_the_only_node_gets_another_segment(how):
    with filled(1, 1) as cluster:
        lose(cluster, 0, how)
        lost = lost_keys(cluster)
        assert len(lost) == (KEYS if how == "zero" else 0)
        await_rebuilds(cluster, [0])
        assert sorted(lost_keys(cluster)) == lost
        await_alone(cluster, 1)
        if how == "zero":
            with pytest.raises(dsm.NoReplicasAvailableError, match="'key 7'"):
                cluster["key 7"]
            assert sum(cluster.lost().unknown.values()) == KEYS
        cluster.accept_loss()
        assert cluster.default.get("key 7") == (None if how == "zero" else value_of(7))
        cluster.default.put_many({index: value_of(index) for index in range(KEYS)})
        assert all(cluster[index] == value_of(index) for index in range(KEYS))
        assert cluster.map(abs, [-1, -2]) == [1, 2]
        with dsm.attach(cluster.name) as other:
            assert other[KEYS - 1] == value_of(KEYS - 1)
        assert cluster.check().clean
        assert cluster.node_count == 1


def test_the_only_node_is_filled_from_a_checkpoint(tmp_path):
    with filled(1, 1, recover_from=tmp_path) as cluster:
        cluster.checkpoint(tmp_path)
        lose(cluster, 0, "zero")
        assert lost_keys(cluster)
        await_rebuilds(cluster, [0])
        deadline = time.monotonic() + 20
        while lost_keys(cluster) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert lost_keys(cluster) == []
        assert not cluster.lost()
        await_alone(cluster, 1)
        assert cluster.check().clean


def test_all_nodes_at_once_are_replaced_and_usable():
    with filled(2, 2) as cluster:
        cluster["key 0"] = value_of(0)
        for segment in [Segment(cluster.name, node) for node in (0, 1)]:
            segment.empty()
        lost = lost_keys(cluster)
        assert lost
        await_rebuilds(cluster, [0, 1])
        await_alone(cluster, 2)
        assert lost_keys(cluster) == lost
        cluster.accept_loss()
        cluster.default.put_many({index: value_of(index) for index in range(KEYS)})
        assert all(cluster[index] == value_of(index) for index in range(KEYS))
        cluster.check(repair=True)
        assert cluster.check().clean


def backed_bytes_of_old_segments(name: str) -> list[int]:
    """Of the unlinked segments of nodes that this process still maps."""
    sizes = []
    for descriptor in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{descriptor}"
        with contextlib.suppress(OSError):
            target = os.readlink(path)
            if f"-{name}-n" in target and target.endswith("(deleted)"):
                sizes.append(os.stat(path).st_blocks * 512)
    return sizes


@pytest.mark.parametrize("how", ["unlink", "zero"])
def test_the_memory_of_a_replaced_segment_goes_back_but_for_what_is_looked_at(how):
    large = [bytes([index]) * 1_000_000 for index in range(5)]
    with filled(3, 2) as cluster:
        for index, value in enumerate(large):
            cluster[index] = value
        views = [cluster.default.view(0)] if how == "unlink" else []
        lose(cluster, 1, how)
        await_rebuilds(cluster, [1])
        assert [bytes(view) for view in views] == large[: len(views)]
        assert [cluster[index] for index in range(5)] == large
        old = backed_bytes_of_old_segments(cluster.name)
        assert len(old) == 1
        assert old[0] < (1 + len(views)) * 1_200_000
