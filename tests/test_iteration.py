"""Iteration beside writers: who is present throughout appears exactly once."""

from __future__ import annotations

import collections
import os
import threading
import time

import pytest
from processes import said, started

import dsm_native as dsm

CHURN = """
import dsm_native as dsm, random, sys
cluster = dsm.attach(sys.argv[1])
region = cluster.region("churned")
draw = random.Random(int(sys.argv[2]))
print("ready", flush=True)
while not cluster.closed:
    try:
        for _ in range(50):
            key = ("transient", draw.randrange(3000))
            if draw.random() < 0.5:
                region[key] = bytes(draw.randrange(300))
            else:
                region.pop(key, None)
            region[("permanent", draw.randrange(2000))] = bytes(draw.choice([8, 200, 3000]))
    except dsm.ClosedError:
        break
"""


def test_every_key_that_is_present_throughout_appears_exactly_once(cluster):
    region = cluster.region("churned")
    permanent = {("permanent", number) for number in range(2000)}
    region.put_many((key, b"first") for key in permanent)
    with started(CHURN, cluster.name, "1") as first, started(CHURN, cluster.name, "2") as second:
        said(first, "ready")
        said(second, "ready")
        end = time.monotonic() + 4
        rounds = 0
        while time.monotonic() < end:
            seen = collections.Counter(iter(region))
            assert permanent <= set(seen)
            assert max(seen.values()) == 1
            items = list(region.items())
            assert {key for key, _ in items} >= permanent
            assert len({key for key, _ in items}) == len(items)
            assert sum(1 for _ in region.values()) >= 2000
            rounds += 1
        assert rounds > 3
        transient = [key for key in region if key[0] == "transient"]
        assert transient, "the churn had no effect"
    # The churning processes are killed in the middle of what they do; nothing is lost by it.
    assert permanent <= set(region)
    assert len(region) == len(list(region))
    assert cluster.check().clean


def test_iteration_may_change_the_region(region):
    region.update({number: number for number in range(1000)})
    for key in region:
        del region[key]
        region[("seen", key)] = 1
    assert {key for key in region if not isinstance(key, tuple)} == set()
    assert len(region) >= 1000


def test_iterators_are_independent_and_lazy(region):
    region.update({number: number for number in range(100)})
    first, second = iter(region), iter(region)
    assert next(first) == next(second)
    assert sorted([next(first), *first]) == sorted([next(second), *second])


def test_iterating_a_closed_region_is_an_error(name):
    with dsm.Cluster(nodes=1, name=name, stripes=64) as cluster:
        cluster.default.update({number: number for number in range(100)})
        walk = iter(cluster.default)
        next(walk)
    with pytest.raises(dsm.ClosedError):
        list(walk)


def test_regions_do_not_see_each_others_keys(shared):
    mine, other = shared.region("mine"), shared.region("other")
    mine.update(dict.fromkeys(range(500), 1))
    other.update({-number: 1 for number in range(1, 500)})
    assert set(mine) == set(range(500))
    assert set(other) == {-number for number in range(1, 500)}
    assert (len(mine), len(other)) == (500, 499)


def test_values_and_items_leave_out_what_vanishes_meanwhile(region):
    region.update({number: bytes(100) for number in range(2000)})
    stop = threading.Event()

    def vanish():
        while not stop.is_set():
            for number in range(2000):
                region.pop(number, None)
                region[number] = os.urandom(4)

    thread = threading.Thread(target=vanish)
    thread.start()
    try:
        for _ in range(20):
            assert all(value is not None for value in region.values())
            assert b"never stored" not in region.values()
            assert (5, b"never stored") not in region.items()
    finally:
        stop.set()
        thread.join()
