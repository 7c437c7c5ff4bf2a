"""The sequential specification of one key: what each operation asks of it and makes of it.

The operations of a key are compiled into ``Step``s over small integers, *tokens*, one for each
value that the key can hold. A step says which tokens it accepts and which token it leaves, so the
searches compare and hash integers, and all knowledge of the kinds of operation is in this file.

Laws. A version names the write that made it: it never repeats for a key, even after a delete, so
an operation that reports or asks for a version speaks about one write. Values that nobody can
observe are one and the same token (UNSEEN), which keeps the searches small. Compiling is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dsm_native.testing.history import HistoryError, Operation, Plain

ABSENT = 0  # the token of a key that is not there
UNSEEN = 1  # the token of every value that no operation asks about
FIRST_TOKEN = 2

KEEP = -1  # Step.writes: the step leaves the key as it is
SUM = -2  # Step.writes: the step adds Step.summand to the number it finds
REFUSED = -3  # Register.after: the step does not accept that state
NOTHING = -4  # Step.refuses: the step refuses no token


class VersionConflictFound(Exception):  # noqa: N818 - a finding, not a failure of the checker
    """Operations whose versions contradict each other, in any order whatsoever."""

    def __init__(self, operations: list[Operation], reason: str) -> None:
        super().__init__(reason)
        self.operations = operations
        self.reason = reason


@dataclass(slots=True, eq=False)
class Step:
    """One operation, compiled. ``position`` is its index in the list that was compiled."""

    position: int
    operation: Operation
    accepts: frozenset[int] | None = None  # None: every token but ``refuses``
    refuses: int = NOTHING
    writes: int = KEEP
    summand: float = 0
    symmetry: int = 0  # steps of equal symmetry are interchangeable while both are pending

    @property
    def is_conditional(self) -> bool:
        return self.accepts is not None or self.refuses != NOTHING

    def takes(self, token: int) -> bool:
        return token != self.refuses and (self.accepts is None or token in self.accepts)


@dataclass(slots=True)
class Register:
    """The operations of one key as steps, and the tokens of its values."""

    steps: list[Step]
    initial: int
    values: list[Plain]
    has_sums: bool = False
    is_plain: bool = False  # gets and puts only, no value written twice
    is_rising: bool = False  # gets and adds of positive numbers only
    unique: set[int] = field(default_factory=set)  # tokens that at most one step can leave behind
    tokens: dict[tuple[type, Plain], int] = field(default_factory=dict)
    asking_unreported: list[Step] = field(default_factory=list)

    def token(self, value: Plain) -> int:
        """The token of a value; values of different types are different (1, 1.0, True)."""
        if value is None:
            return ABSENT
        key = (type(value), value)
        token = self.tokens.get(key)
        if token is None:
            token = self.tokens[key] = len(self.values)
            self.values.append(value)
        return token

    def value(self, token: int) -> Plain:
        return self.values[token]

    def number(self, token: int) -> float:
        """The value of a token of a counter, where absence counts as 0."""
        value = self.values[token]
        return value if isinstance(value, int | float) else 0

    def after(self, step: Step, token: int) -> int:
        """The token that ``step`` leaves when it finds ``token``, or REFUSED."""
        if token == step.refuses or (step.accepts is not None and token not in step.accepts):
            return REFUSED
        if step.writes >= 0:
            return step.writes
        if step.writes == KEEP:
            return token
        found = 0 if token == ABSENT else self.values[token]
        if not isinstance(found, int | float):
            return REFUSED
        return self.token(found + step.summand)


def compile_register(
    operations: Sequence[Operation], initial: Plain = None, merges_unseen: bool = True
) -> Register:
    """Compile the operations of one key, in their order. Open gets say nothing and are left out.

    ``initial`` is the key's value before the history; ``merges_unseen=False`` keeps the values
    apart that nobody asks about, for messages. Raises VersionConflictFound when versions
    alone are contradictory, HistoryError when conditional writes meet values written twice.
    """
    register = Register([], ABSENT, [None, "<a value nobody asks about>"])
    register.initial = register.token(initial)
    of_version = _values_by_version(operations, _written_twice(operations, initial))
    for position, operation in enumerate(operations):
        if operation.kind != "get" or not operation.is_open:
            register.steps.append(_compile(register, position, operation, of_version))
    _settle_unreported(register, of_version)
    _find_unique(register)
    _check_versions_usable(register)
    if merges_unseen and not register.has_sums:
        _merge_unseen(register)
    symmetries: dict[tuple[Plain, ...], int] = {}
    for step in register.steps:
        form = (step.accepts, step.refuses, step.writes, step.summand)
        step.symmetry = symmetries.setdefault(form, len(symmetries))
    return register


def _compile(
    register: Register, position: int, operation: Operation, of_version: dict[int, Plain]
) -> Step:
    step = Step(position, operation)
    kind, value, result = operation.kind, operation.value, operation.result
    if kind == "get":
        step.accepts = frozenset((register.token(value),))
    elif kind == "put":
        step.writes = register.token(value)
    elif kind == "delete":
        if result is False:
            step.accepts = frozenset((ABSENT,))
        else:
            step.writes = ABSENT
            step.refuses = ABSENT if result is True else NOTHING
    elif kind == "add":
        register.has_sums = True
        step.summand = value
        if result is None:
            step.writes = SUM
        else:
            before = {register.token(result - value)}
            step.accepts = frozenset(before | {ABSENT} if result == value else before)
            step.writes = register.token(result)
    elif kind == "cas":
        _compile_condition(register, step, register.token(operation.expected))
    elif operation.expected == 0:
        _compile_condition(register, step, ABSENT)
    elif operation.expected in of_version:
        _compile_condition(register, step, register.token(of_version[operation.expected]))
    else:
        # Nobody reports that version. A conflict is what was to be expected; a success must have
        # found a write that did not live to report its version, which is settled at the end.
        _compile_condition(register, step, NOTHING)
        register.asking_unreported.append(step)
    return step


def _compile_condition(register: Register, step: Step, asked: int) -> None:
    if step.operation.is_failed_condition:
        step.refuses = asked
    else:
        step.accepts = frozenset((asked,))
        step.writes = register.token(step.operation.value)


def _settle_unreported(register: Register, of_version: dict[int, Plain]) -> None:
    """Let who succeeded on an unreported version find any value whose version is unreported."""
    reported = {register.token(value) for value in of_version.values()} | {ABSENT}
    written = {step.writes for step in register.steps if step.writes >= 0} | {register.initial}
    has_open_sum = any(step.writes == SUM for step in register.steps)
    for step in register.asking_unreported:
        if step.accepts is not None:
            step.accepts = None if has_open_sum else frozenset(written - reported)
            step.refuses = ABSENT if has_open_sum else NOTHING


def _written_twice(operations: Sequence[Operation], initial: Plain) -> set[tuple[type, Plain]]:
    """The values that more than one write, or a write and the beginning, may have left."""
    once = {(type(initial), initial)}
    twice: set[tuple[type, Plain]] = set()
    for operation in operations:
        if operation.may_write and operation.kind != "delete":
            value = operation.result if operation.kind == "add" else operation.value
            form = (type(value), value)
            (twice if form in once else once).add(form)
    return twice


def _values_by_version(
    operations: Sequence[Operation], twice: set[tuple[type, Plain]]
) -> dict[int, Plain]:
    """Which value each version names; raises VersionConflictFound on a contradiction."""
    named: dict[int, Operation] = {}
    written: dict[int, Operation] = {}
    replaced: dict[int, Operation] = {}
    versioned: dict[tuple[type, Plain], Operation] = {}
    for operation in operations:
        kind, value, version = operation.kind, operation.value, operation.result
        if type(version) is not int or kind not in ("get", "put", "put_if_version"):
            continue
        if value is None:
            continue
        form = (type(value), value)
        other = named.setdefault(version, operation)
        if (type(other.value), other.value) != form:
            raise VersionConflictFound([other, operation], f"version {version} names two values")
        other = versioned.setdefault(form, operation)
        if other.result != version and form not in twice:
            reason = f"the value {value!r} has the versions {other.result} and {version}"
            raise VersionConflictFound([other, operation], reason)
        if kind == "get":
            continue
        other = written.setdefault(version, operation)
        if other is not operation:
            raise VersionConflictFound([other, operation], f"version {version} was given twice")
        if kind == "put_if_version" and operation.expected != 0:
            other = replaced.setdefault(operation.expected, operation)
            if other is not operation:
                reason = f"version {operation.expected} was replaced twice"
                raise VersionConflictFound([other, operation], reason)
    return {version: operation.value for version, operation in named.items()}


def _check_versions_usable(register: Register) -> None:
    """A version is followed by the value it names, so that value must tell the write."""
    for step in register.steps:
        operation = step.operation
        if operation.kind == "put_if_version" and operation.expected != 0:
            for token in (step.accepts or frozenset()) | {step.refuses}:
                if token > ABSENT and token not in register.unique:
                    raise HistoryError(
                        f"{operation.describe()} of session {operation.session!r} asks for a "
                        f"version of the value {register.value(token)!r}, which was written more "
                        f"than once; conditional writes need values that are written once"
                    )


def _find_unique(register: Register) -> None:
    """Find the tokens that one step leaves, or the beginning of the history, and nothing else."""
    sources: dict[int, int] = {register.initial: 1}
    for step in register.steps:
        if step.writes >= 0:
            sources[step.writes] = sources.get(step.writes, 0) + 1
    if not any(step.writes == SUM for step in register.steps):
        register.unique = {token for token, count in sources.items() if count == 1}
    kinds = {step.operation.kind for step in register.steps}
    sums = [step.summand for step in register.steps if step.operation.kind == "add"]
    numeric = all(v is None or isinstance(v, int | float) for v in register.values[FIRST_TOKEN:])
    register.is_rising = kinds <= {"get", "add"} and bool(sums) and min(sums) > 0 and numeric
    register.is_plain = kinds <= {"get", "put"} and len(register.unique) == len(sources)


def _merge_unseen(register: Register) -> None:
    asked = {step.refuses for step in register.steps}
    for step in register.steps:
        asked |= step.accepts or frozenset()
    for step in register.steps:
        if step.writes >= FIRST_TOKEN and step.writes not in asked:
            step.writes = UNSEEN
