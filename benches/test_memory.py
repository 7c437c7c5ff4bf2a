"""Filling a region with small objects; the bytes per object are in `extra_info`."""

import pytest
from memory import fill, memory_per_object
from peers import open_peer
from workload import Population

COUNT = 100_000


@pytest.mark.benchmark(group=f"put_many of {COUNT:,} new objects")
def test_fill(benchmark, reported):
    with open_peer("dsm_native", replication_factor=1) as opened:
        found = memory_per_object(opened.cluster, opened.region, COUNT)
        benchmark.extra_info |= found.raw["memory"]
        benchmark.extra_info["bytes_beyond_key_and_value"] = found.figures["memory"].value
        benchmark.pedantic(fill, args=(opened.region, Population(COUNT)), rounds=3)
        reported(lambda seconds: [second / COUNT for second in seconds])
        assert len(opened.region) == COUNT
