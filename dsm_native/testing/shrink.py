"""Shrinking a refuted history to the few operations that are to blame, without lying.

Leaving out a write can make a correct history look wrong: whoever read its value now read
something that was never written. So an operation is left out only where that is *sound*: if the
larger history were correct, so would be the smaller one. Then the smaller one, being refuted,
refutes the larger, and whoever reads the explanation need not look at anything else.

  - Leaving out an operation that writes nothing is sound.
  - Leaving out a set of writes is sound when nothing that stays can have seen their values: it
    asks for another value, or returned before, or a write that stays lies in between for certain.
    A value that was written once is never parted from its write, as the explanation would
    otherwise be that nobody wrote it.
  - Making a completed write an open one (it may happen at any later time, or never) is sound.

Pure functions; ``is_refuted`` is the caller's checker.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from dsm_native.testing.history import Operation, Plain
from dsm_native.testing.register import KEEP, SUM, Step, compile_register

Predicate = Callable[[list[Operation]], bool]
Reduction = Callable[[list[Operation], Sequence[Operation]], list[Operation]]

READABLE_MAX = 12  # operations in an explanation that need no further weakening
_VISITS_MAX = 250_000  # operations looked at in all attempts of one reduction together
_ENDS = (8, 64, 512)  # how many operations at the end of a history are tried for an explanation
_NEVER = float("inf")


def shrink_register(
    items: list[Operation], initial: Plain, is_refuted: Predicate
) -> list[Operation]:
    """Few operations of one key that are refuted and refute ``items``.

    Open writes in the answer are those that the refutation must allow for. ``items`` itself must
    be refuted. No single operation of the answer can be left out soundly.
    """

    def leave_out(kept: list[Operation], chunk: Sequence[Operation]) -> list[Operation]:
        return leave_out_of_register(kept, chunk, initial)

    for count in _ENDS:
        if count < len(items):
            candidate = leave_out(items, _all_but_the_end(items, count, initial))
            if is_refuted(candidate):
                items = candidate
                break
    items = reduce_by(items, leave_out, is_refuted)
    if len(items) > READABLE_MAX:
        items = reduce_by(items, _weaken, is_refuted)
        items = reduce_by(items, leave_out, is_refuted)
    return items


def _all_but_the_end(items: list[Operation], count: int, initial: Plain) -> list[Operation]:
    """All but the last ``count`` operations and the writes whose values those ask for.

    A history is refuted by its end, and most often by what its end asks for.
    """
    register = compile_register(items, initial)
    kept = {step.position: step for step in register.steps if step.position >= len(items) - count}
    todo = list(kept.values())
    sources: dict[int, list[Step]] = {}
    for step in register.steps:
        if step.writes in register.unique:
            sources.setdefault(step.writes, []).append(step)
    while todo:
        for token in todo.pop().accepts or ():
            for source in sources.get(token, ()):
                if source.position not in kept:
                    kept[source.position] = source
                    todo.append(source)
    return [item for position, item in enumerate(items) if position not in kept]


def reduce_by(
    items: list[Operation], reduction: Reduction, is_refuted: Predicate
) -> list[Operation]:
    """Apply ``reduction`` to ever smaller stretches of ``items`` while the rest stays refuted.

    The manner is that of Zeller and Hildebrandt (2002, section 3.2): halves first, then smaller
    parts, until no single operation can be reduced (or, for thousands that all resist, until the
    effort is spent).
    """
    chunk = max(1, len(items) // 2)
    visits_left = _VISITS_MAX
    while True:
        has_changed = False
        start = 0
        while start < len(items):
            visits_left -= len(items)
            if visits_left < 0:
                return items
            candidate = reduction(items, items[start : start + chunk])
            if candidate != items and is_refuted(candidate):
                has_changed = True
                start += chunk - (len(items) - len(candidate))
                items = candidate
                start = max(0, start)
            else:
                start += chunk
        if chunk == 1 and not has_changed:
            return items
        chunk = max(1, chunk // 2)


def _weaken(items: list[Operation], chunk: Sequence[Operation]) -> list[Operation]:
    """Make the writes of a stretch open."""
    chosen = set(map(id, chunk))
    return [
        item._replace(returned=None, result=None)
        if id(item) in chosen and item.returned is not None and item.may_write
        else item
        for item in items
    ]


def leave_out_of_register(
    items: list[Operation], chunk: Sequence[Operation], initial: Plain
) -> list[Operation]:
    """``items`` without a stretch and without all that may have seen what it wrote."""
    chosen = set(map(id, chunk))
    register = compile_register(items, initial)
    gone = {number for number, item in enumerate(items) if id(item) in chosen}
    count = -1
    while count != len(gone):
        # A write that leaves may have been the one that lay in between, so look at all again.
        count = len(gone)
        staying = [step for step in register.steps if step.position not in gone]
        observers = _Observers(staying, register.unique)
        todo = [step for step in register.steps if step.position in gone]
        sum_from = _NEVER
        while todo:
            step = todo.pop()
            if step.writes == KEEP:
                continue
            if step.writes == SUM and step.operation.is_open:
                # What an open sum may have changed, an earlier open one may have changed too.
                if step.operation.invoked >= sum_from:
                    continue
                sum_from = step.operation.invoked
            found = observers.take(step)
            gone.update(observer.position for observer in found)
            todo += found
    return [item for number, item in enumerate(items) if number not in gone]


class _Between:
    """The unconditional writes that stay: they hide what was written before they were invoked."""

    def __init__(self, staying: list[Step]) -> None:
        writes = sorted(
            (step.operation.invoked, step.operation.returned)
            for step in staying
            if step.writes >= 0 and not step.is_conditional and step.operation.returned is not None
        )
        self._invoked = [invoked for invoked, _ in writes]
        self._first_return: list[float] = [_NEVER] * (len(writes) + 1)
        for number in range(len(writes) - 1, -1, -1):
            self._first_return[number] = min(writes[number][1], self._first_return[number + 1])

    def first_return_after(self, step: Step) -> float:
        """The earliest return of a write that was invoked after ``step`` had returned."""
        returned = step.operation.returned
        if returned is None:
            return _NEVER
        return self._first_return[bisect_right(self._invoked, returned)]


class _Observers:
    """Which of the steps that stay depend on the token that they find."""

    def __init__(self, staying: list[Step], written_once: set[int]) -> None:
        self._between = _Between(staying)
        self._written_once = written_once
        self._of_token: dict[int, list[Step]] = {}
        self._of_any = []
        for step in staying:
            if step.accepts is not None:
                for token in step.accepts:
                    self._of_token.setdefault(token, []).append(step)
            elif step.is_conditional or step.writes == SUM:
                self._of_any.append(step)

    def take(self, step: Step) -> list[Step]:
        """The steps that may have seen what ``step`` wrote; each is given once.

        Whoever asks for a value that was written once counts even if another write hides it.
        """
        hidden_from = _NEVER
        if step.writes not in self._written_once:
            hidden_from = self._between.first_return_after(step)

        def may_have_seen(other: Step) -> bool:
            return (
                other is not step
                and (step.writes == SUM or other.takes(step.writes))
                and other.operation.invoked <= hidden_from
                and not other.operation.precedes(step.operation)
            )

        taken = [other for other in self._of_any if may_have_seen(other)]
        if taken:
            self._of_any = [other for other in self._of_any if not may_have_seen(other)]
        tokens = list(self._of_token) if step.writes == SUM else [step.writes]
        for token in tokens:
            asking = self._of_token.get(token, [])
            found = [other for other in asking if may_have_seen(other)]
            if found:
                self._of_token[token] = [other for other in asking if not may_have_seen(other)]
                taken += found
        return taken
