"""Two processes at once: how much more they get done than one, against two independent dict loops.

Scaling is the throughput of both divided by that of one alone. What is reported is our scaling
divided by that of the same loops over a private dict, measured in the same turn, so that a machine
on which a second process merely halves the first is not held against us, nor counted in our favour.
The workers live as long as the measurement. Both start at one instant of the system's clock and
stop after a window of fixed length, looking at the clock once per chunk: they overlap throughout.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable

from rounds import Findings, Measurement, ratio, spread
from workload import WRITE_PERCENT, Population, value_of

CHUNK = 250
WARM_UP_ROUNDS = 2
START_DELAY_NS = 1_000_000
SAME_KEY = "the same key"
MIXES = ("read", "write", "zipf")
ROWS = {"read": "scale_read", "write": "scale_write", "zipf": "scale_zipf"}


def read_chunk(store: tuple[Callable, Callable], chunk: list, value: bytes) -> None:
    get = store[0]
    for key in chunk:
        get(key)


def write_chunk(store: tuple[Callable, Callable], chunk: list, value: bytes) -> None:
    put = store[1]
    for key in chunk:
        put(key, value)


def mixed_chunk(store: tuple[Callable, Callable], chunk: list, value: bytes) -> None:
    get, put = store
    for key, writes in chunk:
        if writes:
            put(key, value)
        else:
            get(key)


LOOPS = {"read": read_chunk, "write": write_chunk, "zipf": mixed_chunk, "same": write_chunk}


def chunks_of(mix: str, population: Population, lane: int) -> list[list]:
    """The operations of one window, with new key objects; writes of the two lanes never meet."""
    if mix == "same":
        return [[SAME_KEY.encode().decode() for _ in range(CHUNK)]]
    if mix == "zipf":
        keys = population.fresh(population.zipf_order(len(population.texts)))
        draw = population.random.random
        operations = [(key, draw() * 100 < WRITE_PERCENT) for key in keys]
    else:
        order = population.shuffled()
        operations = population.fresh([i for i in order if i % 2 == lane or mix == "read"])
    return [operations[i : i + CHUNK] for i in range(0, len(operations), CHUNK)]


def work(pipe, region, lane: int, seed: int) -> None:
    """A worker's life: prepare a window, say so, start on the instant told, report, repeat."""
    population = Population()
    population.random.seed(seed)
    value = value_of()
    private = dict.fromkeys(population.fresh(population.shuffled()), value)
    private[SAME_KEY] = value
    stores = {"dsm": (region.get, region.put), "dict": (private.get, private.__setitem__)}
    clock = time.monotonic_ns
    while (order := pipe.recv()) is not None:
        store, mix, window_ns = order
        chunks, loop, calls = chunks_of(mix, population, lane), LOOPS[mix], stores[store]
        pipe.send("ready")
        started = pipe.recv()
        while clock() < started:
            pass
        done, now = 0, started
        while now - started < window_ns:
            chunk = chunks[done % len(chunks)]
            loop(calls, chunk, value)
            done += 1
            now = clock()
        pipe.send((done * CHUNK, now - started))


class Duo(contextlib.AbstractContextManager):
    """Two workers, attached to one region by pickled handles."""

    def __init__(self, region) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.workers = [], []
        for lane in range(2):
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(theirs, region, lane, 7 + lane))
            worker.start()
            theirs.close()
            self.pipes.append(ours)
            self.workers.append(worker)

    def run(self, store: str, mix: str, lanes: tuple[int, ...], window_ns: int) -> list[float]:
        """Operations per second of each lane that took part."""
        pipes = [self.pipes[lane] for lane in lanes]
        for pipe in pipes:
            pipe.send((store, mix, window_ns))
        for pipe in pipes:
            pipe.recv()
        start = time.monotonic_ns() + START_DELAY_NS
        for pipe in pipes:
            pipe.send(start)
        return [done * 1e9 / elapsed for done, elapsed in (pipe.recv() for pipe in pipes)]

    def __exit__(self, *_: object) -> None:
        for pipe, worker in zip(self.pipes, self.workers, strict=True):
            with contextlib.suppress(BrokenPipeError):  # a worker that failed has said so itself
                pipe.send(None)
            worker.join()
            pipe.close()


def turns(duo: Duo, mix: str, stores: tuple[str, ...], rounds: int, window_ns: int) -> list[dict]:
    """Rounds of alone and together for each store, operations per second by lane."""
    taken = []
    for number in range(-WARM_UP_ROUNDS, rounds):
        alone = (number % 2,)
        plan = [(store, lanes) for store in stores for lanes in (alone, (0, 1))]
        turn: dict[str, list[float]] = {}
        for store, lanes in plan if number % 4 < 2 else reversed(plan):
            kind = "alone" if len(lanes) == 1 else "together"
            turn[f"{store} {kind}"] = duo.run(store, mix, lanes, window_ns)
        if number >= 0:
            taken.append(turn)
    return taken


def gain(turn: dict, store: str) -> float:
    """How many times one's work two got done."""
    return sum(turn[f"{store} together"]) / turn[f"{store} alone"][0]


def scaling(region, population: Population, rounds: int, window_ms: float) -> Findings:
    """All rows of two processes. The region must be in a cluster that outlives the call."""
    value = value_of()
    region.put_many(dict.fromkeys(population.fresh(population.shuffled()), value))
    region.put(SAME_KEY, value)
    found = Findings(raw={"scaling_operations_per_second": {}})
    raw = found.raw["scaling_operations_per_second"]
    window_ns = int(window_ms * 1e6)
    with Duo(region) as duo:
        for mix in MIXES:
            raw[mix] = turns(duo, mix, ("dsm", "dict"), rounds, window_ns)
            found.figures[ROWS[mix]] = against_dict(raw[mix])
        raw["same"] = turns(duo, "same", ("dsm",), rounds, window_ns)
    found.figures["same_total"] = spread([gain(turn, "dsm") for turn in raw["same"]])
    together = [turn["dsm together"] for turn in raw["same"]]
    found.figures["same_share"] = spread([100 * min(pair) / sum(pair) for pair in together])
    return found


def against_dict(taken: list[dict]) -> Measurement:
    ours = [gain(turn, "dsm") for turn in taken]
    plain = [gain(turn, "dict") for turn in taken]
    note = f"ours {spread(ours).value:.2f}, two dict loops {spread(plain).value:.2f}"
    return ratio(ours, plain, note)
