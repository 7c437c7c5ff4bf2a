"""The table to be met: what is measured, what it must reach, what it aims at, and the verdict.

The bounds are the project's own promises and are typed in here and nowhere else. A row never
disappears: what could not be measured says why.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One row. `at_least` tells the direction; a bound of None promises nothing."""

    name: str
    what: str
    must: float | None
    aim: float | None
    unit: str = "×"
    at_least: bool = False

    def bound(self, limit: float | None) -> str:
        if limit is None:
            return "–"
        return f"{'≥' if self.at_least else '≤'} {number(limit)} {self.unit}"

    def missed_by(self, value: float, limit: float) -> float:
        """How far beyond the limit, as a share of the limit; zero or less when it is kept."""
        return (limit - value) / limit if self.at_least else (value - limit) / limit

    def verdict(self, value: float) -> str:
        if self.must is not None:
            beyond = self.missed_by(value, self.must)
            if beyond > 0:
                return f"missed by {beyond:.1%}"
        if self.aim is None:
            return "met" if self.must is not None else "for information"
        beyond = self.missed_by(value, self.aim)
        aim = "the aim too" if beyond <= 0 else f"the aim missed by {beyond:.1%}"
        return f"met, {aim}" if self.must is not None else aim.replace(" too", " met")


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


TARGETS = (
    Target("get_dict", "get 64 B, replication 2 / dict.get", 2.5, 1.7),
    Target("get_lmdb", "get 64 B, replication 2 / py-lmdb, a transaction per read", 0.28, None),
    Target("get_lmdb_long", "get 64 B, replication 2 / py-lmdb, one long transaction", None, 0.5),
    Target("put_1_lmdb", "put 64 B, replication 1 / py-lmdb, a transaction per put", 0.30, 0.20),
    Target("put_2_lmdb", "put 64 B, replication 2 / py-lmdb, a transaction per put", 0.45, 0.30),
    Target("get_many", "get_many of 1,000, per item / get", 0.6, 0.35),
    Target("put_many_1", "put_many of 1,000, replication 1, per item / put", 0.6, 0.35),
    Target("put_many_2", "put_many of 1,000, replication 2, per item / put", 0.6, 0.35),
    Target("put_large", "put 1 MiB bytes, replication 1 / np.copyto", 1.3, 1.1),
    Target("view_bytes", "view 1 MiB memoryview / py-lmdb buffers=True", 0.5, 0.25),
    Target("view_array", "view 1 MiB ndarray / py-lmdb buffers=True", 0.7, 0.5),
    Target("scale_read", "2 processes, reads: scaling / two dict loops", 0.93, 0.98, at_least=True),
    Target(
        "scale_write",
        "2 processes, writes to different keys: scaling / two dict loops",
        0.85,
        0.95,
        at_least=True,
    ),
    Target(
        "scale_zipf",
        "2 processes, 95/5 Zipf mix: scaling / two dict loops",
        0.85,
        0.95,
        at_least=True,
    ),
    Target("same_total", "2 processes, same key: total / one alone", 0.4, 0.6, at_least=True),
    Target(
        "same_share",
        "2 processes, same key: smaller share of the operations",
        25.0,
        None,
        "%",
        at_least=True,
    ),
    Target("kill_p99", "SIGKILL of a lock holder to next writer done, p99", 1000.0, 100.0, "µs"),
    Target("kill_p50", "SIGKILL of a lock holder to next writer done, p50", None, None, "µs"),
    Target("death_p99", "death of a lock holder to next writer done, p99", None, None, "µs"),
    Target("dying_p99", "SIGKILL of a lock holder to its death, p99", None, None, "µs"),
    Target("death_known", "SIGKILL of a node to all survivors told, p99", 5.0, 1.0, "ms"),
    Target(
        "stall_reader",
        "longest stall of a reader at a node's death, beyond control",
        5.0,
        1.0,
        "ms",
    ),
    Target(
        "stall_writer",
        "longest stall of a writer at a node's death, beyond control",
        20.0,
        None,
        "ms",
    ),
    Target(
        "node_serving", "SIGKILL of a node to its next incarnation serving, p99", 500.0, None, "ms"
    ),
    Target(
        "hung_replaced",
        "SIGSTOP of a node to its next incarnation serving, beyond the time-out, p99",
        500.0,
        None,
        "ms",
    ),
    Target(
        "rebuild_copy",
        "re-replication of 1 GiB, pages touched / np.copyto",
        0.5,
        None,
        at_least=True,
    ),
    Target("scrub_put_p99", "put p99 while scrubbing / quiet", 3.0, None),
    Target(
        "rebalance_share", "copies that a rebalance moves / the ideal share, the most", 1.15, None
    ),
    Target("rebalance_put_p99", "p99 of a put while stripes move / quiet", 3.0, None),
    Target("rebalance_put_max", "slowest put while stripes move", None, None, "µs"),
    Target("node_add", "add_node, until its process runs tasks", None, None, "ms"),
    Target("node_remove", "remove_node of one with its share, until it is gone", None, None, "ms"),
    Target("heartbeats", "16 idle nodes, of one processor", 1.0, None, "%"),
    Target(
        "page_diff",
        "page diff and copy of 256 MiB, 1% of the pages changed / memory bandwidth",
        0.7,
        None,
        at_least=True,
    ),
    Target(
        "scale_heat",
        "2 workers, heat equation: scaling / two independent processes",
        0.9,
        None,
        at_least=True,
    ),
    Target(
        "scale_kmeans",
        "2 workers, k-means: scaling / two independent processes",
        0.9,
        None,
        at_least=True,
    ),
    Target("heat_joblib", "2 workers, heat equation / joblib, memmapping", None, None),
    Target("heat_ray", "2 workers, heat equation / Ray", None, None),
    Target("transaction_put", "transaction that writes 4 keys / four puts", 3.0, None),
    Target(
        "transaction_update", "transaction that reads and writes 4 keys / four puts", None, None
    ),
    Target("lock_alone", "lock by name, alone / multiprocessing.Lock", None, None),
    Target("lock_contended", "lock by name, 2 processes / multiprocessing.Lock", None, None),
    Target("lock_handoff", "lock by name, to a sleeper / multiprocessing.Lock", None, None),
    Target("queue_echo", "queue by name, round trip of 64 B / multiprocessing.Queue", None, None),
    Target(
        "queue_throughput",
        "queue by name, items of 64 B per second / multiprocessing.Queue",
        5.0,
        None,
        at_least=True,
    ),
    Target("task_asleep_pool", "task round trip, worker asleep / ProcessPoolExecutor", 0.6, None),
    Target("task_spinning_pool", "task round trip, worker spins / ProcessPoolExecutor", 0.25, None),
    Target(
        "tasks_pool",
        "tiny tasks per second, no chunks / ProcessPoolExecutor",
        4.0,
        10.0,
        at_least=True,
    ),
    Target("tasks_joblib", "tiny tasks per second / joblib's batches", 1.0, 2.0, at_least=True),
    Target(
        "task_array_pool",
        "ProcessPoolExecutor / us: a task with a 1 MiB array",
        30.0,
        60.0,
        at_least=True,
    ),
    Target(
        "task_array_pool_seasoned",
        "the same in a program that has freed a block of 31 MiB before",
        None,
        None,
        at_least=True,
    ),
    Target("task_asleep_ray", "task round trip, worker asleep / Ray", None, None),
    Target("task_spinning_ray", "task round trip, worker spins / Ray", None, None),
    Target("tasks_ray", "tiny tasks per second / Ray", None, None, at_least=True),
    Target("task_array_ray", "Ray / us: a task with a 1 MiB array", None, None, at_least=True),
    Target("lifetime", "opening and closing a cluster of 4 nodes", 0.8, None, "s"),
    Target("checkpoint_dd", "checkpoint of 1 GiB / dd with fsync", 0.5, None, at_least=True),
    Target(
        "checkpoint_dd_small",
        "checkpoint of objects of 1,000 B / dd with fsync",
        0.5,
        0.8,
        at_least=True,
    ),
    Target("restore", "restoring 1 GiB, values of 1 MiB", None, None, "GB/s", at_least=True),
    Target("restore_small", "the same, objects of 1,000 B", None, None, "GB/s", at_least=True),
    Target("checkpoint_put_p99", "p99 of a put beside checkpoints / without", 3.0, None),
    Target("checkpoint_put_max", "slowest put beside checkpoints", None, None, "µs"),
    Target("memory", "memory per 64 B object beyond key and value", 96.0, 64.0, "B"),
)
BY_NAME = {target.name: target for target in TARGETS}
