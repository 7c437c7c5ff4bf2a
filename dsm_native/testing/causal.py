"""Causal+ consistency: is there one arbitration order of the writes that contains happens-before,
in which every read returns the latest write of its causal past?

That is *causal convergence* of Bouajjani, Enea, Guerraoui and Hamza (POPL 2017, section 3.4). With
unique values it is decided by saturation, without a search: happens-before (CO) is the closure of
session order and reads-from; where a read returns ``w`` and another write ``v`` of the key is in
its causal past, the arbitration must put ``v`` before ``w`` (CF, their conflict relation). The
history is causally convergent exactly when CO and CF together have no cycle and no read of the
initial state has a write of its key in its past (their tables 2 and 3).

Happens-before is kept as one vector clock per operation, and of each session only its latest
write in the past of a read gives a CF edge, as the earlier ones are before that one anyway. So
the cost is operations times sessions. Only a read of absence where a key was deleted several
times must be tried with each delete, within a budget. Pure functions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dsm_native.testing.happens_before import HappensBefore, sort_topologically
from dsm_native.testing.history import Operation, Plain, Session, history
from dsm_native.testing.reads_from import (
    INITIAL,
    Resting,
    at_rest,
    candidates_of_reads,
    without_unread_open_puts,
)
from dsm_native.testing.shrink import reduce_by
from dsm_native.testing.verdict import UndecidedError, Verdict, Violation

TRIALS_MAX = 2_000  # assignments of deletes to reads of absence before the search gives up
_TRIALS_MAX_SHRINKING = 50
_REPAIRS_MAX = 100  # changes to the likeliest assignment before all are tried in turn


def check_causal(
    operations: Iterable[Sequence[Plain]],
    initial: Mapping[Plain, Plain] | None = None,
    resting: Resting | None = None,
    trials_max: int = TRIALS_MAX,
) -> Verdict:
    """Judge a history of gets, puts and deletes at the level *causal* (causal+).

    ``resting`` is the state of each replica, {replica: {key: value}}, after all writes stopped and
    arrived: replicas must agree, and on what the arbitration puts last. The result of a delete is
    not looked at. Raises HistoryError for other kinds and for values put twice, UndecidedError
    when reads of absence leave too many possibilities.
    """
    checked = history(operations)
    start = dict(initial or {})
    items = without_unread_open_puts(checked, resting)
    rest: frozenset[Session] = frozenset()
    if resting is not None:
        reads, rest = at_rest(items, resting)
        items = items + reads
    found = _refute(items, start, rest, trials_max)
    if found is None:
        return Verdict("causal", len(checked))

    def is_refuted(candidate: list[Operation]) -> bool:
        try:
            return _refute(candidate, start, rest, _TRIALS_MAX_SHRINKING) is not None
        except UndecidedError:
            return False

    suspects = set(found.suspects)
    for read, writes in candidates_of_reads(items, start).items():
        if read in suspects:
            suspects.update(write for write in writes if write != INITIAL)
    core = [items[number] for number in sorted(suspects)]
    if not is_refuted(core):
        core = items
    core = reduce_by(core, _leave_out, is_refuted)
    final = _refute(core, start, rest, trials_max)
    assert final is not None, "shrinking keeps the violation"
    known = {item.key: start[item.key] for item in core if item.key in start}
    return Verdict("causal", len(checked), Violation(final.reason, tuple(core), (), known))


def _leave_out(items: list[Operation], chunk: Sequence[Operation]) -> list[Operation]:
    """Without a stretch and without the reads that return what it wrote; see ``shrink``.

    Leaving out a read, or a write that nobody reads, removes edges and adds none.
    """
    chosen = set(map(id, chunk))
    gone = {(item.key, item.value) for item in chunk if item.kind in ("put", "delete")}
    return [
        item
        for item in items
        if id(item) not in chosen and not (item.kind == "get" and (item.key, item.value) in gone)
    ]


@dataclass(slots=True)
class _Refutation:
    reason: str
    suspects: set[int]  # indices of operations that are likely to be enough for it


def _refute(
    items: Sequence[Operation],
    initial: Mapping[Plain, Plain],
    rest: frozenset[Session],
    trials_max: int,
) -> _Refutation | None:
    """Why no choice of a write for each read makes the history causal, or None if one does."""
    candidates = candidates_of_reads(items, initial)
    for number, found in candidates.items():
        if not found:
            reason = f"{_named(items[number])} returns a value that nobody wrote"
            return _Refutation(reason, {number})
    unexplained = _narrow(items, rest, candidates)
    if unexplained is not None:
        reason = f"{_named(items[unexplained])} finds the key absent, and no delete can be why"
        same_key = {n for n, item in enumerate(items) if item.key == items[unexplained].key}
        return _Refutation(reason, same_key)
    certain = {number: found[0] for number, found in candidates.items() if len(found) == 1}
    refutation = _arbitrate(items, rest, certain)
    open_reads = [number for number, found in candidates.items() if len(found) > 1]
    if refutation is not None or not open_reads:
        return refutation
    if _repair_guess(items, rest, candidates, open_reads):
        return None
    return _try_candidates(items, rest, certain, candidates, open_reads, trials_max)


def _narrow(
    items: Sequence[Operation], rest: frozenset[Session], candidates: dict[int, list[int]]
) -> int | None:
    """Strike candidates that happens-before rules out, the likeliest of the rest first.

    Returns a read that has none left, if there is one. What is certain already adds to
    happens-before, which may rule out more, and so on.
    """
    writes: dict[Plain, list[int]] = {}
    for number, item in enumerate(items):
        if item.kind != "get" and not item.is_open:
            writes.setdefault(item.key, []).append(number)
    certain_count = -1
    while True:
        certain = {number: found[0] for number, found in candidates.items() if len(found) == 1}
        if len(certain) in (certain_count, len(candidates)):
            return None
        certain_count = len(certain)
        past = HappensBefore(items, certain, rest)
        if past.cycle:
            return None
        for read, found in candidates.items():
            if len(found) == 1:
                continue
            known = [write for write in writes.get(items[read].key, ()) if past.holds(write, read)]
            inside = []
            outside = []
            for write in found:
                if write == INITIAL:
                    if not known:
                        inside.append(write)
                elif any(write != other and past.holds(write, other) for other in known):
                    continue
                elif past.holds(write, read):
                    inside.append(write)
                elif not past.holds(read, write):
                    outside.append(write)
            candidates[read] = inside + outside
            if not candidates[read]:
                return read


def _repair_guess(
    items: Sequence[Operation],
    rest: frozenset[Session],
    candidates: dict[int, list[int]],
    open_reads: list[int],
) -> bool:
    """Whether the likeliest deletes, changed where they stand in the way, make it causal."""
    choice = dict.fromkeys(open_reads, 0)
    sources = {number: found[0] for number, found in candidates.items()}
    for _ in range(_REPAIRS_MAX):
        refutation = _arbitrate(items, rest, sources)
        if refutation is None:
            return True
        blamed = [read for read in refutation.suspects if read in choice]
        if not blamed:
            return False
        read = min(blamed, key=lambda number: (choice[number], -number))
        choice[read] = (choice[read] + 1) % len(candidates[read])
        sources[read] = candidates[read][choice[read]]
    return False


def _try_candidates(
    items: Sequence[Operation],
    rest: frozenset[Session],
    certain: dict[int, int],
    candidates: dict[int, list[int]],
    open_reads: list[int],
    trials_max: int,
) -> _Refutation | None:
    """Backtracking over the reads of absence, each of which may return one of several deletes."""
    sources = dict(certain)
    choice = [0] * len(open_reads)
    depth = 0
    suspects: set[int] = set()
    for _ in range(trials_max):
        read = open_reads[depth]
        if choice[depth] == len(candidates[read]):
            choice[depth] = 0
            sources.pop(read, None)
            depth -= 1
            if depth < 0:
                reason = "whichever deletes the reads of absent keys return, no order is left"
                return _Refutation(reason, suspects | set(open_reads))
            continue
        sources[read] = candidates[read][choice[depth]]
        choice[depth] += 1
        refutation = _arbitrate(items, rest, sources)
        if refutation is not None:
            suspects |= refutation.suspects
            del sources[read]
        elif depth + 1 == len(open_reads):
            return None
        else:
            depth += 1
    raise UndecidedError(
        f"{len(open_reads)} reads of absent keys may return several deletes each; "
        f"{trials_max} trials did not settle which"
    )


def _arbitrate(
    items: Sequence[Operation], rest: frozenset[Session], sources: Mapping[int, int]
) -> _Refutation | None:
    return _Arbitration(items, sources, HappensBefore(items, sources, rest)).refute()


def _named(operation: Operation) -> str:
    return f"{operation.describe()} of session {operation.session}"


@dataclass(slots=True)
class _Arbitration:
    """The order that happens-before and the reads in ``sources`` demand of the writes."""

    items: Sequence[Operation]
    sources: Mapping[int, int]
    past: HappensBefore
    conflicts: dict[tuple[int, int], int] = field(
        default_factory=dict
    )  # CF edge: a read showing it

    def refute(self) -> _Refutation | None:
        if self.past.cycle:
            reason = "these operations happen before themselves"
            return _Refutation(reason, set(self.past.cycle))
        refutation = self._find_conflicts()
        if refutation is not None or not self.conflicts:
            return refutation
        before = [list(direct) for direct in self.past.before]
        for first, second in self.conflicts:
            before[second].append(first)
        _, cycle = sort_topologically(before)
        return self._explain(cycle) if cycle else None

    def _find_conflicts(self) -> _Refutation | None:
        writes: dict[Plain, dict[int, tuple[list[int], list[int]]]] = {}
        happened = set(self.sources.values())
        for number, item in enumerate(self.items):
            if item.kind != "get" and not (item.is_open and number not in happened):
                by_lane = writes.setdefault(item.key, {})
                places, numbers = by_lane.setdefault(self.past.lane[number], ([], []))
                places.append(self.past.place[number])
                numbers.append(number)
        for read, source in self.sources.items():
            clock = self.past.clocks[read]
            for lane, (places, numbers) in writes.get(self.items[read].key, {}).items():
                position = bisect_left(places, clock[lane])
                if position == 0:
                    continue
                write = numbers[position - 1]
                if source == INITIAL:
                    return self._explain_initial(read, write)
                if write != source:
                    self.conflicts.setdefault((write, source), read)
        return None

    def _explain_initial(self, read: int, write: int) -> _Refutation:
        reason = (
            f"{_named(self.items[read])} returns the initial state although "
            f"{_named(self.items[write])} happened before it"
        )
        return _Refutation(reason, self.past.path(write, read))

    def _explain(self, cycle: list[int]) -> _Refutation:
        suspects = set(cycle)
        told = []
        for first, second in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            read = self.conflicts.get((first, second))
            if read is None or first in self.past.before[second]:
                continue
            suspects |= {read} | self.past.path(first, read) | self.past.path(second, read)
            told.append(
                f"{_named(self.items[first])} before {_named(self.items[second])}, "
                f"as {_named(self.items[read])} knew both"
            )
        reason = (
            "no order of the writes contains happens-before and explains every read: it would "
            f"have to put {'; and '.join(told)}"
        )
        return _Refutation(reason, suspects)
