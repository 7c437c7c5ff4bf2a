"""Deaths and silence of nodes: how soon everybody knows, who waits meanwhile, and what rest costs.

Four nodes, of which the last one dies: it overwrites the keys that the others use, without pause,
so that most kills find it inside a put. The survivors' knowledge is the call of a subscriber in
each of their processes; all clocks are the machine's one monotonic clock, read before the kill and
in the callback. Stalls are the longest time between two finished operations of a process that does
nothing else, in windows with a death and, in turns, in windows without one.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rounds import Findings, Measurement, quantile
from workload import value_of

import dsm_native as dsm

NODES, VICTIM = 4, 3
KEYS = 64
VALUE_BYTES = 64 << 10
IDLE_NODES = 16
WINDOW_S = 0.25
KILL_AT_S = 0.05
PATIENCE_S = 30.0


def overwrite(_: object) -> None:
    """The victim's life."""
    region, value = dsm.current().default, value_of(VALUE_BYTES)
    while True:
        for key in range(KEYS):
            region.put(key, value)


def listen(_: object) -> None:
    """On a survivor: notes when it hears of each death."""
    cluster = dsm.current()
    cluster.heard_of = heard = []
    cluster.subscribe(
        lambda event: event.kind == "dead" and heard.append((event.sequence, time.monotonic_ns()))
    )


def heard(_: object) -> list[tuple[int, int]]:
    return dsm.current().heard_of


@contextmanager
def opened(**options: object) -> Iterator[dsm.Cluster]:
    with dsm.Cluster(nodes=NODES, replication_factor=2, **options) as cluster:
        value = value_of(VALUE_BYTES)
        for key in range(KEYS):
            cluster.default.put(key, value)
        yield cluster


class Victim:
    """The last node, at work; struck again and again, each time in its next incarnation."""

    def __init__(self, cluster: dsm.Cluster) -> None:
        self.cluster = cluster
        self.incarnation = 1
        self.work()

    def work(self) -> None:
        task = self.cluster.submit(overwrite, None, node=VICTIM, retries=0)
        deadline = time.monotonic() + PATIENCE_S
        while not task.running() and time.monotonic() < deadline:
            time.sleep(0.001)

    @property
    def pid(self) -> int:
        return next(info.pid for info in self.cluster.nodes if info.id == VICTIM)

    def replaced(self) -> dsm.NodeEvent:
        """Waits for its next incarnation to serve, and puts that to work."""
        self.incarnation += 1
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event in self.cluster.events():
                served = event.kind == "replaced" and event.node == VICTIM
                if served and event.incarnation == self.incarnation:
                    self.work()
                    return event
            time.sleep(0.002)
        raise TimeoutError(f"incarnation {self.incarnation} does not serve")


def deaths(cluster: dsm.Cluster, count: int) -> Findings:
    """`count` kills: until the last survivor was told, and until the next incarnation served."""
    mine: list[tuple[int, int]] = []
    cluster.subscribe(
        lambda event: event.kind == "dead" and mine.append((event.sequence, time.monotonic_ns()))
    )
    survivors = [node for node in range(NODES) if node != VICTIM]
    for node in survivors:
        cluster.submit(listen, None, node=node).result(PATIENCE_S)
    victim, struck, serving = Victim(cluster), [], []
    for _ in range(count):
        pid = victim.pid
        struck.append(time.monotonic_ns())
        os.kill(pid, signal.SIGKILL)
        serving.append(victim.replaced().monotonic * 1e3 - struck[-1] / 1e6)
    told = [mine, *(cluster.submit(heard, None, node=n).result(PATIENCE_S) for n in survivors)]
    known = [
        max(times[number][1] for times in told) / 1e6 - struck[number] / 1e6
        for number in range(count)
    ]
    note = f"{count} kills, owner and {len(survivors)} survivors, from before the call of kill"
    return Findings(
        {
            "death_known": tail(known, 0.99, note),
            "node_serving": tail(serving, 0.99, f"{count} kills, from before the call of kill"),
        },
        {"death_known_ms": known, "node_serving_ms": serving},
    )


