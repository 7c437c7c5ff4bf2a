"""The definitions of DESIGN section 6 tried out in all orders: twins for the real checkers.

Nothing here is clever or shared with dsm_native.testing but the Operation tuple: a key is a pair
(value, version), an order is built one operation after the other, and every order is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations, product

from dsm_native.testing.history import Operation

State = dict[object, object]  # key: (value, name of the write), NAMES: {version: name of its write}
NAMES = "which write each version names"


def apply(state: State, operation: Operation) -> State | None:
    """The store after ``operation``, or None when its outcome cannot come from ``state``."""
    value, write = state.get(operation.key, (None, None))
    kind, result = operation.kind, operation.result
    written: object = operation.value
    if kind == "get":
        if not same(value, operation.value):
            return None
        return state if result is None or value is None else name(state, result, write)
    if kind == "delete":
        if result is not None and result != (value is not None):
            return None
        return {**state, operation.key: (None, None)}
    if kind == "add":
        written = (value or 0) + operation.value
        if result is not None and written != result:
            return None
    after: State | None = state
    if kind in ("cas", "put_if_version"):
        if kind == "cas":
            fits = same(value, operation.expected)
        elif operation.expected == 0:
            fits = value is None
        elif result is False:
            fits = value is not None and state[NAMES].get(operation.expected) == write
        else:
            after = None if value is None else name(state, operation.expected, write)
            fits = after is not None
        if operation.is_open and not fits:
            return None
        if not operation.is_open and fits != (result is not False):
            return None
        if not fits:
            return state
    if kind in ("put", "put_if_version") and result is not None:
        after = name(after, result, id(operation))
    return None if after is None else {**after, operation.key: (written, id(operation))}


def name(state: State, version: object, write: object) -> State | None:
    """``state`` in which ``version`` names ``write``, or None if either has another partner."""
    names = state[NAMES]
    known = names.get(version)
    if known is not None or write in names.values():
        return state if known == write else None
    return {**state, NAMES: {**names, version: write}}


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


Order = Callable[[Operation, Operation], bool]


def explained_orders(
    operations: list[Operation], must_precede: Order, state: State
) -> Iterator[list[Operation]]:
    """All total orders that contain ``must_precede`` and explain every outcome.

    Open operations may be left out.
    """
    remaining = list(operations)
    if all(item.is_open for item in remaining):
        yield []
        return
    for chosen in remaining:
        others = [item for item in remaining if item is not chosen]
        if any(must_precede(other, chosen) for other in others if not other.is_open):
            continue
        after = apply(state, chosen)
        if after is None:
            continue
        for rest in explained_orders(others, must_precede, after):
            yield [chosen, *rest]


def is_linearizable(
    operations: list[Operation], initial: dict[object, object] | None = None
) -> bool:
    def must_precede(first: Operation, second: Operation) -> bool:
        return first.returned is not None and first.returned < second.invoked

    state: State = {key: (value, f"the first of {key}") for key, value in (initial or {}).items()}
    state[NAMES] = {}
    return any(True for _ in explained_orders(operations, must_precede, state))


def is_sequential(operations: list[Operation], initial: dict[object, object] | None = None) -> bool:
    def must_precede(first: Operation, second: Operation) -> bool:
        return first.session == second.session and first.invoked < second.invoked

    state: State = {key: (value, f"the first of {key}") for key, value in (initial or {}).items()}
    state[NAMES] = {}
    return any(True for _ in explained_orders(operations, must_precede, state))


def choices_of_open(operations: list[Operation]) -> Iterator[list[Operation]]:
    """The history with each choice of its open writes; open gets never matter."""
    opened = [item for item in operations if item.is_open and item.kind != "get"]
    for chosen in product([True, False], repeat=len(opened)):
        left_out = {id(item) for item, happened in zip(opened, chosen, strict=True) if not happened}
        yield [
            item
            for item in operations
            if id(item) not in left_out and not (item.is_open and item.kind == "get")
        ]


def choices_of_sources(
    operations: list[Operation], initial: dict[object, object]
) -> Iterator[dict[int, int | None]]:
    """Which write each get returned, by index; None stands for the initial state."""
    options: list[list[int | None]] = []
    gets = [number for number, item in enumerate(operations) if item.kind == "get"]
    for get in gets:
        key, value = operations[get].key, operations[get].value
        found: list[int | None] = [
            number
            for number, item in enumerate(operations)
            if item.kind != "get"
            and item.key == key
            and same(None if item.kind == "delete" else item.value, value)
        ]
        if same(initial.get(key), value):
            found.append(None)
        options.append(found)
    for chosen in product(*options):
        yield dict(zip(gets, chosen, strict=True))


def happens_before(
    operations: list[Operation], sources: dict[int, int | None]
) -> set[tuple[int, int]]:
    """The transitive closure of session order and reads-from, pair by pair."""
    numbers = range(len(operations))
    pairs = {
        (first, second)
        for first in numbers
        for second in numbers
        if operations[first].session == operations[second].session and first < second
    }
    pairs |= {(source, read) for read, source in sources.items() if source is not None}
    for middle in numbers:
        pairs |= {
            (first, last)
            for first in numbers
            for last in numbers
            if (first, middle) in pairs and (middle, last) in pairs
        }
    return pairs


def is_causal(
    operations: list[Operation],
    initial: dict[object, object] | None = None,
    resting: dict[object, dict[object, object]] | None = None,
) -> bool:
    """Causal convergence by the words of its definition: try each arbitration of the writes."""
    start = initial or {}
    for happened in choices_of_open(operations):
        for sources in choices_of_sources(happened, start):
            past = happens_before(happened, sources)
            if any((number, number) in past for number in range(len(happened))):
                continue
            writes = [number for number, item in enumerate(happened) if item.kind != "get"]
            for order in permutations(writes):
                if arbitrates(happened, sources, past, order, start, resting):
                    return True
    return False


def arbitrates(
    operations: list[Operation],
    sources: dict[int, int | None],
    past: set[tuple[int, int]],
    order: tuple[int, ...],
    initial: dict[object, object],
    resting: dict[object, dict[object, object]] | None,
) -> bool:
    if any((later, earlier) in past for earlier, later in combinations(order, 2)):
        return False
    for read, source in sources.items():
        known = [
            write
            for write in order
            if operations[write].key == operations[read].key and (write, read) in past
        ]
        if (known[-1] if known else None) != source:
            return False
    for state in (resting or {}).values():
        for key in {item.key for item in operations} | set(state):
            last = [operations[write] for write in order if operations[write].key == key]
            value = last[-1].value if last else initial.get(key)
            if not same(state.get(key), value):
                return False
    return True


def is_eventual(
    operations: list[Operation],
    initial: dict[object, object] | None = None,
    resting: dict[object, dict[object, object]] | None = None,
) -> bool:
    """Every key at rest holds a write that no other write superseded, the same everywhere."""
    start = initial or {}
    everything = [item for item in operations if not (item.is_open and item.kind == "get")]
    if not any(
        all((n, n) not in happens_before(everything, sources) for n in range(len(everything)))
        for sources in choices_of_sources(everything, start)
    ):
        return False
    keys = {item.key for item in operations} | {
        k for state in (resting or {}).values() for k in state
    }
    return resting is None or all(
        rests_well([item for item in operations if item.key == key], key, start, resting)
        for key in keys
    )


def rests_well(
    operations: list[Operation],
    key: object,
    initial: dict[object, object],
    resting: dict[object, dict[object, object]],
) -> bool:
    held = [state.get(key) for state in resting.values()]
    if any(not same(value, held[0]) for value in held):
        return False
    for happened in choices_of_open(operations):
        for sources in choices_of_sources(happened, initial):
            past = happens_before(happened, sources)
            writes = [number for number, item in enumerate(happened) if item.kind != "get"]
            survivors = [
                happened[write].value
                for write in writes
                if not any((write, other) in past for other in writes)
            ]
            if any(same(held[0], value) for value in survivors or [initial.get(key)]):
                return True
    return False
