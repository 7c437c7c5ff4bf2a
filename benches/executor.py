"""Tasks: round trips, many tiny ones, one with a 1 MiB array; against the rivals, in turns.

The rivals are `ProcessPoolExecutor` (fork), joblib with its automatic batching, and Ray. Each has
two workers. "Asleep" means that nothing was asked of the pool for two milliseconds before; "spins"
means that the next task follows the last result at once. Only the call is timed, not the pause.
"""

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from rounds import Findings, interleave, one_round, ratio
from task_arrays import ELEMENTS, first_of, large_arguments

import dsm_native as dsm

WORKERS = 2
TRIPS = 20
PAUSE_S = 0.002
TINY = 2_000
ARRAYS = 5


def same(value: int) -> int:
    return value


def trips(ask: Callable, count: int, pause_s: float) -> Callable[[], tuple[float, float]]:
    """A contender: ns per round trip of `ask(n)`, pauses left out, twice."""

    def one_pass() -> float:
        taken = 0
        for number in range(count):
            time.sleep(pause_s)
            started = time.perf_counter_ns()
            ask(number)
            taken += time.perf_counter_ns() - started
        return taken / count

    return lambda: (one_pass(), one_pass())


def in_a_row(ask: Callable, argument: object, count: int) -> Callable:
    """A contender: ns per round trip of `ask(argument)`, one right after the other."""

    def loop(times: int) -> None:
        for _ in range(times):
            ask(argument)

    return one_round(lambda: (count,), loop, count)


@contextlib.contextmanager
def ray_tasks() -> Iterator[tuple[Callable, Callable] | str]:
    """Ray's remote versions of both functions, or why there are none."""
    if importlib.util.find_spec("ray") is None:
        yield "the package ray is not installed"
        return
    from peers.ray_store import ray

    try:
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
                 logging_level="ERROR", object_store_memory=256 << 20)  # fmt: skip
    except Exception as error:
        yield f"ray did not start: {error}"
        return
    try:
        yield ray.remote(same), ray.remote(first_of)
    finally:
        ray.shutdown()


def many(rounds: int, pools: dict, remote: tuple | str) -> Findings:
    """Throughput of tiny tasks, one call per task, without chunks."""
    contenders = {
        name: one_round(
            lambda: (range(TINY),), lambda items, p=pool: list(p.map(same, items)), TINY
        )
        for name, pool in pools.items()
    }
    found = Findings()
    with contextlib.ExitStack() as opened:
        if importlib.util.find_spec("joblib") is None:
            found.unmeasured["tasks_joblib"] = "the package joblib is not installed"
        else:
            from joblib import Parallel, delayed

            parallel = opened.enter_context(Parallel(n_jobs=WORKERS))

            def with_joblib(items: range) -> None:
                parallel(delayed(same)(n) for n in items)

            # Its batches grow with the length of the run, so it gets a longer one.
            contenders["joblib"] = one_round(lambda: (range(20 * TINY),), with_joblib, 20 * TINY)
            long = one_round(
                lambda: (range(20 * TINY),),
                lambda items: list(pools["dsm"].map(same, items)),
                20 * TINY,
            )
            contenders["dsm long"] = long
        if not isinstance(remote, str):
            contenders["ray"] = one_round(
                lambda: (range(TINY // 4),), lambda items: ray_map(remote[0], items), TINY // 4
            )
        taken = interleave(contenders, rounds)
    found.raw["ns_per_tiny_task"] = taken
    found.figures["tasks_pool"] = ratio(taken["pool"], taken["dsm"])
    if "joblib" in taken:
        found.figures["tasks_joblib"] = ratio(taken["joblib"], taken["dsm long"])
    if "ray" in taken:
        found.figures["tasks_ray"] = ratio(taken["ray"], taken["dsm"])
    return found


def ray_map(remote: Callable, items: range) -> list:
    import ray

    return ray.get([remote.remote(n) for n in items])


def single(rounds: int, asks: dict[str, tuple[Callable, Callable]]) -> Findings:
    """Round trips of one task, and of one that gets an array."""
    array = np.ones(ELEMENTS)
    found = Findings()
    kinds = {
        "asleep": {name: trips(ask, TRIPS, PAUSE_S) for name, (ask, _) in asks.items()},
        "spinning": {name: in_a_row(ask, 1, TRIPS) for name, (ask, _) in asks.items()},
        "array": {name: in_a_row(ask, array, ARRAYS) for name, (_, ask) in asks.items()},
    }
    for kind, contenders in kinds.items():
        taken = interleave(contenders, rounds)
        found.raw[f"ns_per_task_{kind}"] = taken
        for rival in ("pool", "ray"):
            if kind == "array":
                if rival == "ray" and rival in taken:  # the pool: see task_arrays.py
                    found.figures["task_array_ray"] = ratio(taken["ray"], taken["dsm"])
            elif rival in taken:
                found.figures[f"task_{kind}_{rival}"] = ratio(taken["dsm"], taken[rival])
    return found


def tasks(rounds: int, with_ray: bool = True) -> Findings:
    """All of it, with pools of its own."""
    found = Findings()
    with contextlib.ExitStack() as opened:
        # The forking pool first, so that its workers are no copies of the others' threads.
        standard = opened.enter_context(ProcessPoolExecutor(WORKERS))
        list(standard.map(same, range(100)))
        cluster = opened.enter_context(dsm.Cluster(nodes=WORKERS))
        ours = opened.enter_context(cluster.executor())
        remote: tuple | str = "left out of a quick run"
        if with_ray:
            remote = opened.enter_context(ray_tasks())
        asks = {
            "dsm": (
                lambda n: ours.submit(same, n).result(),
                lambda a: ours.submit(first_of, a).result(),
            ),
            "pool": (
                lambda n: standard.submit(same, n).result(),
                lambda a: standard.submit(first_of, a).result(),
            ),
        }
        if isinstance(remote, str):
            for name in ("tasks_ray", "task_asleep_ray", "task_spinning_ray", "task_array_ray"):
                found.unmeasured[name] = f"Ray: {remote}"
        else:
            asks["ray"] = tuple(lambda value, call=call: ray_map(call, (value,)) for call in remote)
        found.merge(single(rounds, asks))
        found.merge(many(rounds, {"dsm": ours, "pool": standard}, remote))
    found.merge(large_arguments(3 * rounds))
    return found
