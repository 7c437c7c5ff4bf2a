"""Locks and queues by name against those of multiprocessing, in turns of one run.

Alone: one process takes and gives back a lock that nobody else wants. Contended: two processes do
so with the same lock for the same window. Queue: one process puts items of 64 bytes, another gets
them, from the first put to the last get. Echo: an item goes there and another one comes back; each
single round trip is timed.
"""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable

from rounds import WARM_UP_ROUNDS, Findings, one_round, ratio

ITEM = b"i" * 64
LOCKS_PER_ROUND = 4000
CHUNK = 100
START_DELAY_NS = 1_000_000
ASLEEP_AFTER_S = 0.0005
OURS, THEIRS = "dsm", "multiprocessing"


def take_turns(lock, count: int) -> None:
    acquire, release = lock.acquire, lock.release
    for _ in range(count):
        acquire()
        release()


def contend(lock, started: int, window_ns: int) -> float:
    """Times per second that this process had the lock within the window."""
    clock = time.monotonic_ns
    while clock() < started:
        pass
    done, now = 0, started
    while now - started < window_ns:
        take_turns(lock, CHUNK)
        done += CHUNK
        now = clock()
    return done * 1e9 / (now - started)


def wait_each(lock, pipe, count: int) -> None:
    """Waits for the lock as often as told; says when it was granted."""
    for _ in range(count):
        pipe.recv()
        lock.acquire()
        granted = time.monotonic_ns()
        lock.release()
        pipe.send(granted)


def put_each(queue, count: int) -> None:
    put = queue.put
    for _ in range(count):
        put(ITEM)


def get_each(queue, count: int) -> int:
    get = queue.get
    for _ in range(count):
        get()
    return time.monotonic_ns()


def echo(there, back, count: int) -> None:
    for _ in range(count):
        back.put(there.get())


def work(pipe, objects: dict) -> None:
    """The other process: does what it is told with the objects of either library."""
    while (order := pipe.recv()) is not None:
        kind, which, *arguments = order
        lock, there, back = objects[which]
        if kind == "contend":
            pipe.send(contend(lock, *arguments))
        elif kind == "wait":
            wait_each(lock, pipe, *arguments)
        elif kind == "get":
            pipe.send(get_each(there, *arguments))
        else:
            echo(there, back, *arguments)
            pipe.send(None)


class Partner(contextlib.AbstractContextManager):
    """Another process that has the same locks and queues."""

    def __init__(self, cluster) -> None:
        context = multiprocessing.get_context("spawn")
        self.objects = {
            OURS: (
                cluster.lock("bench"),
                cluster.queue("there", 1000),
                cluster.queue("back", 1000),
            ),
            THEIRS: (context.Lock(), context.Queue(1000), context.Queue(1000)),
        }
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.objects))
        self.process.start()
        theirs.close()

    def contended(self, which: str, window_ns: int) -> float:
        """Nanoseconds per acquisition, both processes together."""
        start = time.monotonic_ns() + START_DELAY_NS
        self.pipe.send(("contend", which, start, window_ns))
        mine = contend(self.objects[which][0], start, window_ns)
        return 1e9 / (mine + self.pipe.recv())

    def handed_over(self, which: str, count: int) -> float:
        """Median nanoseconds from the release until the other, which sleeps, has the lock."""
        lock, taken = self.objects[which][0], []
        self.pipe.send(("wait", which, count))
        for _ in range(count):
            lock.acquire()
            self.pipe.send("now")
            time.sleep(ASLEEP_AFTER_S)
            released = time.monotonic_ns()
            lock.release()
            taken.append(self.pipe.recv() - released)
        return statistics.median(taken)

    def through(self, which: str, count: int) -> float:
        """Nanoseconds per item from the first put to the last get."""
        self.pipe.send(("get", which, count))
        started = time.monotonic_ns()
        put_each(self.objects[which][1], count)
        return (self.pipe.recv() - started) / count

    def echoes(self, which: str, count: int) -> float:
        """Median nanoseconds of a round trip."""
        _, there, back = self.objects[which]
        self.pipe.send(("echo", which, count))
        clock, taken = time.perf_counter_ns, []
        for _ in range(count):
            started = clock()
            there.put(ITEM)
            back.get()
            taken.append(clock() - started)
        self.pipe.recv()
        return statistics.median(taken)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(None)
        self.process.join()
        self.pipe.close()
        for found in self.objects[THEIRS][1:]:
            found.close()


def turns(measure: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    """Both libraries in turn, whoever was second being first the next time."""
    taken: dict[str, list[float]] = {OURS: [], THEIRS: []}
    for number in range(-WARM_UP_ROUNDS, rounds):
        for which in (OURS, THEIRS) if number % 2 else (THEIRS, OURS):
            figure = measure(which)
            if number >= 0:
                taken[which].append(figure)
    return taken


def alone_loop(lock) -> Callable[[], float]:
    return one_round(lambda: (lock, LOCKS_PER_ROUND), take_turns, LOCKS_PER_ROUND)


def synchronisation(cluster, rounds: int, window_ms: float, items: int) -> Findings:
    """All rows of locks and queues."""
    found = Findings(raw={"sync_ns": {}})
    window_ns, handovers = int(window_ms * 1e6), max(5, items // 500)
    with Partner(cluster) as partner:
        alone = {which: alone_loop(found[0]) for which, found in partner.objects.items()}
        taken = {
            "lock_alone": turns(lambda which: alone[which]()[1], rounds),
            "lock_contended": turns(lambda which: partner.contended(which, window_ns), rounds),
            "lock_handoff": turns(lambda which: partner.handed_over(which, handovers), rounds),
            "queue_echo": turns(lambda which: partner.echoes(which, max(20, items // 50)), rounds),
            "queue_throughput": turns(lambda which: partner.through(which, items), rounds),
        }
    for row, figures in taken.items():
        ours, theirs = (statistics.median(figures[which]) for which in (OURS, THEIRS))
        note = f"ours {ours / 1e3:.3g} µs, multiprocessing {theirs / 1e3:.3g} µs"
        pair = (THEIRS, OURS) if row == "queue_throughput" else (OURS, THEIRS)
        found.figures[row] = ratio(figures[pair[0]], figures[pair[1]], note)
        for which, values in figures.items():
            found.raw["sync_ns"][f"{row} {which}"] = values
    return found
