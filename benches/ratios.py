"""The ratios of one process: get, put, batches, large values and views, each against its rivals.

Each function opens nothing and closes nothing: it gets opened stores, lets them take turns, and
returns findings. Where a rival is absent, the rows that need it say so.
"""

from collections.abc import Callable

import numpy as np
from peers import Peer
from peers.dsm_region import DsmRegion
from rounds import Findings, first_pass, interleave, one_round, ratio, spread
from workload import LARGE_BYTES, Population, batches, value_of

LARGE_PER_ROUND = 10
VIEWS_PER_ROUND = 320
VIEWED_OBJECTS = 16


def asking(population: Population, loop: Callable, kind: type = str) -> Callable:
    """A contender that asks for every key once, in a new order."""

    def prepare() -> tuple:
        return (population.fresh(population.shuffled(), kind),)

    return one_round(prepare, loop, len(population.texts))


def writing(population: Population, loop: Callable, value: bytes, kind: type = str) -> Callable:
    """A contender that overwrites every key once, in a new order."""

    def prepare() -> tuple:
        return (population.fresh(population.shuffled(), kind), value)

    return one_round(prepare, loop, len(population.texts))


def in_batches(population: Population, loop: Callable, value: bytes | None = None) -> Callable:
    """A contender that hands keys over in batches; with a value, as dicts to be stored."""

    def prepare() -> tuple:
        lists = batches(population.fresh(population.shuffled()))
        if value is None:
            return (lists,)
        return ([dict.fromkeys(keys, value) for keys in lists],)

    return one_round(prepare, loop, len(population.texts))


def gets(
    ours: DsmRegion, plain: Peer, lmdb: Peer | str, population: Population, rounds: int
) -> Findings:
    """`get` and `get_many` of 64 bytes. `lmdb` is the opened store, or why there is none."""
    contenders = {
        "get dsm": asking(population, ours.get_each),
        "get dict": asking(population, plain.get_each),
        "get_many dsm": in_batches(population, ours.get_batches),
    }
    if not isinstance(lmdb, str):
        contenders["get lmdb"] = asking(population, lmdb.get_each, bytes)
        long_loop = lmdb.get_each_in_one_transaction
        contenders["get lmdb long"] = asking(population, long_loop, bytes)
    taken = interleave(contenders, rounds)
    found = Findings(raw={"ns_per_get": taken})
    compare(found, taken, "get_dict", "get dsm", "get dict", "")
    compare(found, taken, "get_many", "get_many dsm", "get dsm", "")
    for name, rival in (("get_lmdb", "get lmdb"), ("get_lmdb_long", "get lmdb long")):
        compare(found, taken, name, "get dsm", rival, f"py-lmdb: {lmdb}")
    return found


def compare(
    found: Findings, taken: dict[str, list], row: str, above: str, below: str, absent: str
) -> None:
    """One row, and what it is for the first pass of each turn."""
    if below not in taken:
        found.unmeasured[row] = absent
        return
    first = ratio(taken[first_pass(above)], taken[first_pass(below)])
    note = f"{first.value:.2f} in the first pass, with caches full of the others' data"
    found.figures[row] = ratio(taken[above], taken[below], note)


def puts(
    single: DsmRegion, double: DsmRegion, lmdb: Peer | str, population: Population, rounds: int
) -> Findings:
    """`put` and `put_many` of 64 bytes over existing keys, with one copy and with two."""
    value = value_of()
    contenders = {
        "put dsm 1": writing(population, single.put_each, value),
        "put dsm 2": writing(population, double.put_each, value),
        "put_many dsm 1": in_batches(population, single.put_batches, value),
        "put_many dsm 2": in_batches(population, double.put_batches, value),
    }
    if not isinstance(lmdb, str):
        contenders["put lmdb"] = writing(population, lmdb.put_each, value, bytes)
    taken = interleave(contenders, rounds)
    found = Findings(raw={"ns_per_put": taken})
    for copies in (1, 2):
        alone = f"put dsm {copies}"
        compare(found, taken, f"put_many_{copies}", f"put_many dsm {copies}", alone, "")
        compare(found, taken, f"put_{copies}_lmdb", alone, "put lmdb", f"py-lmdb: {lmdb}")
    return found


def large_puts(single: DsmRegion, rounds: int) -> Findings:
    """`put` of 1 MiB over one key, against `np.copyto` from the same bytes into one array."""
    value = value_of(LARGE_BYTES)
    source = np.frombuffer(value, dtype=np.uint8)
    target = np.ones(LARGE_BYTES, dtype=np.uint8)

    def copy_each(count: int) -> None:
        copyto = np.copyto
        for _ in range(count):
            copyto(target, source)

    def fresh_keys() -> tuple:
        return ([b"large value".decode() for _ in range(LARGE_PER_ROUND)], value)

    contenders = {
        "put 1 MiB dsm": one_round(fresh_keys, single.put_each, LARGE_PER_ROUND),
        "np.copyto 1 MiB": one_round(lambda: (LARGE_PER_ROUND,), copy_each, LARGE_PER_ROUND),
    }
    taken = interleave(contenders, rounds)
    note = "one key overwritten; one array overwritten"
    found = Findings(raw={"ns_per_mib": taken})
    found.figures["put_large"] = ratio(taken["put 1 MiB dsm"], taken["np.copyto 1 MiB"], note)
    return found


def views(ours: DsmRegion, lmdb: Peer | str, rounds: int) -> Findings:
    """`view` of 1 MiB of bytes and of an array, each dropped before the next, against py-lmdb."""
    value = value_of(LARGE_BYTES)
    array = np.frombuffer(value, dtype=np.float64)
    for number in range(VIEWED_OBJECTS):
        ours.region.put(f"viewed bytes {number}", value)
        ours.region.put(f"viewed array {number}", array)

    def prepared(prefix: str, kind: type = str) -> Callable:
        def prepare() -> tuple:
            names = [f"{prefix} {i % VIEWED_OBJECTS}" for i in range(VIEWS_PER_ROUND)]
            return ([name.encode() for name in names] if kind is bytes else names,)

        return prepare

    contenders = {
        "view bytes dsm": one_round(prepared("viewed bytes"), ours.view_each, VIEWS_PER_ROUND),
        "view array dsm": one_round(prepared("viewed array"), ours.view_each, VIEWS_PER_ROUND),
    }
    if not isinstance(lmdb, str):
        lmdb.load(prepared("viewed bytes", bytes)()[0][:VIEWED_OBJECTS], value)
        rival = prepared("viewed bytes", bytes)
        contenders["view lmdb"] = one_round(rival, lmdb.view_each, VIEWS_PER_ROUND)
    taken = interleave(contenders, rounds)
    found = Findings(raw={"ns_per_view": taken})
    for name, own in (("view_bytes", "view bytes dsm"), ("view_array", "view array dsm")):
        if "view lmdb" in taken:
            found.figures[name] = ratio(taken[own], taken["view lmdb"])
        else:
            found.unmeasured[name] = f"py-lmdb: {lmdb}"
    return found


def absolute(findings: Findings) -> dict[str, float]:
    """Median ns per operation of every contender, for whoever wants more than ratios."""
    return {
        name: round(spread(figures).value, 1)
        for group in findings.raw.values()
        for name, figures in group.items()
    }
