"""The definitions of DESIGN section 6 tried out in all orders: twins for the real checkers.

Nothing here is clever or shared with dsm_native.testing but the Operation tuple: a key is a pair
(value, version), an order is built one operation after the other, and every order is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
