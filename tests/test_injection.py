"""Faults on purpose, and the settings of detection: what they do, and what they refuse."""

from __future__ import annotations

import contextlib

import pytest
from members import node_of
from processes import eventually, segments_of

import dsm_native as dsm
from dsm_native import detection, sweep


@pytest.fixture
def faulty(name):
    """Two nodes, each with a copy of everything; nobody scrubs."""
    with dsm.Cluster(
        nodes=2,
        replication_factor=2,
        name=name,
        stripes=16,
        segment_bytes=64 << 20,
        scrub_bytes_per_s=0,  # or it might mend what a test looks at
        faults=True,
    ) as cluster:
        cluster.default.update({number: bytes([number]) * 2000 for number in range(200)})
        yield cluster


def test_faults_are_off_unless_asked_for(cluster):
    for call in (
        lambda: cluster.faults.kill(0),
        lambda: cluster.faults.pause(0),
        lambda: cluster.faults.resume(0),
        lambda: cluster.faults.corrupt(0),
        lambda: cluster.faults.unlink(0),
    ):
        with pytest.raises(dsm.UsageError, match="without faults=True"):
            call()
    assert cluster.failures() == []


def test_whom_faults_refuse(faulty):
    for node in (-1, 2, 1.0, "1", None, True):
        with pytest.raises((dsm.UsageError, dsm.NodeLostError)):
            faulty.faults.kill(node)
        with pytest.raises(dsm.UsageError):
            faulty.faults.corrupt(node)
        with pytest.raises(dsm.UsageError):
            faulty.faults.unlink(node)
    for wrong in (
        {"area": "nowhere"},
        {"flips": 0},
        {"flips": 1.5},
        {"seed": -1},
        {"zero": True, "size": 0},
        {"zero": True, "offset": -1},
        {"zero": 1},
        {"offset": 100},
        {"zero": True, "size": 1 << 60},
        {"zero": True, "offset": (64 << 20) - 10, "size": 11},
    ):
        with pytest.raises(dsm.UsageError):
            faulty.faults.corrupt(0, **wrong)
    assert faulty.check().clean


def test_a_client_may_inject(faulty):
    with dsm.attach(faulty.name) as other:
        pid = node_of(faulty, 1).pid
        assert other.faults.kill(1) == pid
        eventually(lambda: other.failures(), "its end is told")
        assert other.failures()[0].found == "injected"


def test_flipped_bits_are_where_they_are_said_to_be(faulty):
    path = f"{sweep.FOLDER}/{sweep.segment_of(faulty.name, 0)}"
    with open(path, "rb") as file:
        before = file.read()
    damage = faulty.faults.corrupt(0, flips=5, seed=3)
    with open(path, "rb") as file:
        after = file.read()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert changed == sorted(set(damage.offsets))
    assert (damage.node, damage.area, damage.seed, damage.zeroed) == (0, "data", 3, False)
    assert all((before[at] ^ after[at]).bit_count() == 1 for at in changed)
    again = faulty.faults.corrupt(0, flips=5, seed=3)
    assert again.offsets == damage.offsets
    with open(path, "rb") as file:
        assert file.read() == before  # the same bits, flipped back
    assert faulty.check().clean


@pytest.mark.parametrize("area", ["subs", "pages", "data"])
def test_damage_is_met_as_damage_and_mended(faulty, area):
    """Never a wrong value: the right one, or CorruptError; afterwards a copy mends it."""
    for seed in range(6):
        faulty.faults.corrupt(0, area=area, flips=3, seed=seed)
        for number in range(200):
            with contextlib.suppress(dsm.CorruptError):
                assert faulty[number] == bytes([number]) * 2000
        faulty.check(repair=True)
    assert faulty.default.get_many(range(200)) == [bytes([n]) * 2000 for n in range(200)]


def test_a_zeroed_range(faulty):
    damage = faulty.faults.corrupt(1, zero=True, size=1 << 16, seed=2)
    start, end = damage.offsets
    assert (damage.zeroed, end - start) == (True, 1 << 16)
    with open(f"{sweep.FOLDER}/{sweep.segment_of(faulty.name, 1)}", "rb") as file:
        file.seek(start)
        assert file.read(end - start) == bytes(end - start)


def test_an_unlinked_segment_serves_those_who_have_it(faulty):
    name = faulty.faults.unlink(1)
    assert name not in segments_of(faulty.name)
    assert faulty[7] == bytes([7]) * 2000
    with pytest.raises(dsm.NodeLostError, match="no name any more"):
        faulty.faults.unlink(1)


def test_presets():
    assert set(detection.PRESETS) == {"default", "fast", "relaxed"}
    for preset in detection.PRESETS.values():
        packed = detection.packed(preset, "adopt", False)
        assert detection.unpacked(packed) == (preset, "adopt", False)


def test_every_process_has_the_same_settings(name):
    chosen = dsm.Detection(
        heartbeat_ms=30, suspect_ms=90, timeout_ms=330, accrual=True, phi_suspect=2.5, phi_dead=9.0
    )
    with dsm.Cluster(nodes=1, name=name, stripes=1, detection=chosen, recovery="none") as cluster:
        assert (cluster.detection, cluster.recovery) == (chosen, "none")
        with dsm.attach(name) as other:
            assert (other.detection, other.recovery) == (chosen, "none")
        seen = cluster.map(lambda _: (dsm.current().detection, dsm.current().recovery), [0])
        assert seen == [(chosen, "none")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_ms": 0},
        {"heartbeat_ms": 60_001},
        {"heartbeat_ms": 10.0},
        {"heartbeat_ms": True},
        {"suspect_ms": 199},
        {"timeout_ms": 1_099},
        {"timeout_ms": 3_600_001},
        {"pause_ms": -1},
        {"accrual": 1},
        {"phi_suspect": 0},
        {"phi_suspect": float("nan")},
        {"phi_dead": 3.0},
        {"phi_dead": float("inf")},
        {"phi_dead": "8"},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    (name,) = wrong
    with pytest.raises(dsm.UsageError, match=f"{name} must be"):
        dsm.Detection(**wrong)


def test_what_a_cluster_refuses(name):
    for wrong, match in (
        ({"detection": "slow"}, "'default', 'fast', 'relaxed'"),
        ({"detection": None}, "Detection"),
        ({"detection": {"heartbeat_ms": 5}}, "Detection"),
        ({"recovery": "all"}, "'adopt', 'rebuild', 'none'"),
        ({"recovery": None}, "recovery"),
        ({"faults": 1}, "faults must be True or False"),
    ):
        with pytest.raises(dsm.UsageError, match=match):
            dsm.Cluster(nodes=1, name=name, **wrong)
    assert segments_of(name) == []


def test_accrual_finds_the_hung_too(name):
    chosen = dsm.Detection(
        heartbeat_ms=20, suspect_ms=2_000, timeout_ms=20_000, accrual=True, pause_ms=100
    )
    with dsm.Cluster(nodes=2, name=name, stripes=1, detection=chosen, faults=True) as cluster:
        cluster.faults.pause(1)
        eventually(lambda: cluster.failures(), "it is found long before timeout_ms", 15)
        (failure,) = cluster.failures()
        assert failure.found == "heartbeat"
        assert failure.detection_ms < chosen.timeout_ms
