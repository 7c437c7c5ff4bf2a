"""What the benchmark modules share: opened stores, fresh keys, and the list of who is absent.

`pytest benches/` works as pytest-benchmark's users know it (`--benchmark-compare` and so
on). One round is one pass over many new keys; the figures shown are per operation. Ratios
and verdicts are the business of `compare.py`.
"""

import importlib.util
import shutil
from collections.abc import Callable

import pytest
from peers import OPENERS, open_peer
from workload import Population, value_of

PACKAGES = {
    "py-lmdb": "lmdb",
    "Redis, unix socket": "redis",
    "UltraDict": "UltraDict",
    "diskcache": "diskcache",
    "Ray object store": "ray",
}
SLOW = ("Redis, unix socket", "Manager().dict()", "UltraDict", "diskcache", "Ray object store")
ROUNDS = 30
SLOW_KEYS = 200


def absent_stores() -> dict[str, str]:
    """Names and reasons, found without opening anything."""
    absent = {
        name: f"the package {package} is not installed"
        for name, package in PACKAGES.items()
        if importlib.util.find_spec(package) is None
    }
    if shutil.which("redis-server") is None:
        absent.setdefault("Redis, unix socket", "there is no redis-server on the PATH")
    return absent


PRESENT = [name for name in OPENERS if name not in absent_stores()]


def pytest_report_header() -> list[str]:
    return [f"absent: {name}: {reason}" for name, reason in absent_stores().items()]


@pytest.fixture(scope="session")
def population() -> Population:
    return Population()


@pytest.fixture(scope="session")
def value() -> bytes:
    return value_of()


@pytest.fixture(scope="module", params=PRESENT)
def store(request, population, value):
    """Each store in turn, holding the whole population."""
    with open_peer(request.param) as opened:
        opened.load(population.fresh(population.shuffled(), opened.key_kind), value)
        opened.keys_per_round = SLOW_KEYS if request.param in SLOW else len(population.texts)
        yield opened


@pytest.fixture(scope="module", params=[1, 2], ids=["replication 1", "replication 2"])
def ours(request, population, value):
    """Our own region, with one copy and with two."""
    with open_peer("dsm_native", replication_factor=request.param) as opened:
        opened.load(population.fresh(population.shuffled()), value)
        yield opened


@pytest.fixture
def reported(benchmark):
    """Replaces the seconds of whole rounds by those of one operation.

    The division that pytest-benchmark knows needs `iterations`, which it refuses together with a
    set-up per round.
    """

    def replace(convert: Callable[[list[float]], list[float]]) -> None:
        if not benchmark.disabled:
            seconds = benchmark.stats.stats.data
            seconds[:] = convert(seconds)

    return replace


@pytest.fixture
def passes(benchmark, reported):
    """Runs a loop over newly prepared arguments in every round; reports seconds per operation."""

    def run(prepare, loop, operations: int, rounds: int = ROUNDS) -> None:
        benchmark.extra_info["operations_per_round"] = operations
        benchmark.pedantic(
            loop, setup=lambda: (prepare(), {}), rounds=rounds, iterations=1, warmup_rounds=1
        )
        reported(lambda seconds: [second / operations for second in seconds])

    return run
