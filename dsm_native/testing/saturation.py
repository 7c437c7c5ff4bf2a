"""What every sequential order of a history must contain, found without trying orders.

Where a value was written once, by ``w``, and ``r`` asks for it, two rules hold in every order that
explains the history, for every other write ``v`` of the key: if ``v`` comes before ``r`` it comes
before ``w``, and if ``w`` comes before ``v`` so does ``r``. Applied to session order and reads-from
until nothing new follows, they either close a circle, which refutes the history, or leave a
partial order that guides the search. It is the saturation of Biswas and Enea (OOPSLA 2019,
section 4) for a total order. One pass costs operations times sessions. Pure functions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dsm_native.testing.happens_before import HappensBefore
from dsm_native.testing.history import Operation, Plain
from dsm_native.testing.reads_from import INITIAL
from dsm_native.testing.register import KEEP, Register, Step

_Lanes: TypeAlias = dict[int, tuple[list[int], list[int]]]  # lane: places and indices of writes


def saturate(
    items: Sequence[Operation], steps: Mapping[int, Step], registers: Mapping[Plain, Register]
) -> HappensBefore:
    """The order that must hold; its ``cycle`` is not empty when there is none.

    ``steps`` gives the compiled step of each operation by index.
    """
    sources = _sources(items, steps, registers)
    happened = set(sources.values())
    writes: dict[Plain, list[int]] = {}
    for number, step in steps.items():
        if step.writes != KEEP and (not items[number].is_open or number in happened):
            writes.setdefault(items[number].key, []).append(number)
    askers: dict[int, list[int]] = {}
    extra: set[tuple[int, int]] = set()
    for read, source in sources.items():
        askers.setdefault(source, []).append(read)
        if source == INITIAL:
            extra |= {(read, write) for write in writes.get(items[read].key, ()) if write != read}
    while True:
        order = HappensBefore(items, sources, extra=extra)
        if order.cycle:
            return order
        found = _consequences(items, order, sources, writes, askers)
        if found <= extra:
            return order
        extra |= found


def _sources(
    items: Sequence[Operation], steps: Mapping[int, Step], registers: Mapping[Plain, Register]
) -> dict[int, int]:
    """The one step that can have written what a step asks for, where there is just one."""
    writer = {
        (items[number].key, step.writes): number
        for number, step in steps.items()
        if step.writes != KEEP
    }
    sources = {}
    for number, step in steps.items():
        register = registers[items[number].key]
        if items[number].is_open or step.accepts is None or len(step.accepts) != 1:
            continue
        (token,) = step.accepts
        if token not in register.unique:
            continue
        source = writer.get((items[number].key, token), INITIAL)
        if source != number:
            sources[number] = source
    return sources


def _consequences(
    items: Sequence[Operation],
    order: HappensBefore,
    sources: Mapping[int, int],
    writes: Mapping[Plain, list[int]],
    askers: Mapping[int, list[int]],
) -> set[tuple[int, int]]:
    lanes_of: dict[Plain, _Lanes] = {}
    for key, numbers in writes.items():
        lanes: _Lanes = {}
        for number in sorted(numbers, key=lambda n: order.place[n]):
            places, indices = lanes.setdefault(order.lane[number], ([], []))
            places.append(order.place[number])
            indices.append(number)
        lanes_of[key] = lanes

    def latest_before(number: int) -> list[int]:
        """Of each session the latest other write of the key that must come before."""
        clock = order.clocks[number]
        found = []
        for lane, (places, indices) in lanes_of.get(items[number].key, {}).items():
            position = bisect_left(places, clock[lane])
            if position and indices[position - 1] == number:
                position -= 1
            if position:
                found.append(indices[position - 1])
        return found

    found = set()
    for read, source in sources.items():
        if source != INITIAL:
            found |= {(write, source) for write in latest_before(read) if write != source}
    for numbers in writes.values():
        for later in numbers:
            for earlier in latest_before(later):
                found |= {(read, later) for read in askers.get(earlier, ()) if read != later}
    return found
