"""Nodes that come and go: how much is moved, what writers notice of it, and how long it takes.

How much: objects are counted in a cluster at rest. The ideal share of a node that comes is its
weight's part of all copies; of a node that goes, the copies that it has.
Writers are measured one by one, in this process, while stripes move to a node that was added at the
default pace, and before it; the rebalance is held back until the node's process has started, and
only batches of puts that ended before the rebalance did are counted. Both windows take turns, and a
ratio is formed within each.
"""

import contextlib
import time

from rounds import Findings, Measurement, histogram, percentiles, ratio, spread, timed_each
from workload import Population, value_of

import dsm_native as dsm

NODES, REPLICAS = 3, 2
VALUE_BYTES = 1000
BATCH = 500
LIMIT_S = 120.0
HELD_BYTES_PER_S = 1


def shares(objects: int, turns: int) -> list[dict]:
    """Of each change of the nodes: what was moved, and what ideally is, in copies of objects."""
    found = []
    for _ in range(turns):
        with dsm.Cluster(nodes=4, replication_factor=REPLICAS) as cluster:
            for first in range(0, objects, BATCH):
                keys = range(first, min(first + BATCH, objects))
                cluster.default.put_many(dict.fromkeys(keys, b"x"))
            for weight in (1, 2):
                cluster.add_node(weight=weight)
                moved = cluster.rebalance(timeout=LIMIT_S).moved_objects
                whole = sum(node.weight for node in cluster.nodes)
                ideal = objects * REPLICAS * weight / whole
                found.append({"change": f"add {weight:g}", "moved": moved, "ideal": ideal})
            ideal = next(info.objects for info in cluster.nodes if info.id == 0)
            cluster.remove_node(0, timeout=LIMIT_S)
            moved = cluster.rebalancing.moved_objects
            found.append({"change": "remove 0", "moved": moved, "ideal": ideal})
    return found


def pace(cluster: dsm.Cluster, bytes_per_s: int) -> None:
    """How fast stripes move from now on; waits for none."""
    with contextlib.suppress(dsm.WaitTimeoutError):
        cluster.rebalance(bytes_per_s=bytes_per_s, timeout=0.001)


class Writer:
    """Puts of keys in random order, each timed."""

    def __init__(self, region: dsm.Region, keys: int) -> None:
        self.region = region
        self.population = Population(keys)
        self.value = value_of(VALUE_BYTES)
        for first in range(0, keys, BATCH):
            texts = self.population.texts[first : first + BATCH]
            region.put_many(dict.fromkeys(texts, self.value))

    def batch(self) -> list[int]:
        """Nanoseconds of each of some puts."""
        keys = self.population.fresh(self.population.shuffled(BATCH))
        return timed_each(self.region.put, [(key, self.value) for key in keys])

    def quiet(self, operations: int) -> list[int]:
        return [ns for _ in range(-(-operations // BATCH)) for ns in self.batch()]

    def beside(self, cluster: dsm.Cluster, operations: int) -> list[int]:
        """The same while stripes move; the first batch counts even if it was over before."""
        taken = self.batch()
        while len(taken) < operations:
            more = self.batch()
            if cluster.rebalancing.done:
                break
            taken += more
        return taken


def noticed(keys: int, operations: int, rounds: int, bytes_per_s: int) -> Findings:
    """What writers notice, and how long nodes take to come and to go beside them."""
    puts: dict[str, list[dict]] = {"quiet": [], "beside": []}
    told: dict[str, list[dict]] = {"quiet": [], "beside": []}
    seconds: dict[str, list[float]] = {"add": [], "balance": [], "remove": []}
    moved = []
    with dsm.Cluster(nodes=NODES, replication_factor=REPLICAS) as cluster:
        writer = Writer(cluster.default, keys)
        writer.quiet(operations)
        for _ in range(rounds):
            pace(cluster, HELD_BYTES_PER_S)
            quiet = writer.quiet(operations)
            started = time.perf_counter()
            node = cluster.add_node()
            added = time.perf_counter()
            pace(cluster, bytes_per_s)
            beside = writer.beside(cluster, operations)
            state = cluster.rebalance(timeout=LIMIT_S)
            balanced = time.perf_counter()
            cluster.remove_node(node, timeout=LIMIT_S)
            removed = time.perf_counter()
            for name, taken in (("quiet", quiet), ("beside", beside)):
                puts[name].append(percentiles(taken))
                told[name].append(histogram(taken))
            seconds["add"].append(added - started)
            seconds["balance"].append(balanced - added)
            seconds["remove"].append(removed - balanced)
            moved.append(state.moved_bytes)
    found = Findings(
        raw={
            "rebalance_put_us": puts,
            "rebalance_put_histograms": told,
            "rebalance_seconds": seconds,
            "rebalance_moved_bytes": moved,
        }
    )
    tails = {name: [window["p99"] for window in taken] for name, taken in puts.items()}
    least = min(window["operations"] for window in puts["beside"])
    note = f"{keys:,} keys of {VALUE_BYTES:,} B, at least {least:,} puts per window"
    found.figures["rebalance_put_p99"] = ratio(tails["beside"], tails["quiet"], note)
    slowest = [window["max"] for window in puts["beside"]]
    found.figures["rebalance_put_max"] = spread(slowest, "the slowest put of each window")
    note = "until its process runs tasks"
    found.figures["node_add"] = spread([1e3 * s for s in seconds["add"]], note)
    note = f"{min(moved) >> 20} MiB or more move away from it"
    found.figures["node_remove"] = spread([1e3 * s for s in seconds["remove"]], note)
    return found


def rebalances(
    objects: int, turns: int, keys: int, operations: int, rounds: int, bytes_per_s: int = 0
) -> Findings:
    """All figures of rebalances. bytes_per_s: the pace; 0 is the default."""
    found = noticed(keys, operations, rounds, bytes_per_s)
    changes = shares(objects, turns)
    ratios = sorted(change["moved"] / change["ideal"] for change in changes)
    note = f"the most of {len(ratios)} changes of {objects:,} objects with {REPLICAS} copies"
    most = Measurement(ratios[-1], ratios[0], ratios[-1], len(ratios), note)
    found.figures["rebalance_share"] = most
    found.raw["rebalance_moves"] = changes
    return found


if __name__ == "__main__":
    for label, figure in rebalances(20_000, 2, 100_000, 50_000, 5).figures.items():
        print(f"{label}: {figure.value:.3g} ({figure.low:.3g} to {figure.high:.3g}), {figure.note}")
