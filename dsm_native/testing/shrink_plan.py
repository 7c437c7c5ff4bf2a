"""From a failing plan to a short one: what is left is needed for the failure.

Faults are taken away in ever smaller groups (delta debugging: Zeller and Hildebrandt, 2002), then
each that remains is shortened. A plan counts as failing when `run` raises; any failure will do, as
the first violated relation of a shorter run is often another face of the same bug.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dsm_native.testing.faults import Fault

Run = Callable[[Sequence[Fault]], None]


def failure_of(run: Run, plan: Sequence[Fault]) -> Exception | None:
    """What `run(plan)` raises, if anything."""
    try:
        run(plan)
    except Exception as failure:  # any exception is the finding here
        return failure
    return None


def _without_groups(run: Run, plan: list[Fault]) -> list[Fault]:
    size = len(plan)
    while size >= 1 and plan:
        start = 0
        while start < len(plan):
            shorter = plan[:start] + plan[start + size :]
            if failure_of(run, shorter) is not None:
                plan = shorter
            else:
                start += size
        size //= 2
    return plan


def _shorter_faults(run: Run, plan: list[Fault]) -> list[Fault]:
    for position, fault in enumerate(plan):
        length = fault.end_us - fault.begin_us
        while length > 2_000:
            length //= 2
            attempt = list(plan)
            attempt[position] = replace(fault, end_us=fault.begin_us + length)
            if failure_of(run, attempt) is None:
                break
            plan = attempt
    return plan


def shrink(run: Run, plan: Sequence[Fault]) -> list[Fault]:
    """The smallest plan found that still fails. `ValueError` when `plan` does not fail at all."""
    if failure_of(run, plan) is None:
        raise ValueError("the plan does not fail, so there is nothing to shrink")
    return _shorter_faults(run, _without_groups(run, list(plan)))


def story(
    failure: Exception,
    plan: Sequence[Fault],
    trace: Sequence[str],
    lines_max: int = 40,
    columns_max: int = 200,
) -> str:
    """A failing run for a reader: the faults, the last of its trace, what went wrong."""
    shown = [
        line if len(line) <= columns_max else line[: columns_max - 3] + "..."
        for line in trace[-lines_max:]
    ]
    left_out = len(trace) - len(shown)
    parts = [f"faults ({len(plan)}):", *(f"  {fault}" for fault in plan), "trace:"]
    if left_out:
        parts.append(f"  ({left_out} lines before)")
    parts += [f"  {line}" for line in shown]
    parts += [f"{type(failure).__name__}: {failure}", *getattr(failure, "__notes__", ())]
    return "\n".join(parts)


def shortest_failure(
    run: Callable[[Sequence[Fault], list[str] | None], object], plan: Sequence[Fault]
) -> str:
    """The story of the smallest plan found that still fails.

    `run(plan, trace)` runs the trial with a plan and fills `trace`, if it is a list, with the run's
    lines; it must raise for the given plan, else `ValueError`. It is run some dozen times.
    """

    def untraced(shorter: Sequence[Fault]) -> None:
        run(shorter, None)

    def traced(shorter: Sequence[Fault]) -> None:
        run(shorter, trace)

    smallest = shrink(untraced, plan)
    trace: list[str] = []
    failure = failure_of(traced, smallest)
    assert failure is not None, "a run that failed does not fail again: it is not deterministic"
    return story(failure, smallest, trace)
