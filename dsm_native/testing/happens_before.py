"""Happens-before of a history whose reads are known to return certain writes.

The transitive closure of session order and reads-from, kept as one vector clock per operation
(Fidge 1988, Mattern 1989): ``clocks[b][lane of a]`` counts the operations of ``a``'s session that
happened before ``b`` or are ``b``, so one comparison answers whether ``a`` happened before ``b``.
Operations are named by their index in the list given; the list is not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dsm_native.testing.history import Operation, Session
from dsm_native.testing.reads_from import INITIAL


class HappensBefore:
    """``sources`` gives the write of each read; ``rest`` names the sessions after all others;
    ``extra`` holds pairs that are in the order for another reason.

    When ``cycle`` is not empty, its operations happen before themselves, and nothing else is set.
    """

    def __init__(
        self,
        items: Sequence[Operation],
        sources: Mapping[int, int],
        rest: frozenset[Session] = frozenset(),
        extra: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.before: list[list[int]] = []  # direct predecessors
        self.lane: list[int] = []  # number of the operation's session
        self.place: list[int] = []  # its position there
        self.clocks: list[list[int]] = [[]] * len(items)
        lane_count = self._order_sessions(items, sources, rest)
        for first, second in extra:
            self.before[second].append(first)
        order, self.cycle = sort_topologically(self.before)
        if not self.cycle:
            self._set_clocks(order, lane_count)

    def holds(self, first: int, second: int) -> bool:
        """Whether ``first`` happened before ``second`` or is the same operation."""
        return self.clocks[second][self.lane[first]] > self.place[first]

    def _order_sessions(
        self,
        items: Sequence[Operation],
        sources: Mapping[int, int],
        rest: frozenset[Session],
    ) -> int:
        lanes: dict[Session, int] = {}
        last: dict[int, int] = {}
        for number, item in enumerate(items):
            lane = lanes.setdefault(item.session, len(lanes))
            direct = [last[lane]] if lane in last else []
            if item.session in rest and lane not in last:
                resting = {lanes[name] for name in rest if name in lanes}
                direct = [other for key, other in last.items() if key not in resting]
            source = sources.get(number, INITIAL)
            if source != INITIAL:
                direct.append(source)
            self.before.append(direct)
            self.lane.append(lane)
            self.place.append(self.place[last[lane]] + 1 if lane in last else 0)
            last[lane] = number
        return len(lanes)

    def _set_clocks(self, order: list[int], lane_count: int) -> None:
        for number in order:
            direct = self.before[number]
            if not direct:
                clock = [0] * lane_count
            elif len(direct) == 1:
                clock = list(self.clocks[direct[0]])
            else:
                clock = list(map(max, *(self.clocks[other] for other in direct)))
            clock[self.lane[number]] = self.place[number] + 1
            self.clocks[number] = clock

    def path(self, first: int, last: int) -> set[int]:
        """Operations through which ``first`` happened before ``last``, with both ends."""
        path = {first, last}
        here = last
        while here != first:
            direct = [other for other in self.before[here] if self.holds(first, other)]
            if not direct:
                break
            following = direct[-1]
            if self.lane[following] != self.lane[here]:
                path |= {following, here}
            here = following
        return path


def sort_topologically(before: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """A topological order, or what there is of it and a cycle, each before the next."""
    count = len(before)
    missing = [len(direct) for direct in before]
    after: list[list[int]] = [[] for _ in range(count)]
    for number, direct in enumerate(before):
        for other in direct:
            after[other].append(number)
    order = [number for number in range(count) if missing[number] == 0]
    for number in order:
        for other in after[number]:
            missing[other] -= 1
            if missing[other] == 0:
                order.append(other)
    if len(order) == count:
        return order, []
    # Every operation left over has another one before it: walk back until one comes again.
    here = next(number for number in range(count) if missing[number])
    seen: dict[int, int] = {}
    walk: list[int] = []
    while here not in seen:
        seen[here] = len(walk)
        walk.append(here)
        here = next(other for other in before[here] if missing[other])
    return order, walk[seen[here] :][::-1]
