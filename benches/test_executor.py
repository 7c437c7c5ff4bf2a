"""Tasks on our nodes and on the standard library's pool: round trips, tiny ones, 1 MiB arrays."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from executor import ELEMENTS, TINY, WORKERS, first_of, same

import dsm_native as dsm


@pytest.fixture(scope="module", params=["ProcessPoolExecutor", "dsm_native"])
def pool(request):
    if request.param == "ProcessPoolExecutor":
        with ProcessPoolExecutor(WORKERS) as opened:
            yield opened
    else:
        with dsm.Cluster(nodes=WORKERS) as cluster, cluster.executor() as opened:
            yield opened


@pytest.mark.benchmark(group="task round trip")
def test_round_trip(benchmark, pool):
    assert benchmark(lambda: pool.submit(same, 1).result()) == 1


@pytest.mark.benchmark(group="2,000 tiny tasks")
def test_tiny_tasks(benchmark, pool):
    results = benchmark.pedantic(lambda: list(pool.map(same, range(TINY))), rounds=5)
    assert results == list(range(TINY))


@pytest.mark.benchmark(group="a task with a 1 MiB array")
def test_array(benchmark, pool):
    array = np.ones(ELEMENTS)
    assert benchmark(lambda: pool.submit(first_of, array).result()) == 1.0
