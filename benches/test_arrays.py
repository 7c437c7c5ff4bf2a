"""Blocks, snapshots and the raw memory of a shared array, beside numpy on private memory."""

import numpy as np
import pytest

import dsm_native as dsm
from dsm_native._native.page_diff import page_diff_copy

SHAPE = (1024, 1024)  # 8 MiB of f8, 32 tiles
ROW = slice(100, 101)
GROUP = "a row of 8 KiB"


@pytest.fixture(scope="module", params=[1, 2], ids=["replication 1", "replication 2"])
def array(request):
    with dsm.Cluster(nodes=2, replication_factor=2) as cluster:
        made = cluster.array("bench", SHAPE, replication_factor=request.param)
        made.fill(1.0)
        yield made


@pytest.mark.benchmark(group=GROUP)
def test_writing(benchmark, array):
    def write():
        with array.writing(ROW) as block:
            block += 1.0

    benchmark(write)
    assert array.snapshot(ROW).min() == array.snapshot(ROW).max() > 1


@pytest.mark.benchmark(group=GROUP)
def test_reading(benchmark, array):
    def read():
        with array.reading(ROW) as block:
            return float(block[0, 0])

    assert benchmark(read) >= 1


@pytest.mark.benchmark(group=GROUP)
def test_snapshot(benchmark, array):
    assert benchmark(array.snapshot, ROW).shape == (1, 1024)


@pytest.mark.benchmark(group=GROUP)
def test_private_numpy(benchmark):
    private = np.ones(SHAPE)

    def write():
        private[ROW] += 1.0

    benchmark(write)
    assert private[ROW].min() > 1


@pytest.mark.benchmark(group="8 MiB, one page in 100 changed")
def test_page_diff(benchmark):
    left = np.arange(SHAPE[0] * SHAPE[1], dtype="u8")
    right = left.copy()

    def change():
        right[::51_200] += np.uint64(1)
        return (left, right), {}

    assert benchmark.pedantic(page_diff_copy, setup=change, rounds=50) > 0
    assert (left == right).all()
