"""All figures of the table, side by side in one run: `python benches/compare.py [--quick]`.

Prints the table, writes `latest.json` (with every raw round) and `latest.png` to
`benches/results/`; the part "protocols" has a table and files of its own. The verdicts report, they
do not judge the run: the exit status is 0 whenever everything that can be measured was measured.
`--quick` runs every part for a moment; its figures mean nothing, which its heading says.
"""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import machine
import plot
import protocols
import table
from arrays import arrays
from checkpoint import checkpoints
from executor import tasks
from latency import latencies
from lifetime import lifetimes
from membership import membership
from memory import memory_per_object
from peers import OURS, PeerAbsentError, open_peer
from ratios import absolute, gets, large_puts, puts, views
from rebalance import rebalances
from rebuild import recoveries
from recovery import PutLoopHolder, kills
from rounds import Findings
from scaling import scaling
from sync import synchronisation
from transactions import transactions
from workload import KEY_COUNT, Population, value_of

RESULTS = Path(__file__).parent / "results"
PARTS = (
    *("ratios", "scaling", "kill", "transactions", "sync", "tasks", "arrays", "lifetime"),
    *("membership", "rebuild", "rebalance", "checkpoint", "memory", "latency", "protocols"),
)
QUICK_STORES = ("dict", OURS, "py-lmdb", "Redis, unix socket")


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    keys: int = KEY_COUNT
    rounds: int = 60
    large_rounds: int = 100
    scaling_rounds: int = 16
    window_ms: float = 50.0
    kills: int = 120
    sync_rounds: int = 30
    queue_items: int = 20_000
    lifetimes: int = 15
    objects: int = 1_000_000
    latency_operations: int = 200_000
    latency_seconds: float = 3.0
    stores: tuple[str, ...] | None = None
    array_rounds: int = 4
    membership: tuple[int, int, int, float] = (200, 30, 20, 10.0)
    array_side: int = 2_048
    array_steps: int = 5
    array_bytes: int = 256 << 20
    task_rounds: int = 4
    rebuild: tuple[int, int, int, int] = (1 << 30, 5, 200_000, 100_000)
    rebalance: tuple[int, ...] = (20_000, 3, 100_000, 50_000, 9)
    checkpoint_bytes: int = 1 << 30
    checkpoint_rounds: int = 7
    checkpoint_keys: int = 200_000


QUICK = Effort(
    keys=2_000,
    rounds=4,
    large_rounds=4,
    scaling_rounds=3,
    window_ms=5.0,
    kills=3,
    sync_rounds=3,
    queue_items=500,
    lifetimes=2,
    objects=20_000,
    latency_operations=2_000,
    latency_seconds=0.1,
    stores=QUICK_STORES,
    array_rounds=3,
    array_side=128,
    array_steps=2,
    array_bytes=4 << 20,
    task_rounds=2,
    membership=(3, 3, 2, 0.5),
    rebuild=(4 << 20, 2, 500, 500),
    rebalance=(500, 1, 500, 500, 2, 1 << 20),
    checkpoint_bytes=4 << 20,
    checkpoint_rounds=2,
    checkpoint_keys=2_000,
)


def one_process(effort: Effort) -> Findings:
    """get, put, batches, large values and views."""
    population = Population(effort.keys)
    found = Findings()
    with ExitStack() as opened:
        try:
            lmdb = opened.enter_context(open_peer("py-lmdb"))
        except PeerAbsentError as reason:
            lmdb = str(reason)
        plain = opened.enter_context(open_peer("dict"))
        single = opened.enter_context(open_peer(OURS, replication_factor=1))
        double = opened.enter_context(open_peer(OURS, replication_factor=2))
        for store in (plain, single, double, lmdb):
            if not isinstance(store, str):
                keys = population.fresh(population.shuffled(), store.key_kind)
                store.load(keys, value_of())
        found.merge(gets(double, plain, lmdb, population, effort.rounds))
        found.merge(puts(single, double, lmdb, population, effort.rounds))
        found.merge(large_puts(single, effort.large_rounds))
        found.merge(views(double, lmdb, effort.large_rounds))
    return found


