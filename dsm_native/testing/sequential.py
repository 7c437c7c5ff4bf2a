"""Sequential consistency: is there one total order of all operations that respects the order of
each session, though not real time, and explains every read (Lamport 1979)?

Unlike linearizability this cannot be judged key by key, and deciding it is NP-complete even for
gets and puts of unique values (Gibbons and Korach 1997). The search walks over the positions of
the sessions and remembers the positions, with the tokens that somebody still asks for, from which
there is no way to the end. Before it, saturation finds what every order must contain, which
refutes most bad histories without a search and leaves a good one little to guess; in it,
  - an operation that changes nothing takes effect as soon as its condition holds;
  - a value written once is not overwritten while somebody is still to ask for it;
  - a put that nobody asks for takes effect as soon as it overwrites nothing that is asked for;
  - otherwise the operation that was invoked first is tried first, open ones last.
Open operations may take effect or not. Pure functions, safe from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dsm_native.testing.happens_before import HappensBefore
from dsm_native.testing.history import Operation, Plain, Session, history
from dsm_native.testing.register import (
    KEEP,
    REFUSED,
    SUM,
    UNSEEN,
    Register,
    Step,
    VersionConflictFound,
    compile_register,
)
from dsm_native.testing.saturation import saturate
from dsm_native.testing.shrink import reduce_by
from dsm_native.testing.verdict import UndecidedError, Verdict, Violation

EFFORT_MAX = 50_000  # choices made before the search gives up
_EFFORT_MAX_SHRINKING = 3_000


def check_sequential(
    operations: Iterable[Sequence[Plain]],
    initial: Mapping[Plain, Plain] | None = None,
    effort_max: int = EFFORT_MAX,
) -> Verdict:
    """Judge a history, all kinds of operations, at the level *sequential*.

    ``initial`` gives values of keys before the history. Raises HistoryError when the history is
    malformed and UndecidedError when the search needs more than ``effort_max`` choices.
    """
    checked = history(operations)
    start = dict(initial or {})
    try:
        reason = _refute(checked, start, effort_max)
    except VersionConflictFound as found:
        return Verdict("sequential", len(checked), Violation(found.reason, tuple(found.operations)))
    if reason is None:
        return Verdict("sequential", len(checked))

    def is_refuted(candidate: list[Operation]) -> bool:
        try:
            return _refute(candidate, start, _EFFORT_MAX_SHRINKING) is not None
        except (UndecidedError, VersionConflictFound):
            return False

    def leave_out(items: list[Operation], chunk: Sequence[Operation]) -> list[Operation]:
        return _leave_out(items, chunk, start)

    core = reduce_by(checked, leave_out, is_refuted)
    known = {item.key: start[item.key] for item in core if item.key in start}
    reason = _refute(core, start, effort_max) or reason
    return Verdict("sequential", len(checked), Violation(reason, tuple(core), (), known))


def _refute(items: list[Operation], initial: Mapping[Plain, Plain], effort_max: int) -> str | None:
    """Why no order explains the history, or None when one does."""
    registers, steps = _compile(items, initial, merges_unseen=False)
    for number, step in steps.items():
        if step.accepts is not None and not items[number].is_open:
            register = registers[items[number].key]
            known = {other.writes for other in register.steps} | {register.initial}
            if not register.has_sums and not step.accepts & known:
                return f"nobody wrote what {items[number].describe()} found"
    order = saturate(items, steps, registers)
    if order.cycle:
        return (
            f"no order of these {len(items)} operations that respects each session explains every "
            f"read: what they saw puts each of {len(order.cycle)} of them before itself"
        )
    registers, steps = _compile(items, initial, merges_unseen=True)
    if _Search(items, registers, steps, order, effort_max).finds_order():
        return None
    return f"no order of these {len(items)} operations that respects each session explains them all"


def _compile(
    items: Sequence[Operation], initial: Mapping[Plain, Plain], merges_unseen: bool
) -> tuple[dict[Plain, Register], dict[int, Step]]:
    """The registers by key, and the steps by index of their operation."""
    of_key: dict[Plain, list[int]] = {}
    for number, item in enumerate(items):
        of_key.setdefault(item.key, []).append(number)
    registers = {}
    steps = {}
    for key, numbers in of_key.items():
        chosen = [items[number] for number in numbers]
        register = compile_register(chosen, initial.get(key), merges_unseen)
        registers[key] = register
        for step in register.steps:
            steps[numbers[step.position]] = step
    return registers, steps


def _leave_out(
    items: list[Operation], chunk: Sequence[Operation], initial: Mapping[Plain, Plain]
) -> list[Operation]:
    """Without a stretch and without all that may have seen what it wrote; see ``shrink``."""
    chosen = set(map(id, chunk))
    _, steps = _compile(items, initial, merges_unseen=False)
    conditional: dict[Plain, list[tuple[int, Step]]] = {}
    for number, step in steps.items():
        if step.is_conditional or step.writes == SUM:
            conditional.setdefault(items[number].key, []).append((number, step))
    gone = {number for number, item in enumerate(items) if id(item) in chosen}
    todo = [number for number in gone if number in steps]
    while todo:
        number = todo.pop()
        written = steps[number].writes
        if written == KEEP:
            continue
        for other, step in conditional.get(items[number].key, ()):
            if other not in gone and (written == SUM or step.takes(written)):
                gone.add(other)
                todo.append(other)
    return [item for number, item in enumerate(items) if number not in gone]


@dataclass
class _Search:
    items: Sequence[Operation]
    registers: Mapping[Plain, Register]
    steps: Mapping[int, Step]
    order: HappensBefore
    effort_left: int
    lanes: list[list[int]] = field(default_factory=list)  # the operations of each session
    at: list[int] = field(default_factory=list)  # the position of each session
    tokens: dict[Plain, int] = field(default_factory=dict)
    asked: dict[tuple[Plain, int], int] = field(default_factory=dict)  # how many are still to ask
    sensitive: set[Plain] = field(default_factory=set)  # keys whose token always matters
    trail: list[tuple[int, Plain, int]] = field(default_factory=list)  # lane, key, token before
    completed_left: int = 0

    def __post_init__(self) -> None:
        numbers: dict[Session, int] = {}
        for number, item in enumerate(self.items):
            lane = numbers.setdefault(item.session, len(numbers))
            if lane == len(self.lanes):
                self.lanes.append([])
            if number not in self.steps:
                continue
            self.lanes[lane].append(number)
            self.completed_left += not item.is_open
        self.at = [0] * len(self.lanes)
        self.tokens = {key: register.initial for key, register in self.registers.items()}
        for number, step in self.steps.items():
            key = self.items[number].key
            for place in self._asks(number, step):
                self.asked[place] = self.asked.get(place, 0) + 1
            register = self.registers[key]
            if step.is_conditional and (step.accepts is None or self.items[number].is_open):
                self.sensitive.add(key)
            if register.has_sums or any(t not in register.unique for t in step.accepts or ()):
                self.sensitive.add(key)

    def _asks(self, number: int, step: Step) -> list[tuple[Plain, int]]:
        """The key and token that can only be left once this step is done, if any."""
        key = self.items[number].key
        if self.items[number].is_open or step.accepts is None or len(step.accepts) != 1:
            return []
        (token,) = step.accepts
        return [(key, token)] if token in self.registers[key].unique else []

    def finds_order(self) -> bool:
        """Depth-first over the sessions' positions, with an explicit stack."""
        dead: set[tuple[tuple[int, ...], frozenset[tuple[Plain, int]]]] = set()
        self._advance_freely()
        stack = [(self._place(), len(self.trail), self._choices())]
        while stack:
            if self.completed_left == 0:
                return True
            place, length, choices = stack[-1]
            self._undo(length)
            if not choices:
                dead.add(place)
                stack.pop()
                continue
            self.effort_left -= 1
            if self.effort_left < 0:
                raise UndecidedError(
                    f"no order found among {len(dead)} dead ends; {self.completed_left} of "
                    f"{len(self.items)} operations could not be placed in the last attempt"
                )
            self._take(choices.pop(0))
            self._advance_freely()
            following = self._place()
            if following not in dead:
                stack.append((following, len(self.trail), self._choices()))
        return False

    def _place(self) -> tuple[tuple[int, ...], frozenset[tuple[Plain, int]]]:
        """All that decides whether the rest can be ordered."""
        live = [
            (key, token)
            for key, token in self.tokens.items()
            if key in self.sensitive or self.asked.get((key, token))
        ]
        return tuple(self.at), frozenset(live)

    def _head(self, lane: int) -> int | None:
        """The next operation of a session, if all that must precede it is done."""
        if self.at[lane] == len(self.lanes[lane]):
            return None
        number = self.lanes[lane][self.at[lane]]
        for other in self.order.before[number]:
            if self.at[self.order.lane[other]] <= self._rank(other):
                return None
        return number

    def _rank(self, number: int) -> int:
        """The position of an operation among those of its session that are searched."""
        return self.order.place[number] if number in self.steps else -1

    def _after(self, number: int) -> int:
        """The token that the operation would leave, or REFUSED."""
        step, key = self.steps[number], self.items[number].key
        token = self.tokens[key]
        after = self.registers[key].after(step, token)
        if after in (REFUSED, token) or step.writes == KEEP:
            return after
        still_asked = self.asked.get((key, token), 0) - ((key, token) in self._asks(number, step))
        return REFUSED if still_asked else after

    def _choices(self) -> list[int]:
        heads = [
            (self.items[number].is_open, self.items[number].invoked, lane)
            for lane in range(len(self.lanes))
            if (number := self._head(lane)) is not None and self._after(number) != REFUSED
        ]
        return [lane for _, _, lane in sorted(heads)]

    def _advance_freely(self) -> None:
        """Take every step that is right to take at once, whatever comes later."""
        has_advanced = True
        while has_advanced:
            has_advanced = False
            for lane in range(len(self.lanes)):
                while (number := self._head(lane)) is not None and self._is_free(number):
                    self._take(lane)
                    has_advanced = True

    def _is_free(self, number: int) -> bool:
        item, step = self.items[number], self.steps[number]
        if item.is_open or self._after(number) == REFUSED:
            return False
        if step.writes == KEEP:
            return True
        return step.writes == UNSEEN and self.registers[item.key].is_plain

    def _take(self, lane: int) -> None:
        number = self.lanes[lane][self.at[lane]]
        step, key = self.steps[number], self.items[number].key
        self.trail.append((lane, key, self.tokens[key]))
        self.tokens[key] = self.registers[key].after(step, self.tokens[key])
        self.at[lane] += 1
        self.completed_left -= not self.items[number].is_open
        for place in self._asks(number, step):
            self.asked[place] -= 1

    def _undo(self, length: int) -> None:
        while len(self.trail) > length:
            lane, key, token = self.trail.pop()
            self.at[lane] -= 1
            self.tokens[key] = token
            number = self.lanes[lane][self.at[lane]]
            self.completed_left += not self.items[number].is_open
            for place in self._asks(number, self.steps[number]):
                self.asked[place] += 1
