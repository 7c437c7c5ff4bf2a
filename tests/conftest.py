"""Fixtures of all tests, and the watch over what they leave behind."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator

import pytest
from members import HASTY
from processes import PATIENCE_S, PREFIX, fresh_name, gone

import dsm_native as dsm


def pytest_configure() -> None:
    """A shell's background job ignores SIGINT from the start; tests of Ctrl-C want it as usual."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scenarios",
        action="store_true",
        help="write what scenarios print now into their files; read the difference as a change",
    )


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    gone(PREFIX)


@pytest.fixture(autouse=True)
def _no_child_left() -> Iterator[None]:
    """Left by a failed test, they would hang others, and this process, which joins them at last."""
    before = multiprocessing.active_children()
    yield
    deadline = time.monotonic() + PATIENCE_S
    left = []
    for child in multiprocessing.active_children():
        if child not in before:
            child.join(max(0.0, deadline - time.monotonic()))
            if child.is_alive():
                left.append(child)
                child.kill()
                child.join()
    assert not left, f"the test left {left}"


@pytest.fixture
def name() -> Iterator[str]:
    """A fresh cluster name; nothing of that name may be left when the test is over."""
    fresh = fresh_name()
    yield fresh
    gone(fresh)


@pytest.fixture
def cluster(name: str) -> Iterator[dsm.Cluster]:
    """A cluster of its own for one test: three nodes, two replicas, few stripes."""
    with dsm.Cluster(nodes=3, replication_factor=2, name=name, stripes=64) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared() -> Iterator[dsm.Cluster]:
    """One cluster for the tests of a module that only use regions of their own."""
    fresh = fresh_name()
    with dsm.Cluster(nodes=3, replication_factor=2, name=fresh, stripes=64) as opened:
        yield opened
        report = opened.check()
        assert report.clean, report.texts
    gone(fresh)


@pytest.fixture
def region(shared: dsm.Cluster, request: pytest.FixtureRequest) -> Iterator[dsm.Region]:
    """A region of its own in the module's cluster, emptied afterwards."""
    opened = shared.region(f"{request.node.name[:40]}.{abs(hash(request.node.name)) % 10**9}")
    yield opened
    opened.clear()


@pytest.fixture(scope="module")
def triple() -> Iterator[dsm.Cluster]:
    """One cluster for the tests of a module that only use an array of their own: three copies."""
    with dsm.Cluster(nodes=3, replication_factor=3, name=fresh_name(), stripes=64) as opened:
        yield opened
        assert opened.arrays == []
        assert opened.check().clean


@pytest.fixture
def hasty(name: str) -> Iterator[dsm.Cluster]:
    """A cluster of its own with three copies, whose waits are short: holders are waited out."""
    with dsm.Cluster(nodes=3, replication_factor=3, name=name, stripes=64) as opened:
        opened._handle.lock_timeout = 0.3
        yield opened


@pytest.fixture
def watched(name: str) -> Iterator[dsm.Cluster]:
    """Three nodes that are found hung after 0.6 s."""
    with dsm.Cluster(
        nodes=3, replication_factor=2, name=name, stripes=64, detection=HASTY, faults=True
    ) as cluster:
        yield cluster


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    """A name for an array of one test."""
    return f"a{abs(hash(request.node.name)) % 10**12}"
