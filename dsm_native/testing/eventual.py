"""Eventual consistency: nothing out of thin air, and at rest all replicas hold what the resolver
picks among the writes that none supersedes.

While writes go on, a read may return any value that was written, however old. Once they have
stopped and arrived, the history is replayed: a write supersedes another write of its key when its
session had written or read the other one before, directly or through others (happens-before along
that key alone, which is what a version vector per key records). The survivors are handed to the
resolver, and every replica must hold its answer: so replicas agree, and no acknowledged write
vanishes unless a later one or the resolver displaced it. An open write may count or not.

Thin air is a value that nobody wrote, and a circle of reads and writes that each happened only
because of the others. Pure functions; the resolver must be one too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from dsm_native.testing.happens_before import HappensBefore
from dsm_native.testing.history import HistoryError, Operation, Plain, history
from dsm_native.testing.reads_from import (
    Resting,
    at_rest,
    candidates_of_reads,
    without_unread_open_puts,
)
from dsm_native.testing.verdict import UndecidedError, Verdict, Violation

# Takes the surviving puts and deletes of a key, in any order; returns the value, None for absent.
Resolver = Callable[[Plain, Sequence[Operation]], Plain]

_DOUBTFUL_MAX = 12  # writes of one key that may count or not, tried in all combinations


def check_eventual(
    operations: Iterable[Sequence[Plain]],
    resting: Resting | None = None,
    resolver: Resolver | None = None,
    initial: Mapping[Plain, Plain] | None = None,
) -> Verdict:
    """Judge a history of gets, puts and deletes at the level *eventual*.

    ``resting`` is the state of each replica, {replica: {key: value}}, after all writes stopped and
    arrived; without it only the reads are judged. Without a ``resolver`` replicas may agree on any
    survivor. Raises HistoryError for other kinds and for values put twice, UndecidedError when
    more than a dozen open writes of one key leave too many possibilities.
    """
    checked = history(operations)
    start = dict(initial or {})
    violation = _judge_reads(checked, start)
    if violation is None and resting is not None:
        reads, _ = at_rest(checked, resting)
        of_key: dict[Plain, list[Operation]] = {}
        for read in reads:
            of_key.setdefault(read.key, []).append(read)
        for key, held in of_key.items():
            writes = [item for item in checked if item.key == key]
            violation = violation or _judge_rest(key, writes, held, resolver, start)
    return Verdict("eventual", len(checked), violation)


def last_write_wins(key: Plain, survivors: Sequence[Operation]) -> Plain:
    """The resolver that picks the greatest timestamp, which writes report as their ``result``.

    An open write has reported none; where it counts at all, it is taken to be the last.
    """
    for item in survivors:
        if not item.is_open and type(item.result) is not int:
            raise HistoryError(f"{item.describe()} of session {item.session!r} has no timestamp")
    last = max(survivors, key=lambda item: (item.is_open, item.result or 0))
    return last.value


def _judge_reads(items: list[Operation], initial: Mapping[Plain, Plain]) -> Violation | None:
    candidates = candidates_of_reads(items, initial)
    for number, found in candidates.items():
        if not found:
            read = items[number]
            reason = f"{read.describe()} of session {read.session} returns a value out of thin air"
            return Violation(reason, (read,))
    certain = {number: found[0] for number, found in candidates.items() if len(found) == 1}
    cycle = HappensBefore(items, certain).cycle
    if not cycle:
        return None
    reason = "values out of thin air: each of these operations happened only because of the others"
    return Violation(reason, tuple(items[number] for number in sorted(_ends(items, cycle))))


def _ends(items: list[Operation], cycle: list[int]) -> set[int]:
    """The operations of a cycle where it changes from one session to another, or back in time."""
    ends = set()
    for first, second in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        if items[first].session != items[second].session or first > second:
            ends |= {first, second}
    return ends


def _judge_rest(
    key: Plain,
    items: list[Operation],
    held: list[Operation],
    resolver: Resolver | None,
    initial: Mapping[Plain, Plain],
) -> Violation | None:
    first = held[0]
    for other in held[1:]:
        if (type(other.value), other.value) != (type(first.value), first.value):
            reason = (
                f"replicas disagree on key {key!r}: {first.value!r} in {first.session}, "
                f"{other.value!r} in {other.session}"
            )
            return Violation(reason, (first, other))
    survivors: list[Operation] = []
    for happened in _possible_histories(key, items, first):
        survivors = _survivors(happened, initial)
        for counted in _possible_survivors(survivors, happened):
            if not counted:
                answers = [initial.get(key)]
            elif resolver is not None:
                answers = [resolver(key, counted)]
            else:
                answers = [item.value for item in counted]
            if any(type(a) is type(first.value) and a == first.value for a in answers):
                return None
    shown = ", ".join(item.describe() for item in survivors) or "the initial state"
    reason = (
        f"all replicas hold {first.value!r} for key {key!r}, which is not what the resolver picks "
        f"among the writes that none supersedes: {shown}"
    )
    written = [item for item in items if item.may_write and item.value == first.value]
    core = sorted({*written, *survivors}, key=lambda item: item.invoked)
    return Violation(reason, (*core, first))


def _possible_histories(
    key: Plain, items: list[Operation], held: Operation
) -> Iterator[list[Operation]]:
    """The operations of a key with each choice of its open writes; those that were read count."""
    seen = {id(item) for item in without_unread_open_puts(items) if item.kind == "put"}
    doubtful = [item for item in items if item.is_open and item.may_write and id(item) not in seen]
    certain = [item for item in items if not item.is_open or id(item) in seen]
    for chosen in _combinations(key, doubtful):
        yield sorted([*certain, *chosen], key=lambda item: item.invoked)


def _survivors(items: list[Operation], initial: Mapping[Plain, Plain]) -> list[Operation]:
    """The writes of one key that no other write supersedes."""
    candidates = candidates_of_reads(items, initial)
    certain = {number: found[0] for number, found in candidates.items() if len(found) == 1}
    past = HappensBefore(items, certain)
    latest = [0] * (max(past.lane, default=0) + 1)
    writes = [number for number, item in enumerate(items) if item.may_write]
    for number in writes:
        for lane, count in enumerate(past.clocks[number]):
            own = lane == past.lane[number]
            latest[lane] = max(latest[lane], count - 1 if own else count)
    return [items[n] for n in writes if latest[past.lane[n]] <= past.place[n]]


def _possible_survivors(
    survivors: list[Operation], items: list[Operation]
) -> Iterator[list[Operation]]:
    """The survivors with each choice of the deletes that a read of absence may have passed on.

    Absence does not tell which delete was read, nor whether one was read at all.
    """
    absent_seen = any(item.kind == "get" and item.value is None for item in items)
    doubtful = [item for item in survivors if item.kind == "delete" and absent_seen]
    certain = [item for item in survivors if item not in doubtful]
    for chosen in _combinations("of deletes", doubtful):
        if certain or chosen or not survivors:
            yield [*certain, *chosen]


def _combinations(key: Plain, doubtful: list[Operation]) -> Iterator[tuple[Operation, ...]]:
    if len(doubtful) > _DOUBTFUL_MAX:
        raise UndecidedError(
            f"key {key!r}: {len(doubtful)} writes may count or not, more than {_DOUBTFUL_MAX}"
        )
    for count in range(len(doubtful) + 1):
        yield from combinations(doubtful, count)
