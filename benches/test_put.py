"""`put` of 64 bytes over an existing key, into every store that is present."""

import pytest


@pytest.mark.benchmark(group="put 64 B")
def test_put(passes, store, population, value):
    count = store.keys_per_round
    passes(
        lambda: (population.fresh(population.shuffled(count), store.key_kind), value),
        store.put_each,
        count,
    )


@pytest.mark.benchmark(group="put 64 B, ours by replication")
def test_put_by_replication(passes, ours, population, value):
    passes(
        lambda: (population.fresh(population.shuffled()), value),
        ours.put_each,
        len(population.texts),
    )
