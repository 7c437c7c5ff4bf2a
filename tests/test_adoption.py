"""A segment that a node's next process takes over is verified before that one serves.

Nothing here is read before the successor serves, and nothing is scrubbed: what is mended was found
by the taking over.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from segments import SMALL, Segment

import dsm_native as dsm
from dsm_native._native.members import areas

KEYS = 400
WAIT_S = 20


def value_of(index: int) -> bytes:
    return b"adopt%06d" % index * (1 if index % 20 else 2000)


def filled(**options) -> dsm.Cluster:
    options = {"stripes": 64, "segment_bytes": SMALL, "scrub_bytes_per_s": 0} | options
    cluster = dsm.Cluster(3, 2, faults=True, **options)
    cluster.default.put_many({f"key {index}": value_of(index) for index in range(KEYS)})
    assert cluster.check().clean
    return cluster


def until(done, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def kill(cluster: dsm.Cluster, node: int) -> dsm.NodeEvent:
    """Kills the node's process, and returns the event that its successor serves."""
    seen = cluster.events()[-1].sequence
    os.kill(cluster.nodes[node].pid, signal.SIGKILL)

    def replaced():
        after = [event for event in cluster.events() if event.sequence > seen]
        return [event for event in after if (event.kind, event.node) == ("replaced", node)]

    until(replaced, "it is replaced")
    return replaced()[0]


def stats(cluster: dsm.Cluster, node: int) -> dict:
    return cluster.stats()["nodes"][node]


@pytest.mark.parametrize("area", ["subs", "routes", "header"])
def test_structure_is_mended_before_the_successor_serves(area):
    with filled() as cluster:
        segment, start = Segment(cluster.name, 1), areas(cluster._handle)[area]
        places = {
            "subs": [start + 192 * stripe for stripe in range(0, 64, 5)],  # where the table is
            "routes": [start + 8 * stripe for stripe in range(0, 64, 5)],
            "header": [start, 40, 100],  # the magic, and two bytes of the configuration
        }[area]
        before = bytes(segment.bytes[:4096])
        for place in places:
            segment.bytes[place] ^= 4
        event = kill(cluster, 1)
        assert event.amount == stats(cluster, 1)["adoption_repairs"]
        if area == "header":  # needed for attaching, so that it was mended even before
            assert segment.bytes[:256] == before[:256]
        else:
            assert event.amount == len(places)
        assert stats(cluster, 1)["adoptions"] == 1
        assert cluster.check().clean
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(KEYS))


def test_the_words_of_the_arena_are_mended():
    with filled() as cluster:
        arena = Segment(cluster.name, 1)
        sealed = [at for at in range(320, 1024, 8) if any(arena.bytes[at : at + 8])]
        assert len(sealed) > 10
        for place in sealed[::3]:
            arena.bytes[place] ^= 4
        assert kill(cluster, 1).amount >= 1
        assert cluster.check().clean
        cluster.default.put_many({("more", index): bytes(3000) for index in range(300)})
        assert cluster.check().clean


def test_nothing_is_mended_where_nothing_is_damaged():
    with filled() as cluster:
        assert kill(cluster, 2).amount == 0
        until(lambda: stats(cluster, 2)["adoption_stripes_left"] == 0, "all is verified")
        assert cluster.stats()["recovery"]["stripes_mended"] == 0
        assert cluster.check().clean


def test_checksums_follow_at_once_and_reads_are_right_meanwhile():
    with filled() as cluster:
        segment = Segment(cluster.name, 0)
        hits = sum(segment.flip(b"adopt%06d" % index) for index in range(0, KEYS, 3))
        assert hits > 20
        kill(cluster, 0)
        assert all(cluster[f"key {index}"] == value_of(index) for index in range(0, KEYS, 30))
        until(lambda: stats(cluster, 0)["adoption_stripes_left"] == 0, "all is verified")
        assert cluster.stats()["recovery"]["objects_copied"] >= hits
        assert cluster.check().clean
        scrubbed = stats(cluster, 0)["scrubbed_bytes"]
        time.sleep(0.3)
        assert stats(cluster, 0)["scrubbed_bytes"] == scrubbed  # once, where nothing is scrubbed


def test_a_big_segment_is_taken_over_in_milliseconds():
    with filled(segment_bytes=1 << 30, stripes=1024) as cluster:
        cluster.default.put_many({index: bytes(40) for index in range(100_000)})
        cluster.default.put_many({("large", index): bytes(1 << 20) for index in range(60)})
        kill(cluster, 1)
        assert stats(cluster, 1)["adoption_ms"] < 250
        assert stats(cluster, 1)["adoption_repairs"] == 0
