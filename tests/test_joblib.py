"""joblib on a cluster's nodes: order, errors, large arrays, killed workers, nested calls."""

from __future__ import annotations

import os
import signal

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed

import dsm_native as dsm
import dsm_native.joblib_backend


@pytest.fixture
def configured(shared):
    with joblib.parallel_config("dsm_native", cluster=shared):
        yield shared


def test_results_in_order_on_all_nodes(configured):
    assert Parallel()(delayed(pow)(n, 2) for n in range(500)) == [n * n for n in range(500)]
    pids = set(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(200)))
    assert pids <= {node.pid for node in configured.nodes}
    assert os.getpid() not in pids
    factor = 3
    tripled = Parallel()(delayed(lambda x: x * factor)(n) for n in range(9))
    assert tripled == [3 * n for n in range(9)]


def test_generators_and_errors(configured):
    results = Parallel(return_as="generator")(delayed(abs)(-n) for n in range(50))
    assert list(results) == list(range(50))
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(divmod)(1, n - 5) for n in range(10))
    assert Parallel()(delayed(abs)(-n) for n in range(5)) == list(range(5))


def test_large_arrays_are_seen_in_place(configured):
    array = np.arange(100_000.0)
    assert Parallel()(delayed(np.sum)(array) for _ in range(20)) == [array.sum()] * 20
    assert not list(configured._scheduler.parcels.region)


def test_a_killed_worker_costs_nothing(configured):
    def once(n):
        if n == 7 and dsm.current().region("joblib").add("kills") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    assert Parallel()(delayed(once)(n) for n in range(60)) == list(range(60))
    assert configured.region("joblib")["kills"] == 2


def test_nested_calls(configured):
    def outer(n):
        return sum(Parallel(n_jobs=2)(delayed(abs)(-m) for m in range(n)))

    assert Parallel()(delayed(outer)(n) for n in range(6)) == [0, 0, 1, 3, 6, 10]


def test_the_cluster_is_found_or_must_be_named(shared):
    with joblib.parallel_config("dsm_native"):
        assert Parallel()(delayed(abs)(-n) for n in range(3)) == [0, 1, 2]
    with dsm.Cluster(nodes=1, stripes=64), pytest.raises(dsm.UsageError, match="which cluster"):
        dsm_native.joblib_backend.ClusterBackend()
    with pytest.raises(ValueError, match="n_jobs == 0"):
        dsm_native.joblib_backend.ClusterBackend(cluster=shared).effective_n_jobs(0)
