"""Strong consistency: is there one total order, respecting real time, that explains every read?

Linearizability is local (Herlihy and Wing 1990, theorem 1), so each key is judged alone, by the
search of Wing and Gong (1993) with Lowe's memoisation and just-in-time order (2017, section 4):
time is walked event by event; a configuration is (token of the key, which pending operations
already took effect); an operation is put into the order only when some operation must return.

What keeps it small, each by an exchange argument, each checked against permutations in the tests:
  - a pending operation that changes nothing takes effect as soon as its condition holds;
  - a value written once is not overwritten before its last reader was invoked, and a counter
    that only rises not raised beyond a sum that somebody is still to see;
  - of interchangeable pending operations the one that must return first goes first;
  - an open operation need never happen: of two configurations that differ only in the open
    operations they used, the one that used fewer stands for both;
  - with gets and puts alone, a pending put whose readers have all been invoked is hidden, with
    them, directly before the next put, where it disturbs nobody (``_hide``).
Pure functions, safe from any thread.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_

from dsm_native.testing.history import Operation, Plain, history
from dsm_native.testing.register import (
    KEEP,
    REFUSED,
    Register,
    Step,
    VersionConflictFound,
    compile_register,
)
from dsm_native.testing.shrink import READABLE_MAX, Predicate, shrink_register
from dsm_native.testing.verdict import UndecidedError, Verdict, Violation

EFFORT_MAX = 5_000_000  # configurations visited before the search gives up
_NAMED_MAX = 6  # values listed in a message
_EFFORT_MAX_SHRINKING = 200_000  # the same for one attempt to shrink the explanation


def check_linearizable(
    operations: Iterable[Sequence[Plain]],
    initial: Mapping[Plain, Plain] | None = None,
    effort_max: int = EFFORT_MAX,
) -> Verdict:
    """Judge a history at the level *strong*.

    ``initial`` gives values of keys before the history; other keys begin absent. Values need not
    be unique, though unique ones are judged faster. Raises HistoryError when the history itself is
    malformed and UndecidedError when one key needs more than ``effort_max`` configurations.
    """
    checked = history(operations)
    of_key: dict[Plain, list[Operation]] = {}
    for operation in checked:
        of_key.setdefault(operation.key, []).append(operation)
    start = dict(initial or {})
    for key, items in of_key.items():
        violation = _judge_key(items, start.get(key), effort_max)
        if violation is not None:
            known = {key: start[key]} if key in start else {}
            found = Violation(violation.reason, violation.operations, violation.optional, known)
            return Verdict("strong", len(checked), found)
    return Verdict("strong", len(checked))


def _judge_key(items: list[Operation], initial: Plain, effort_max: int) -> Violation | None:
    try:
        register = compile_register(items, initial)
    except VersionConflictFound as found:
        return Violation(found.reason, tuple(found.operations))
    obstacle = find_obstacle(register, effort_max)
    if obstacle is None:
        return None

    def is_refuted(candidate: list[Operation]) -> bool:
        try:
            register = compile_register(candidate, initial)
            return find_obstacle(register, min(effort_max, _EFFORT_MAX_SHRINKING)) is not None
        except (UndecidedError, VersionConflictFound):
            return False

    core = shrink_register(_shortest_prefix(items, is_refuted), initial, is_refuted)
    # Readers know the operations as they were recorded, which is at least as telling.
    recorded = {(item.session, item.invoked): item for item in items}
    if len(core) <= READABLE_MAX:
        core = [recorded[item.session, item.invoked] for item in core]
        core = shrink_register(core, initial, is_refuted)
        return Violation(_reason(core, len(core), initial, effort_max), tuple(core))
    needed = tuple(recorded[item.session, item.invoked] for item in core if not item.is_open)
    optional = tuple(recorded[item.session, item.invoked] for item in core if item.is_open)
    return Violation(_reason(core, len(needed), initial, effort_max), needed, optional)


def _shortest_prefix(items: list[Operation], is_refuted: Predicate) -> list[Operation]:
    """The history as far as it takes to refute it: once refuted, it stays so (bisection)."""
    instants = sorted(item.returned for item in items if item.returned is not None)
    low, high = 0, len(instants) - 1
    while low < high:
        middle = (low + high) // 2
        if is_refuted(_known_at(items, instants[middle])):
            high = middle
        else:
            low = middle + 1
    return _known_at(items, instants[low])


def _known_at(items: list[Operation], instant: int) -> list[Operation]:
    """What an observer knows at ``instant``: whatever returns later is still open."""
    known = []
    for item in items:
        if item.invoked > instant:
            continue
        if item.returned is not None and item.returned > instant:
            if item.kind == "get":
                continue
            item = item._replace(returned=None, result=None)
        known.append(item)
    return known


def _reason(core: list[Operation], count: int, initial: Plain, effort_max: int) -> str:
    register = compile_register(core, initial, merges_unseen=False)
    obstacle = find_obstacle(register, effort_max, looks_ahead=False)
    assert obstacle is not None, "shrinking keeps the violation"
    failed = obstacle.step.operation
    names = list(dict.fromkeys("absent" if v is None else repr(v) for v in obstacle.held))
    if len(names) > _NAMED_MAX:
        names[_NAMED_MAX:] = [f"one of {len(names) - _NAMED_MAX} others"]
    return (
        f"{_counted(count)} on key {failed.key!r} that respects real time "
        f"explains {failed.describe()} of session {failed.session}: by "
        f"its return the key can only have been {' or '.join(names)}"
    )


def _counted(count: int) -> str:
    return f"no order of these {count} operations" if count > 1 else "no history"


@dataclass(slots=True)
class Obstacle:
    """The first operation that cannot return, and the values the key can have had by then."""

    step: Step
    held: list[Plain]


# A configuration: (token, completed operations done, open operations used), the last two as masks.
_Configuration = tuple[int, int, int]


@dataclass(slots=True)
class _Interchangeable:
    """Open operations that differ in nothing but the time from which they may happen."""

    mask: int = 0
    entries: list[tuple[int, Step]] = field(default_factory=list)  # bit, step


@dataclass(slots=True)
class _Search:
    register: Register
    effort_left: int
    frontier: set[_Configuration]
    pending: list[tuple[int, int, Step]] = field(default_factory=list)  # returned, bit, step
    opened: dict[int, _Interchangeable] = field(default_factory=dict)  # by symmetry
    opened_of: dict[int, list[_Interchangeable]] = field(default_factory=dict)  # by token asked
    opened_blind: list[_Interchangeable] = field(default_factory=list)  # those that ask for none
    opened_count: int = 0
    waiting: list[tuple[int, Step]] = field(default_factory=list)  # bit, step that only looks
    last_asked: dict[int, int] = field(default_factory=dict)  # token: event of its last asker
    last_asked_below: list[tuple[float, int]] = field(default_factory=list)  # the same, counters
    now: int = 0
    looks_ahead: bool = True


def find_obstacle(
    register: Register, effort_max: int = EFFORT_MAX, looks_ahead: bool = True
) -> Obstacle | None:
    """The first operation of a compiled key that fits into no order, or None when all fit.

    Looking ahead, to who will ask for a value, finds an obstacle sooner than the history shows
    it; without, the search is larger and stops exactly where the history went wrong.
    """
    events = _events(register.steps)
    search = _Search(register, effort_max, {(register.initial, 0, 0)}, looks_ahead=looks_ahead)
    for number, (_, is_return, _, step) in enumerate(events):
        if looks_ahead and not is_return and step.accepts and not step.operation.is_open:
            if register.is_rising:
                asked = min(register.number(token) for token in step.accepts)
                search.last_asked_below.append((asked, number))
            elif len(step.accepts) == 1 and step.accepts <= register.unique:
                search.last_asked[next(iter(step.accepts))] = number
    _accumulate(search.last_asked_below)
    bits: dict[int, int] = {}
    free: list[int] = []
    for number, (_, is_return, _, step) in enumerate(events):
        search.now = number
        if not is_return:
            if step.operation.is_open:
                _open(search, step)
                continue
            bit = free.pop() if free else 1 << len(bits)
            bits[step.position] = bit
            _invoke(search, bit, step)
        else:
            bit = bits.pop(step.position)
            obstacle = _return(search, bit, step)
            if obstacle is not None:
                return obstacle
            free.append(bit)
    return None


def _accumulate(asked: list[tuple[float, int]]) -> None:
    """Turn (number, event of an asker) into (number, last event of who asks for it or less)."""
    asked.sort()
    last = -1
    for position, (number, event) in enumerate(asked):
        last = max(last, event)
        asked[position] = (number, last)


def _events(steps: list[Step]) -> list[tuple[int, int, int, Step]]:
    """Invocations and returns in time; at one instant invocations come first, as they overlap."""
    events = []
    for step in steps:
        operation = step.operation
        events.append((operation.invoked, 0, step.position, step))
        if operation.returned is not None:
            events.append((operation.returned, 1, step.position, step))
    events.sort(key=lambda event: event[:3])
    return events


def _open(search: _Search, step: Step) -> None:
    """From now on ``step`` may happen."""
    alike = search.opened.get(step.symmetry)
    if alike is None:
        alike = search.opened[step.symmetry] = _Interchangeable()
        if step.accepts is None:
            search.opened_blind.append(alike)
        for token in step.accepts or ():
            search.opened_of.setdefault(token, []).append(alike)
    alike.entries.append((1 << search.opened_count, step))
    alike.mask |= 1 << search.opened_count
    search.opened_count += 1


def _invoke(search: _Search, bit: int, step: Step) -> None:
    returned = step.operation.returned
    assert returned is not None, "open operations are kept apart"
    if step.writes != KEEP:
        insort(search.pending, (returned, bit, step), key=lambda entry: entry[:2])
        return
    search.waiting.append((bit, step))
    search.frontier = {
        (token, done | bit if step.takes(token) else done, used)
        for token, done, used in search.frontier
    }


def _return(search: _Search, bit: int, step: Step) -> Obstacle | None:
    """Let ``step`` return: keep the configurations in which it took effect, found by closure."""
    todo = deque(search.frontier)
    seen: dict[tuple[int, int], list[int]] = {}
    for token, done, used in search.frontier:
        _keep_minimal(seen.setdefault((token, done), []), used)
    survivors: dict[tuple[int, int], list[int]] = {}
    while todo:
        configuration = todo.popleft()
        token, done, used = configuration
        if done & bit:
            _keep_minimal(survivors.setdefault((token, done & ~bit), []), used)
            continue
        search.effort_left -= 1
        if search.effort_left < 0:
            raise UndecidedError(
                f"key {step.operation.key!r} needs too many configurations: {len(seen)} at "
                f"{step.operation.describe()}, with {len(search.pending)} writes under way and "
                f"{search.opened_count} open"
            )
        for following in _successors(search, configuration):
            token, done, used = following
            if _keep_minimal(seen.setdefault((token, done), []), used):
                todo.append(following)
    if step.writes == KEEP:
        search.waiting.remove((bit, step))
    else:
        search.pending = [entry for entry in search.pending if entry[1] != bit]
    if not survivors:
        return Obstacle(step, [search.register.value(token) for token, _ in seen])
    search.frontier = {
        (token, done, used) for (token, done), masks in survivors.items() for used in masks
    }
    if search.opened_blind:
        common = reduce(and_, (used for _, _, used in search.frontier))
        for alike in [alike for alike in search.opened_blind if not alike.mask & ~common]:
            search.opened_blind.remove(alike)
            del search.opened[alike.entries[0][1].symmetry]
    return None


def _keep_minimal(masks: list[int], used: int) -> bool:
    """Add ``used`` unless a mask already there uses no more; drop those that use more."""
    if any(mask & used == mask for mask in masks):
        return False
    masks[:] = [mask for mask in masks if mask & used != used]
    masks.append(used)
    return True


def _successors(search: _Search, configuration: _Configuration) -> list[_Configuration]:
    """The configurations one write later."""
    token, done, used = configuration
    register = search.register
    if register.is_rising and search.last_asked_below:
        asked = search.last_asked_below
        position = bisect_right(asked, register.number(token), key=lambda entry: entry[0])
        if position and asked[position - 1][1] > search.now:
            return []
    elif search.last_asked.get(token, -1) > search.now:
        return []
    tried = set()
    found = []
    for _, bit, step in search.pending:
        if done & bit or step.symmetry in tried:
            continue
        tried.add(step.symmetry)
        after = register.after(step, token)
        if after != REFUSED:
            found.append(_settle(search, after, done | bit, used))
    for alike in (*search.opened_blind, *search.opened_of.get(token, ())):
        used_count = (used & alike.mask).bit_count()
        if used_count == len(alike.entries):
            continue
        bit, step = alike.entries[used_count]
        if step.symmetry in tried:
            continue
        after = register.after(step, token)
        if after not in (REFUSED, token):
            found.append(_settle(search, after, done, used | bit))
    return found


def _settle(search: _Search, token: int, done: int, used: int) -> _Configuration:
    """Let every pending operation take effect that only looks and likes what it sees."""
    if search.looks_ahead and search.register.is_plain:
        done, used = _hide(search, done, used)
    for bit, step in search.waiting:
        if not done & bit and step.takes(token):
            done |= bit
    return token, done, used


def _hide(search: _Search, done: int, used: int) -> tuple[int, int]:
    """Put the pending puts that nobody will ask for again directly before the last write."""
    hidden = set()
    for _, bit, step in search.pending:
        token = step.writes
        if not done & bit and search.last_asked.get(token, -1) <= search.now:
            done |= bit
            hidden.add(token)
    for alike in search.opened.values():
        bit, step = alike.entries[0]
        if not used & bit and search.last_asked.get(step.writes, search.now + 1) <= search.now:
            asking = any(not done & b and other.takes(step.writes) for b, other in search.waiting)
            if asking:
                used |= bit
                hidden.add(step.writes)
    for bit, step in search.waiting:
        if not done & bit and step.accepts is not None and step.accepts & hidden:
            done |= bit
    return done, used
