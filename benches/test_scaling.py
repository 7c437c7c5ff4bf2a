"""Two processes at once: time per operation, of one alone and of both together.

Perfect scaling halves the figure. `compare.py` measures the scaling itself, in turns with two
independent dict loops.
"""

import pytest
from peers import open_peer
from scaling import MIXES, SAME_KEY, Duo

WINDOW_NS = 20_000_000
ROUNDS = 10


@pytest.fixture(scope="module")
def duo(population, value):
    with open_peer("dsm_native") as opened:
        opened.load(population.fresh(population.shuffled()), value)
        opened.region.put(SAME_KEY, value)
        with Duo(opened.region) as workers:
            yield workers


@pytest.mark.benchmark(group="two processes")
@pytest.mark.parametrize("lanes", [(0,), (0, 1)], ids=["alone", "together"])
@pytest.mark.parametrize("mix", [*MIXES, "same"])
def test_two_processes(benchmark, reported, duo, mix, lanes):
    taken: list[list[float]] = []

    def window() -> None:
        taken.append(duo.run("dsm", mix, lanes, WINDOW_NS))

    benchmark.pedantic(window, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["operations_per_second"] = taken
    reported(lambda _: [1 / sum(throughputs) for throughputs in taken[-ROUNDS:]])
    assert all(len(throughputs) == len(lanes) for throughputs in taken)
