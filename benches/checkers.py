"""How long the checkers take, against the size of the history: correct ones and refused ones.

The histories come from stores of exactly the level that is judged (`histories.py`), so that the
checker has to find its order and not merely one that a stronger store would have given. The refused
ones have one stale read late in them, or a replica that differs in the end, and the time includes
making the explanation short.
"""

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import histories
from rounds import Findings, spread

from dsm_native.testing import (
    check_causal,
    check_eventual,
    check_linearizable,
    check_sequential,
)

SIZES = (500, 1_000, 2_000, 5_000, 10_000)
JUDGED_SIZE = 2_000
LEVELS = ("strong", "sequential", "causal", "eventual")
COLOURS = {"strong": "#c44", "sequential": "#d84", "causal": "#47a", "eventual": "#4a7"}


def cases(size: int, seed: int) -> dict[tuple[str, bool], Callable]:
    """By level and whether the history is correct: what to time."""
    strong = histories.strong(size, seed)
    sequential = histories.sequential(size, seed)
    causal, resting = histories.causal(size, seed)
    eventual, rest = histories.causal(size, seed, keeps_order=False)
    replica, state = next(iter(rest.items()))
    key = next(iter(state))
    apart = rest | {replica: state | {key: histories.first_values(eventual)[key]}}
    stale = [histories.with_one_stale_read(run) for run in (strong, sequential, causal)]
    return {
        ("strong", True): lambda: check_linearizable(strong),
        ("strong", False): lambda: check_linearizable(stale[0]),
        ("sequential", True): lambda: check_sequential(sequential),
        ("sequential", False): lambda: check_sequential(stale[1]),
        ("causal", True): lambda: check_causal(causal, resting=resting),
        ("causal", False): lambda: check_causal(stale[2]),
        ("eventual", True): lambda: check_eventual(eventual, rest),
        ("eventual", False): lambda: check_eventual(eventual, apart),
    }


def seconds_of(case: Callable, correct: bool) -> float:
    """One call, collector on as users have it; the verdict must be the known one."""
    gc.collect()
    started = time.perf_counter()
    verdict = case()
    taken = time.perf_counter() - started
    if bool(verdict) != correct:
        raise AssertionError(f"a history that is {'' if correct else 'not '}correct got: {verdict}")
    return taken


def checkers(sizes: tuple[int, ...], rounds: int) -> Findings:
    """Each size with `rounds` histories of different seeds; the raw seconds are kept."""
    raw: dict[str, dict[str, list[float]]] = {}
    for size in sizes:
        for seed in range(rounds):
            for (level, correct), case in cases(size, seed).items():
                name = f"{level}, {'correct' if correct else 'refused'}"
                taken = raw.setdefault(name, {}).setdefault(str(size), [])
                taken.append(seconds_of(case, correct))
    found = Findings(raw={"checker_seconds": raw})
    for level in LEVELS:
        taken = raw[f"{level}, correct"].get(str(JUDGED_SIZE))
        if taken is not None and len(taken) > 1:
            found.figures[f"check_{level}"] = spread([1e3 * second for second in taken])
        else:
            found.unmeasured[f"check_{level}"] = f"no histories of {JUDGED_SIZE} operations"
    return found


def medians(raw: dict[str, dict[str, list[float]]]) -> dict[str, dict[int, float]]:
    return {
        name: {int(size): statistics.median(taken) for size, taken in sizes.items()}
        for name, sizes in raw.items()
    }


def draw(raw: dict, heading: str, path: Path) -> str | None:
    """Time against size, both logarithmic; returns the reason when there is no matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        return f"not installed ({error})"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 6.5), layout="constrained")
    for name, points in medians(raw).items():
        level, verdict = name.split(", ")
        style = "o-" if verdict == "correct" else "s--"
        axes.plot(points.keys(), points.values(), style, color=COLOURS[level], label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations of five sessions on five keys")
    axes.set_ylabel("seconds until the verdict, its explanation included")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    figure.suptitle(heading, fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return None
