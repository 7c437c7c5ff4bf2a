"""A task that gets a 1 MiB array, against `ProcessPoolExecutor`: each time in a program of its own.

What the rival costs depends on what the program did before. It copies the array into blocks of the
C library's allocator, which gives blocks of that size back to the kernel after each call, page by
page, until the program has once freed a block that is much larger (glibc's dynamic threshold of
`mmap`); from then on it keeps them. So both are measured: "fresh", a program that has done nothing
else, and "seasoned", one that has freed 31 MiB before. Ours has no such memory: the same run of
shared memory takes one argument after the other. The bare copy beside it is what nobody can save.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from rounds import Findings, interleave, one_round, ratio, spread

import dsm_native as dsm

WORKERS = 2
CALLS = 5
ELEMENTS = 1 << 17  # float64: 1 MiB
SEASON_BYTES = 31 << 20  # the threshold grows to 32 MiB at most, and not by larger blocks
PROGRAMS = ("fresh", "seasoned")


def first_of(array: np.ndarray) -> float:
    return float(array[0])


def season(_: int) -> None:
    bytearray(SEASON_BYTES)


def large_arguments(rounds: int) -> Findings:
    """Both programs, and the floor."""
    found = Findings()
    for kind in PROGRAMS:
        command = [sys.executable, __file__, kind, str(rounds)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        taken = json.loads(ran.stdout)
        found.raw[f"ns_per_task_array_{kind}"] = taken
        ours, pool, copy = (spread(taken[name]).value / 1e3 for name in ("dsm", "pool", "copy"))
        note = f"ours {ours:.0f} µs, ProcessPoolExecutor {pool:.0f} µs, the bare copy {copy:.0f} µs"
        name = "task_array_pool" if kind == "fresh" else f"task_array_pool_{kind}"
        found.figures[name] = ratio(taken["pool"], taken["dsm"], note)
    return found


def measure(kind: str, rounds: int) -> dict[str, list]:
    """The program: ns per call, by contender."""
    array, target = np.ones(ELEMENTS), np.ones(ELEMENTS)
    # The forking pool first, so that its workers are no copies of the other's threads.
    with ProcessPoolExecutor(WORKERS) as pool:
        if kind == "seasoned":
            season(0)
            list(pool.map(season, range(8 * WORKERS)))
        with dsm.Cluster(nodes=WORKERS) as cluster, cluster.executor() as ours:

            def asking(executor: object) -> object:
                def loop(count: int) -> None:
                    for _ in range(count):
                        executor.submit(first_of, array).result()

                return one_round(lambda: (CALLS,), loop, CALLS)

            def copying(count: int) -> None:
                for _ in range(count):
                    np.copyto(target, array)

            contenders = {
                "dsm": asking(ours),
                "pool": asking(pool),
                "copy": one_round(lambda: (CALLS,), copying, CALLS),
            }
            return interleave(contenders, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=PROGRAMS)
    parser.add_argument("rounds", type=int)
    options = parser.parse_args()
    json.dump(measure(options.kind, options.rounds), sys.stdout)
