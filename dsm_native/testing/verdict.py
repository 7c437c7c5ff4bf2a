"""What a checker answers: a verdict, and for a bad history the few operations that prove it.

A Violation's ``operations`` are enough by themselves: no history that contains them can be
correct at that level, whatever else happened in it. ``optional`` are writes that the proof must
allow for although it does not depend on whether or when they happened. Plain data, no behaviour
but printing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dsm_native.exceptions import DSMError
from dsm_native.testing.history import Operation, Plain

_LANES_MAX = 14  # operations that are still readable when drawn side by side
_COLUMNS_MAX = 100
_LISTED_MAX = 60


class UndecidedError(DSMError, RuntimeError):
    """The search exceeded its budget: the history is neither accepted nor refuted."""


@dataclass(frozen=True)
class Violation:
    """Why a history is refused. ``str`` gives the reason and a timeline."""

    reason: str
    operations: tuple[Operation, ...]
    optional: tuple[Operation, ...] = ()
    initial: dict[Plain, Plain] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.reason}\n{self.timeline()}"

    def timeline(self) -> str:
        """The operations as lanes, one for each session, or as a list when they are many."""
        lines = [f"initially {key} = {value!r}" for key, value in self.initial.items()]
        shown = sorted((*self.operations, *self.optional), key=lambda item: item.invoked)
        drawn = _lanes(shown) if len(shown) <= _LANES_MAX else []
        if drawn and max(map(len, drawn)) <= _COLUMNS_MAX:
            return "\n".join(lines + drawn)
        return "\n".join(lines + _listed(self.operations, self.optional))


@dataclass(frozen=True)
class Verdict:
    """``bool(verdict)`` is whether the history is correct at ``level``."""

    level: str
    checked: int
    violation: Violation | None = None

    @property
    def ok(self) -> bool:
        return self.violation is None

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        counted = f"{self.checked} operations"
        if self.violation is None:
            return f"{self.level}: {counted} are correct"
        return f"{self.level}: {counted} are NOT correct: {self.violation}"


def _lanes(operations: Sequence[Operation]) -> list[str]:
    """One line per session; every instant has one column, so overlap is what it looks like."""
    if not operations:
        return []
    instants = [(item.invoked, 0, number) for number, item in enumerate(operations)]
    instants += [
        (item.returned, 1, number)
        for number, item in enumerate(operations)
        if item.returned is not None
    ]
    column = 0
    begins = [0] * len(operations)
    ends: list[int | None] = [None] * len(operations)
    for _, is_return, number in sorted(instants):
        if is_return:
            column = max(column + 1, begins[number] + len(operations[number].describe()) + 3)
            ends[number] = column
        else:
            column += 1
            begins[number] = column
    sessions = list(dict.fromkeys(item.session for item in operations))
    names = [f"session {session} " for session in sessions]
    margin = max(map(len, names))
    lanes = {session: name.ljust(margin) for session, name in zip(sessions, names, strict=True)}
    for number, item in enumerate(operations):
        end = ends[number]
        body = f" {item.describe()} "
        bar = f"[{body}..." if end is None else f"[{body.ljust(end - begins[number] - 1, '-')}]"
        lanes[item.session] = lanes[item.session].ljust(margin + begins[number] - 1) + bar
    return list(lanes.values())


def _listed(operations: Sequence[Operation], optional: Sequence[Operation]) -> list[str]:
    origin = min(item.invoked for item in (*operations, *optional))
    lines = []
    for item in operations[:_LISTED_MAX]:
        end = "open" if item.returned is None else f"{item.returned - origin}"
        lines.append(
            f"  {item.invoked - origin:>12} .. {end:<12} {item.session}: {item.describe()}"
        )
    if len(operations) > _LISTED_MAX:
        lines.append(f"  and {len(operations) - _LISTED_MAX} more")
    if optional:
        kinds = sorted({item.kind for item in optional})
        lines.append(f"  whether or not {len(optional)} other writes ({', '.join(kinds)}) happened")
    return lines