def operate(region: dsm.Region, writes: bool, pipe) -> None:
    """A process that only reads, or only writes; answers each window with its longest stall."""
    value, clock = value_of(), time.perf_counter_ns
    operation = (lambda key: region.put(key, value)) if writes else region.get
    for key in range(KEYS):
        operation(key)
    while pipe.recv():
        pipe.send("begun")
        last = clock()
        end, longest, key = last + int(WINDOW_S * 1e9), 0, 0
        while last < end:
            operation(key % KEYS)
            now = clock()
            longest = max(longest, now - last)
            last, key = now, key + 1
        pipe.send(longest)


def stalls(cluster: dsm.Cluster, writes: bool, count: int) -> dict[str, list[float]]:
    """Longest stalls, in milliseconds, of windows with a death and without, in turns."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=operate, args=(cluster.default, writes, theirs), daemon=True)
    process.start()
    victim = Victim(cluster)
    found: dict[str, list[float]] = {"death": [], "control": []}
    for number in range(2 * count):
        kind = "death" if number % 2 else "control"
        pid = victim.pid
        ours.send(True)
        ours.recv()
        time.sleep(KILL_AT_S)
        if kind == "death":
            os.kill(pid, signal.SIGKILL)
        found[kind].append(ours.recv() / 1e6)
        if kind == "death":
            victim.replaced()
    ours.send(False)
    process.join()
    return found


def beyond_control(found: dict[str, list[float]], note: str) -> Measurement:
    """How much longer the longest stalls are with a death: the ninth deciles' difference; its
    spread are the differences of medians, ninth deciles and greatest."""
    death, control = sorted(found["death"]), sorted(found["control"])
    longer = [max(0.0, quantile(death, q) - quantile(control, q)) for q in (0.5, 0.9, 1.0)]
    return Measurement(longer[1], min(longer), max(longer), len(death), note)


def pauses(count: int) -> Findings:
    """SIGSTOP until the next incarnation serves, beyond the configured time-out."""
    chosen = dsm.Detection(heartbeat_ms=50, suspect_ms=250, timeout_ms=1000)
    taken = []
    with opened(detection=chosen) as cluster:
        victim = Victim(cluster)
        for _ in range(count):
            pid = victim.pid
            started = time.monotonic_ns()
            os.kill(pid, signal.SIGSTOP)
            served = victim.replaced().monotonic * 1e3
            taken.append(served - started / 1e6 - chosen.timeout_ms)
    note = f"{count} pauses, time-out {chosen.timeout_ms} ms; until the next incarnation serves"
    return Findings({"hung_replaced": tail(taken, 0.99, note)}, {"hung_replaced_ms": taken})


def processor_ns(pids: list[int]) -> int:
    """Processor time of all threads of these processes, as the scheduler counts it."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


def heartbeats(count: int, seconds: float) -> Findings:
    """What sixteen idle nodes take of a processor, all their threads together."""
    shares = []
    with dsm.Cluster(nodes=IDLE_NODES) as cluster:
        pids = [info.pid for info in cluster.nodes]
        time.sleep(2)  # until what starting left over is done
        for _ in range(count):
            before, started = processor_ns(pids), time.monotonic_ns()
            time.sleep(seconds)
            after, ended = processor_ns(pids), time.monotonic_ns()
            shares.append(100 * (after - before) / (ended - started))
    note = f"{count} times {seconds:g} s, default settings, main threads included"
    ordered = sorted(shares)
    middle = Measurement(quantile(ordered, 0.5), ordered[0], ordered[-1], count, note)
    return Findings({"heartbeats": middle}, {"heartbeats_percent": shares})


def membership(kills: int, windows: int, stops: int, seconds: float) -> Findings:
    """All of it, each with a cluster of its own."""
    with opened() as cluster:
        found = deaths(cluster, kills)
    for name, writes in (("stall_reader", False), ("stall_writer", True)):
        with opened() as cluster:
            taken = stalls(cluster, writes, windows)
        note = f"{windows} windows of {WINDOW_S * 1000:g} ms each; 9th deciles, death less control"
        found.figures[name] = beyond_control(taken, note)
        found.raw[f"{name}_ms"] = taken
    found.merge(pauses(stops))
    found.merge(heartbeats(3, seconds))
    return found


def tail(values: list[float], q: float, note: str) -> Measurement:
    """A percentile, with the least and the most as its spread."""
    ordered = sorted(values)
    return Measurement(quantile(ordered, q), ordered[0], ordered[-1], len(ordered), note)
