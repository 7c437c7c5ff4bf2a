"""Four keys: by a transaction that writes them, one that reads them too, and by four puts."""

import pytest
from transactions import fours, put_each, read_and_write_each, write_each

LOOPS = {"four puts": put_each, "writes": write_each, "reads and writes": read_and_write_each}


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.benchmark(group="four keys of 64 B")
def test_transaction(passes, ours, population, value, kind):
    passes(
        lambda: (fours(population.fresh(population.shuffled())), value),
        LOOPS[kind](ours),
        len(population.texts) // 4,
    )


@pytest.mark.benchmark(group="lock and unlock a key")
def test_key_lock(benchmark, ours):
    lock = ours.region.lock("bench")

    def once() -> None:
        with lock:
            pass

    benchmark(once)
