"""How long single operations take: p50, p99, p99.9 and the slowest, for every store in turn.

One store at a time is open, since some (Ray) keep the machine busy by merely existing. The cost of
reading the clock once is part of every figure and is itself reported as the store "clock alone".
"""

import time

from peers import OPENERS, PeerAbsentError, open_peer
from rounds import Findings, histogram, percentiles, timed_each
from workload import Population, value_of

SETTLE_OPERATIONS = 100


def latencies(population: Population, operations: int, budget_seconds: float, names=None):
    """Findings whose raw data hold the figures and histograms by store; and who was absent."""
    found = Findings(raw={"latency_us": {}, "latency_histograms": {}})
    absent: dict[str, str] = {}
    record(found, "clock alone", {"get": clock_alone(operations)})
    for name in names or OPENERS:
        try:
            store = open_peer(name)
        except PeerAbsentError as reason:
            absent[name] = str(reason)
            continue
        with store:
            record(found, name, one_store(store, population, operations, budget_seconds))
            found.raw["latency_us"][name]["note"] = store.note
    return found, absent


def clock_alone(operations: int) -> list[int]:
    return timed_each(lambda key: None, [("key",)] * operations)


def one_store(store, population: Population, operations: int, budget_seconds: float) -> dict:
    """Nanoseconds of single gets and overwrites; fewer of them when the store is slow."""
    kind = store.key_kind
    value = value_of()
    store.load(population.fresh(list(range(len(population.texts))), kind), value)
    get, put = store.single_get(), store.single_put()
    started = time.perf_counter()
    asked = population.fresh(population.shuffled(SETTLE_OPERATIONS), kind)
    timed_each(get, [(key,) for key in asked])
    timed_each(put, [(key, value) for key in asked])
    each = (time.perf_counter() - started) / (2 * len(asked))
    count = max(SETTLE_OPERATIONS, min(operations, int(budget_seconds / each)))
    taken: dict[str, list[int]] = {"get": [], "put": []}
    while len(taken["get"]) < count:
        left = min(count - len(taken["get"]), len(population.texts))
        for action, call in (("get", get), ("put", put)):
            keys = population.fresh(population.shuffled(left), kind)
            more = [(key,) for key in keys] if action == "get" else [(key, value) for key in keys]
            taken[action] += timed_each(call, more)
    return taken


def record(found: Findings, name: str, taken: dict[str, list[int]]) -> None:
    found.raw["latency_us"][name] = {action: percentiles(ns) for action, ns in taken.items()}
    found.raw["latency_histograms"][name] = {a: histogram(ns) for a, ns in taken.items()}
