"""Damaged bytes: reads go on around them, what is met is mended, and what is lost is named."""

from __future__ import annotations

import numpy as np
import pytest
from segments import SMALL, Segment

import dsm_native as dsm

KEYS = 200


def value_of(index: int) -> bytes:
    return b"needle%06d" % index * (1 if index % 10 else 1000)


def filled(nodes: int, copies: int) -> dsm.Cluster:
    cluster = dsm.Cluster(nodes, copies, stripes=16, segment_bytes=SMALL)
    cluster.default.put_many({f"key {index}": value_of(index) for index in range(KEYS)})
    assert cluster.check().clean  # which settles the checksums of large values, too
    return cluster


def damage_values(cluster: dsm.Cluster, nodes: range) -> int:
    hits = 0
    for node in nodes:
        segment = Segment(cluster.name, node)
        hits += sum(segment.flip(b"needle%06d" % index) for index in range(0, KEYS, 3))
    return hits


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("how", ["get", "get_many", "view", "items", "transaction"])
def test_reads_are_served_by_a_replica_that_validates(how, copies):
    with filled(3, copies) as cluster:
        assert damage_values(cluster, range(1)) > 10
        for index in range(KEYS):
            key, value = f"key {index}", value_of(index)
            if how == "get":
                assert cluster[key] == value
                assert cluster.default.get_versioned(key)[0] == value
            elif how == "get_many":
                assert cluster.default.get_many([key, "absent"]) == [value, None]
            elif how == "view" and len(value) < 4096:  # of larger ones a view compares no value
                assert bytes(cluster.default.view(key)) == value
            elif how == "transaction":
                with cluster.transaction() as transaction:
                    assert transaction[key] == value
        if how == "items":
            assert dict(cluster.default.items()) == {
                f"key {index}": value_of(index) for index in range(KEYS)
            }
        cluster.check(repair=True)
        assert cluster.check().clean
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))


def test_changes_rest_on_a_replica_that_validates():
    with filled(2, 2) as cluster:
        region = cluster.region("numbers")
        for index in range(50):
            region.put(f"number {index}", 0x5EED00000000 + index)
        segment = Segment(cluster.name, 0)
        for index in range(50):
            assert segment.flip((0x5EED00000000 + index).to_bytes(8, "little"), bit=2)
        for index in range(50):
            assert region.add(f"number {index}", 1) == 0x5EED00000000 + index + 1
        damage_values(cluster, range(1))
        for index in range(0, KEYS, 3):
            version = cluster.default.put(f"key {index}", b"new", if_version=None)
            assert cluster.default.put(f"key {index}", b"newer", if_version=version) > version
            assert cluster.default.delete(f"key {index}")
        cluster.check(repair=True)
        assert cluster.check().clean
        assert len(cluster.default) == KEYS - len(range(0, KEYS, 3))


def test_without_a_replica_the_key_is_named_and_others_are_unaffected():
    with filled(2, 1) as cluster:
        damaged = {f"key {index}" for index in range(0, KEYS, 3)}
        damage_values(cluster, range(2))
        for index in range(KEYS):
            key = f"key {index}"
            if key in damaged:
                with pytest.raises(dsm.NoReplicasAvailableError, match=f"'{key}'"):
                    cluster[key]
                with pytest.raises(dsm.CorruptError):  # of which it is one
                    cluster.default.get(key)
            else:
                assert cluster[key] == value_of(index)
        assert cluster.default.get("never put") is None
        for key in damaged:  # a put makes it whole again
            cluster[key] = key
            assert cluster[key] == key
        cluster.check(repair=True)
        assert cluster.check().clean


def test_a_table_that_is_gone_is_made_anew_from_its_objects():
    with filled(1, 1) as cluster:
        segment = Segment(cluster.name, 0)
        subs = 192 * 16
        start = segment.bytes.find(value_of(1)) // 4096 * 4096  # far behind the subs
        layout = 4096 + 4096 + 4096 + 256 * 256  # header, unsettled marks, routes, regions
        assert start > layout + subs
        segment.zero(layout, layout + subs)
        for index in range(KEYS):
            assert cluster[f"key {index}"] == value_of(index)
        assert cluster.default.get("never put") is None
        cluster.check(repair=True)
        assert cluster.check().clean
        assert len(cluster.default) == KEYS


def test_arrays_are_read_around_damage_as_well():
    with dsm.Cluster(2, 2, segment_bytes=SMALL) as cluster:
        wanted = np.arange(4000, dtype="f8")
        cluster["array"] = wanted
        assert cluster.check().clean
        assert Segment(cluster.name, 0).flip(wanted[1000:1010].tobytes())
        assert np.array_equal(cluster["array"], wanted)


@pytest.mark.parametrize("part", ["magic", "configuration", "routes", "regions"])
def test_a_damaged_control_segment_is_told_by_the_nodes(part):
    with filled(2, 2) as cluster:
        control = Segment(cluster.name)
        ranges = {"magic": (1, 3), "configuration": (16, 60)}
        if part in ranges:
            start, end = ranges[part]
        else:
            # The areas before them have fixed sizes: header, participants, then regions of 256.
            regions = 4096 + 256 * 128
            start = regions if part == "regions" else regions + 256 * 256
            end = start + 256 if part == "regions" else start + 16 * 8
        before = control.bytes[start:end]
        control.bytes[start:end] = bytes(byte ^ 0xFF for byte in before)
        with dsm.attach(cluster.name) as other:
            for index in range(KEYS):
                assert other[f"key {index}"] == value_of(index)
                assert cluster[f"key {index}"] == value_of(index)
        assert control.bytes[start:end] == before
