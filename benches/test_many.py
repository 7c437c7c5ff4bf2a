"""`get_many` and `put_many` in batches of 1,000, one pass over all keys."""

import pytest
from workload import batches


@pytest.mark.benchmark(group="get_many of 1,000")
def test_get_many(passes, ours, population):
    passes(
        lambda: (batches(population.fresh(population.shuffled())),),
        ours.get_batches,
        len(population.texts),
    )


@pytest.mark.benchmark(group="put_many of 1,000")
def test_put_many(passes, ours, population, value):
    def prepare():
        lists = batches(population.fresh(population.shuffled()))
        return ([dict.fromkeys(keys, value) for keys in lists],)

    passes(prepare, ours.put_batches, len(population.texts))
