"""Transactions over four keys against four puts, and what waits and locks of keys cost.

A transaction is measured with its whole life: made, four keys written, committed. The same keys are
put one by one in turn, so that both meet the same misses.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterable

from peers.dsm_region import DsmRegion
from rounds import Findings, interleave, one_round, ratio
from workload import Population, value_of

KEYS_PER_TRANSACTION = 4


def fours(keys: Iterable) -> list[list]:
    """The keys in lists of four."""
    listed = list(keys)
    return [
        listed[first : first + KEYS_PER_TRANSACTION]
        for first in range(0, len(listed) - KEYS_PER_TRANSACTION + 1, KEYS_PER_TRANSACTION)
    ]


def write_each(ours: DsmRegion) -> Callable:
    """Four keys written in each transaction."""
    transaction = ours.region.transaction

    def loop(lists: list[list], value: bytes) -> None:
        for keys in lists:
            with transaction() as tx:
                for key in keys:
                    tx[key] = value

    return loop


def read_and_write_each(ours: DsmRegion) -> Callable:
    """Four keys read and written in each transaction."""
    transaction = ours.region.transaction

    def loop(lists: list[list], value: bytes) -> None:
        for keys in lists:
            with transaction() as tx:
                for key in keys:
                    tx[key]
                    tx[key] = value

    return loop


def put_each(ours: DsmRegion) -> Callable:
    """The same keys, each by a put."""
    put = ours.region.put

    def loop(lists: list[list], value: bytes) -> None:
        for keys in lists:
            for key in keys:
                put(key, value)

    return loop


def hand_offs_us(ours: DsmRegion, count: int) -> list[float]:
    """Microseconds from a put to the return of a wait for it, in another thread."""
    region, taken = ours.region, []
    region["bell"] = 0.0
    ready = threading.Event()

    def wait() -> None:
        _value, version = region.get_versioned("bell")
        for _ in range(count):
            ready.set()
            rung, version = region.wait("bell", newer_than=version, timeout=10)
            taken.append((time.perf_counter() - rung) * 1e6)

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(count):
        ready.wait(10)
        ready.clear()
        time.sleep(0.0005)  # the other side sleeps by now, mostly
        region["bell"] = time.perf_counter()
    thread.join()
    return taken


def transactions(ours: DsmRegion, population: Population, rounds: int) -> Findings:
    """The rows of the table."""
    value = value_of()

    def contender(loop: Callable) -> Callable:
        return one_round(
            lambda: (fours(population.fresh(population.shuffled())), value),
            loop,
            len(population.texts) // KEYS_PER_TRANSACTION,
        )

    lock = ours.region.lock("bench")

    def lock_each(lists: list[list], _value: bytes) -> None:
        for _ in lists:
            with lock:
                pass

    taken = interleave(
        {
            "four puts": contender(put_each(ours)),
            "transaction writes four": contender(write_each(ours)),
            "transaction reads and writes four": contender(read_and_write_each(ours)),
            "lock and unlock a key": contender(lock_each),
        },
        rounds,
    )
    found = Findings(raw={"ns_per_four": taken})
    puts = taken["four puts"]
    found.figures["transaction_put"] = ratio(taken["transaction writes four"], puts)
    found.figures["transaction_update"] = ratio(taken["transaction reads and writes four"], puts)
    waited = hand_offs_us(ours, max(4, rounds))
    found.raw["wait_us"] = waited
    found.raw["key_lock_us"] = statistics.median(taken["lock and unlock a key"]) / 1e3
    return found
