"""Strict serialisability: is there one order of all transactions that respects real time and in
which each reads what the latest before it wrote (Papadimitriou 1979; Herlihy and Wing 1990)?

Versions make it a question about a graph, not a search (Adya 1999): they grow with each write of a
key, so the order of the writes is known. An edge leads from who wrote a version to who read it, to
who wrote the next one, from who read a version to who wrote the next one, and from who returned to
who began afterwards. The history is correct if and only if no edges lead round in a circle.

A transaction that was cut off by a kill is open: it happened if somebody read from it, and then as
a whole; a write of it that nobody ever saw must lie before the last version of its key. Values tell
who wrote them, so each read names its writer. Pure functions, safe from any thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Key = Hashable
INITIAL = ""  # the writer of what was there before, which for an absent key is nothing


@dataclass(frozen=True)
class TransactionRecord:
    """One transaction. Times are of one clock; `returned` is None if it was cut off.

    reads: key → (version, name of the writer; "" for what was there before). writes: key → version,
    or None while nobody knows (it was cut off).
    """

    name: str
    invoked: int
    returned: int | None
    reads: Mapping[Key, tuple[int, str]] = field(default_factory=dict)
    writes: Mapping[Key, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class SerialVerdict:
    """`bool(verdict)` is whether the history is correct; else `cycle` names who contradict."""

    checked: int
    reason: str = ""
    cycle: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.reason

    def __str__(self) -> str:
        if self:
            return f"strictly serializable: {self.checked} transactions"
        return f"NOT strictly serializable: {self.reason}: {' -> '.join(self.cycle)}"


Node = str | int  # a transaction by name, or an instant by number


class _ContradictionError(Exception):
    def __init__(self, reason: str, *names: str) -> None:
        super().__init__(reason)
        self.verdict = (reason, names)


def _happened(transactions: Sequence[TransactionRecord]) -> list[TransactionRecord]:
    """Those that returned, and of the open ones those from which one that counts has read."""
    seen = {writer for item in transactions if item.returned is not None
            for _version, writer in item.reads.values()}  # fmt: skip
    return [item for item in transactions if item.returned is not None or item.name in seen]


def _writers(transactions: Sequence[TransactionRecord]) -> dict[Key, dict[int, str]]:
    """key → version → who wrote it, from what writers and readers say."""
    known: dict[Key, dict[int, str]] = {}
    wrote = {(item.name, key): version for item in transactions
             for key, version in item.writes.items()}  # fmt: skip

    def note(key: Key, version: int, writer: str) -> None:
        other = known.setdefault(key, {}).setdefault(version, writer)
        if other != writer:
            raise _ContradictionError(
                f"version {version} of {key!r} has two writers", other, writer
            )

    for item in transactions:
        for key, version in item.writes.items():
            if version is not None:
                note(key, version, item.name)
        for key, (version, writer) in item.reads.items():
            if item.returned is None:
                continue
            if writer != INITIAL and wrote.get((writer, key), -1) not in (version, None):
                raise _ContradictionError(
                    f"version {version} of {key!r} was read from who did not write it",
                    item.name, writer,
                )  # fmt: skip
            note(key, version, writer)
    return known


def _real_time(transactions: Sequence[TransactionRecord], edges: dict[Node, set[Node]]) -> None:
    """Instants of returns as a chain: who returned leads into it, who began after leads out."""
    returns = sorted({item.returned for item in transactions if item.returned is not None})
    number = {at: place for place, at in enumerate(returns)}
    for place in range(1, len(returns)):
        edges.setdefault(place - 1, set()).add(place)
    for item in transactions:
        if item.returned is not None:
            edges.setdefault(item.name, set()).add(number[item.returned])
        before = bisect_left(returns, item.invoked)
        if before:
            edges.setdefault(before - 1, set()).add(item.name)


def _dependencies(
    transactions: Sequence[TransactionRecord],
    known: Mapping[Key, Mapping[int, str]],
    edges: dict[Node, set[Node]],
) -> None:
    def lead(source: str, target: str) -> None:
        if source != target and INITIAL not in (source, target):
            edges.setdefault(source, set()).add(target)

    following: dict[Key, dict[int, str]] = {}
    for key, writers in known.items():
        versions = sorted(writers)
        following[key] = {}
        for earlier, later in zip(versions, versions[1:], strict=False):
            lead(writers[earlier], writers[later])
            if writers[later] == INITIAL:
                raise _ContradictionError(f"{key!r} went back to what was there before", "")
            following[key][earlier] = writers[later]
    for item in transactions:
        for key, (version, writer) in item.reads.items():
            lead(writer, item.name)
            if version in following.get(key, {}):
                lead(item.name, following[key][version])
        for key, written in item.writes.items():
            if written is not None or item.name in known.get(key, {}).values():
                continue
            versions = sorted(known.get(key, {}))
            if not versions or known[key][versions[-1]] == INITIAL:
                raise _ContradictionError(f"a part of it is missing: {key!r}", item.name)
            lead(item.name, known[key][versions[-1]])


def _cycle(edges: Mapping[Node, set[Node]]) -> list[Node]:
    """Nodes that lead round in a circle; none if there are none. Depth first, no recursion."""
    done: set[Node] = set()
    for start in list(edges):
        if start in done:
            continue
        path: list[Node] = [start]
        place = {start: 0}
        pending = [iter(edges.get(start, ()))]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                pending.pop()
                node = path.pop()
                del place[node]
                done.add(node)
            elif following in place:
                return path[place[following] :]
            elif following not in done:
                place[following] = len(path)
                path.append(following)
                pending.append(iter(edges.get(following, ())))
    return []


def check_strictly_serializable(transactions: Iterable[TransactionRecord]) -> SerialVerdict:
    """Judges a history whose last transaction reads every key, after all others have ended.

    Without such a last one, a part of an open transaction that nobody looked at may go unnoticed.
    Takes time in proportion to the history, about a microsecond per read, write and transaction.
    """
    counted = _happened(list(transactions))
    edges: dict[Node, set[Node]] = {}
    try:
        known = _writers(counted)
        _real_time(counted, edges)
        _dependencies(counted, known, edges)
    except _ContradictionError as found:
        return SerialVerdict(len(counted), found.verdict[0], found.verdict[1])
    cycle = [node for node in _cycle(edges) if isinstance(node, str)]
    if cycle:
        return SerialVerdict(len(counted), "no order fits", tuple(cycle))
    return SerialVerdict(len(counted))
