"""`get` of 64 bytes, from every store that is present."""

import pytest


@pytest.mark.benchmark(group="get 64 B")
def test_get(passes, store, population):
    count = store.keys_per_round
    passes(
        lambda: (population.fresh(population.shuffled(count), store.key_kind),),
        store.get_each,
        count,
    )


@pytest.mark.benchmark(group="get 64 B, ours by replication")
def test_get_by_replication(passes, ours, population):
    passes(lambda: (population.fresh(population.shuffled()),), ours.get_each, len(population.texts))