def two_processes(effort: Effort) -> Findings:
    with open_peer(OURS) as ours:
        population = Population(effort.keys)
        return scaling(ours.region, population, effort.scaling_rounds, effort.window_ms)


def killed_holders(effort: Effort) -> Findings:
    with open_peer(OURS) as ours:
        return kills(ours.region, PutLoopHolder(ours.region), effort.kills)


def four_keys(effort: Effort) -> Findings:
    with open_peer(OURS) as ours:
        population = Population(effort.keys)
        ours.load(population.fresh(population.shuffled()), value_of())
        return transactions(ours, population, effort.rounds)


def locks_and_queues(effort: Effort) -> Findings:
    with open_peer(OURS) as ours:
        return synchronisation(
            ours.cluster, effort.sync_rounds, effort.window_ms, effort.queue_items
        )


def a_million_objects(effort: Effort) -> Findings:
    with open_peer(OURS, replication_factor=1) as ours:
        return memory_per_object(ours.cluster, ours.region, effort.objects)


def shared_arrays(effort: Effort) -> Findings:
    quick = effort == QUICK
    sizes = (effort.array_rounds, effort.array_side, effort.array_steps, effort.array_bytes)
    return arrays(*sizes, quick)


def many_tasks(effort: Effort) -> Findings:
    return tasks(effort.task_rounds, with_ray=effort.stores is None)


def saved_clusters(effort: Effort) -> Findings:
    keys = effort.checkpoint_keys
    return checkpoints(effort.checkpoint_bytes, effort.checkpoint_rounds, keys, keys)


def measure(effort: Effort, parts: tuple[str, ...]) -> tuple[Findings, dict[str, str]]:
    """All parts asked for, one after the other, each with clusters of its own."""
    found, absent = Findings(), {}
    steps = {
        "ratios": one_process,
        "scaling": two_processes,
        "kill": killed_holders,
        "transactions": four_keys,
        "sync": locks_and_queues,
        "rebuild": lambda effort: recoveries(*effort.rebuild),
        "rebalance": lambda effort: rebalances(*effort.rebalance),
        "lifetime": lambda effort: lifetimes(effort.lifetimes),
        "memory": a_million_objects,
        "arrays": shared_arrays,
        "tasks": many_tasks,
        "membership": lambda effort: membership(*effort.membership),
        "checkpoint": saved_clusters,
    }
    for part in parts:
        started = time.monotonic()
        if part == "latency":
            population = Population(effort.keys)
            more, absent = latencies(
                population, effort.latency_operations, effort.latency_seconds, effort.stores
            )
        else:
            more = steps[part](effort)
        if part == "ratios":
            more.raw["median_ns"] = absolute(more)
        found.merge(more)
        print(f"{part}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return found, absent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a moment of everything")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for JSON and PNG")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    return parser.parse_args()


def engine(asked: argparse.Namespace, parts: tuple[str, ...]) -> None:
    """Regions against their rivals: `latest.json`, `latest.png` and the table."""
    described = machine.describe()
    before = machine.noise()
    found, absent = measure(QUICK if asked.quick else Effort(), parts)
    after = machine.noise()
    entries = table.rows(found)
    heading = f"{machine.one_line(described)}\n{machine.quietness(before, after)}"
    if asked.quick:
        heading = f"QUICK RUN, THE FIGURES MEAN NOTHING\n{heading}"
    asked.output.mkdir(parents=True, exist_ok=True)
    single = found.raw.get("latency_us", {})
    no_plot = plot.draw(entries, single, heading, asked.output / "latest.png")
    if no_plot:
        absent["plot"] = f"matplotlib: {no_plot}"
    result = {
        "machine": described,
        "noise": {"before": before, "after": after},
        "quick": asked.quick,
        "rows": entries,
        "absent": absent,
        "raw": found.raw,
    }
    written = json.dumps(result, ensure_ascii=False, allow_nan=False)
    (asked.output / "latest.json").write_text(written)
    print(table.report(entries, single, absent, heading))


def main() -> None:
    asked = arguments()
    parts = tuple(part for part in asked.parts if part != "protocols")
    if parts:
        engine(asked, parts)
    if "protocols" in asked.parts:
        print(protocols.report(asked.output, asked.quick))


if __name__ == "__main__":
    main()
