"""Which write each read may have returned: the ground on which the weaker levels are judged.

Causal and eventual consistency are defined for reads and writes of unique values: gets, puts and
deletes. A value read then names its write. Absence does not: it may be the beginning of the
history or any delete of the key, so a read has a list of candidates, mostly of length one.

``at_rest`` turns the state of every replica after all writes have stopped into reads of sessions
of their own, which come after everything else. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dsm_native.testing.history import HistoryError, Operation, Plain, Session

INITIAL = -1  # the candidate that stands for the state before the history

KINDS_JUDGED = ("get", "put", "delete")
Resting: TypeAlias = Mapping[Plain, Mapping[Plain, Plain]]  # replica: {key: value}


def form_of(operation: Operation) -> tuple[Plain, type, Plain]:
    """What tells a write: its key and value, where 1, 1.0 and True are different values."""
    return (operation.key, type(operation.value), operation.value)


def writers_of(items: Sequence[Operation]) -> dict[tuple[Plain, type, Plain], int]:
    """The index of the put of each key and value; HistoryError when a value was put twice."""
    writers: dict[tuple[Plain, type, Plain], int] = {}
    for number, item in enumerate(items):
        if item.kind not in KINDS_JUDGED:
            raise HistoryError(
                f"{item.describe()} of session {item.session!r}: this level is defined for "
                f"{', '.join(KINDS_JUDGED)} alone"
            )
        if item.kind == "put":
            other = writers.setdefault(form_of(item), number)
            if other != number:
                raise HistoryError(
                    f"sessions {items[other].session!r} and {item.session!r} both put "
                    f"{item.value!r} to key {item.key!r}; this level needs unique values"
                )
    return writers


def candidates_of_reads(
    items: Sequence[Operation], initial: Mapping[Plain, Plain]
) -> dict[int, list[int]]:
    """For each get, by index, the indices of the writes that it may have returned.

    No candidate at all means a value out of thin air. The likeliest delete comes first.
    """
    writers = writers_of(items)
    deletes: dict[Plain, list[int]] = {}
    for number, item in enumerate(items):
        if item.kind == "delete":
            deletes.setdefault(item.key, []).append(number)
    candidates: dict[int, list[int]] = {}
    for number, item in enumerate(items):
        if item.kind != "get" or item.is_open:
            continue
        found = []
        begins_with = initial.get(item.key)
        if item.value is None:
            found = _deletes_for(number, items, deletes.get(item.key, []))
        elif form_of(item) in writers:
            found = [writers[form_of(item)]]
        if type(begins_with) is type(item.value) and begins_with == item.value:
            if found and item.value is not None:
                raise HistoryError(
                    f"key {item.key!r} begins with {item.value!r}, which session "
                    f"{items[found[0]].session!r} puts as well; this level needs unique values"
                )
            found.append(INITIAL)
        candidates[number] = found
    return candidates


def _deletes_for(read: int, items: Sequence[Operation], deletes: list[int]) -> list[int]:
    """Deletes that a read of absence may return: first the latest that had ended, in real time."""
    get = items[read]

    def unlikelihood(number: int) -> tuple[bool, bool, int]:
        delete = items[number]
        is_late = get.returned is not None and delete.invoked > get.returned
        return (is_late, not delete.precedes(get), -(delete.returned or delete.invoked))

    found = [n for n in deletes if n < read or items[n].session != get.session]
    return sorted(found, key=unlikelihood)


def without_unread_open_puts(
    items: Sequence[Operation], resting: Resting | None = None
) -> list[Operation]:
    """The history without open operations that nobody saw: they need not have happened."""
    read = {form_of(item) for item in items if item.kind == "get" and not item.is_open}
    for state in (resting or {}).values():
        read |= {(key, type(value), value) for key, value in state.items()}
    return [
        item
        for item in items
        if not item.is_open
        or item.kind == "delete"
        or (item.kind == "put" and form_of(item) in read)
    ]


def at_rest(
    items: Sequence[Operation], resting: Resting
) -> tuple[list[Operation], frozenset[Session]]:
    """Reads that give every key's value at every replica, and the names of their sessions.

    A key that a replica does not list is absent there.
    """
    keys = list(dict.fromkeys([item.key for item in items]))
    for state in resting.values():
        keys += [key for key in state if key not in keys]
    instant = max((item.returned or item.invoked for item in items), default=0) + 1
    reads = []
    sessions = set()
    for replica, state in resting.items():
        name = f"replica {replica} at rest"
        sessions.add(name)
        for number, key in enumerate(keys):
            time = instant + 2 * number
            reads.append(Operation(name, "get", key, state.get(key), time, time + 1))
    return reads, frozenset(sessions)
