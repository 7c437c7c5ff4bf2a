"""Damage at random: what `check(repair=True)` leaves behind, and what may be read meanwhile."""

from __future__ import annotations

import os
import random

import pytest
from segments import SMALL, Segment

import dsm_native as dsm

KEYS = 200


def value_of(index: int) -> bytes:
    return b"value%06d" % index * (1 if index % 10 else 1000)


def filled(copies: int, **options) -> dsm.Cluster:
    cluster = dsm.Cluster(
        3, copies, stripes=32, segment_bytes=SMALL, scrub_bytes_per_s=0, **options
    )
    cluster.default.put_many({index: value_of(index) for index in range(KEYS)})
    assert cluster.check().clean
    return cluster


def used_pages(segment: Segment) -> list[int]:
    pages, at = [], 0
    with open(segment.path, "rb") as file:
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return pages
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            pages += range(at, end, 4096)
            at = end


def damage(cluster: dsm.Cluster, how: str, draw: random.Random) -> None:
    segment = Segment(cluster.name, 1)
    pages = used_pages(segment)
    if how == "zeroed":
        segment.zero()
    elif how == "header":
        segment.zero(0, 4096)
    elif how == "pages":
        for page in draw.sample(pages, 8):
            segment.zero(page, page + 4096)
    else:
        for _ in range(300):
            segment.bytes[draw.choice(pages) + draw.randrange(4096)] ^= 1 << draw.randrange(8)


def count_lost(cluster: dsm.Cluster) -> int:
    """Of all keys; each of the others must have its value, and none may be absent."""
    lost = 0
    for index in range(KEYS):
        try:
            assert cluster[index] == value_of(index)
        except dsm.NoReplicasAvailableError:
            lost += 1
    return lost


def test_of_a_stripe_that_cannot_be_mended_no_miss_is_believed():
    """One copy, whose memory is not known any more: what is gone is lost, and never absent."""
    with filled(1, recovery="none") as cluster:
        segment = Segment(cluster.name, 1)
        pages = used_pages(segment)
        gaps = [at for at in range(1, len(pages)) if pages[at] - pages[at - 1] > 4096]
        of_map, data = pages[gaps[-1] - 2], pages[gaps[-1] :: 2]
        for page in [of_map, *data]:
            segment.zero(page, page + 4096)
        cluster.check(repair=True)
        assert count_lost(cluster)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("how", ["zeroed", "header", "pages", "flips"])
def test_repair_leaves_nothing_to_be_repaired(how, copies):
    """Nor a segment that is beyond mending: it is replaced before the call returns."""
    with filled(copies) as cluster:
        damage(cluster, how, random.Random(copies))
        report = cluster.check(repair=True)
        assert report.problems
        assert report.repaired
        assert cluster.check().texts == []
        assert count_lost(cluster) == 0 or copies == 1
        cluster.accept_loss()
        cluster.default.put_many({index: value_of(index) for index in range(KEYS)})
        assert cluster.check().clean


def test_with_recovery_none_repair_tells_of_what_is_beyond_mending():
    with filled(2, recovery="none") as cluster:
        damage(cluster, "zeroed", random.Random(1))
        cluster.check(repair=True)
        assert any("tile" in text for text in cluster.check().texts)
        assert all(cluster[index] == value_of(index) for index in range(KEYS))
