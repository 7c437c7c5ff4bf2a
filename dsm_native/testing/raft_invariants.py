"""The safety properties of Raft (figure 3 of the paper), looked at after every step.

They are checked from outside, from what nodes write and apply. Log matching and state-machine
safety are kept inductively: every entry is compared with the first one seen at its place, so the
cost of a step is that of its new entries.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from dsm_native._native.raft import Raft, RaftApplied, RaftSnapshot
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.protocol import Outputs

WRITES, APPLIED = Outputs._fields.index("persist"), Outputs._fields.index("apply")


def _core(protocol: Any) -> Raft:
    core: Raft = protocol if type(protocol) is Raft else protocol.raft
    return core


class ElectionSafety(Invariant):
    """At most one leader per term (5.2)."""

    name = "election safety"
    part = WRITES

    def __init__(self) -> None:
        super().__init__()
        self.leaders: dict[int, int] = {}

    def stepped(self, node: int, protocol: Any, outputs: Outputs, now: int) -> None:
        # A node that comes to lead writes its first entry.
        core = _core(protocol)
        if core.role == "leader":
            first = self.leaders.setdefault(core.term, node)
            self.require(first == node, f"nodes {first} and {node} both lead in term {core.term}")


class LogMatching(Invariant):
    """Two logs with the same entry at an index are equal up to it (5.3)."""

    name = "log matching"
    part = WRITES

    def __init__(self) -> None:
        super().__init__()
        self._terms: dict[int, dict[int, int]] = {}
        """node -> index -> term: the node's log as its writes tell it."""
        self._seen: dict[tuple[int, int], tuple[int | None, Any]] = {}

    def started(self, node: int, protocol: Any, durable: Mapping[Hashable, Any], now: int) -> None:
        terms = {key: entry.term for key, entry in durable.items() if isinstance(key, int)}
        snapshot = durable.get("snapshot")
        if snapshot is not None:
            terms[snapshot.index] = snapshot.term
        self._terms[node] = terms

    def stepped(self, node: int, protocol: Any, outputs: Outputs, now: int) -> None:
        terms = self._terms[node]
        for key, value in outputs[1]:
            if key == "snapshot":
                terms[value.index] = value.term
            elif isinstance(key, int):
                if value is None:
                    terms.pop(key, None)
                else:
                    self._compare(node, value, terms)

    def _compare(self, node: int, entry: Any, terms: dict[int, int]) -> None:
        before = 0 if entry.index == 1 else terms.get(entry.index - 1)
        terms[entry.index] = entry.term
        first_before, first = self._seen.setdefault((entry.index, entry.term), (before, entry))
        self.checks += 1
        if first is not entry and first != entry:
            self.fail(f"node {node} wrote {entry!r} where {first!r} had been written")
        if before is not None and first_before is not None:
            self.checks += 1
            if before != first_before:
                self.fail(
                    f"node {node} wrote {entry!r} after an entry of term {before}, others after"
                    f" one of term {first_before}"
                )


class StateMachineSafety(Invariant):
    """No two nodes apply different entries at an index, and each applies in order (5.4.3)."""

    name = "state machine safety"
    part = APPLIED

    def __init__(self) -> None:
        super().__init__()
        self.applied: dict[int, Any] = {}
        self.last = 0
        self._next: dict[int, int] = {}

    def started(self, node: int, protocol: Any, durable: Mapping[Hashable, Any], now: int) -> None:
        snapshot = durable.get("snapshot")
        self._next[node] = 1 if snapshot is None else snapshot.index + 1

    def stepped(self, node: int, protocol: Any, outputs: Outputs, now: int) -> None:
        for item in outputs[3]:
            if type(item) is RaftApplied:
                self._compare(node, item)
            elif type(item) is RaftSnapshot:
                self._next[node] = item.index + 1

    def _compare(self, node: int, item: Any) -> None:
        index = item.entry.index
        expected = self._next[node]
        self.checks += 2
        if index != expected:
            self.fail(f"node {node} applied {index} where {expected} was next")
        self._next[node] = index + 1
        self.last = max(self.last, index)
        first = self.applied.setdefault(index, item)
        if first is not item and first != item:
            self.fail(f"node {node} applied {item!r}, another {first!r}")


class LeaderCompleteness(Invariant):
    """A leader's log holds every entry that was committed before (5.4)."""

    name = "leader completeness"
    part = WRITES

    def __init__(self, applied: StateMachineSafety) -> None:
        super().__init__()
        self._applied = applied
        self._known: set[tuple[int, int]] = set()

    def stepped(self, node: int, protocol: Any, outputs: Outputs, now: int) -> None:
        core = _core(protocol)
        if core.role != "leader" or (node, core.term) in self._known:
            return
        self._known.add((node, core.term))
        index = self._applied.last
        if index == 0 or index < core.first_index:
            return
        item = self._applied.applied[index]
        self.require(
            index <= core.last_index and core.entry(index).term == item.entry.term,
            f"node {node} leads in term {core.term} without the committed {item.entry!r}; its log"
            f" ends at {core.last_index}",
        )


class AppliedOnce(Invariant):
    """A session's command takes effect at one index only, however often it is proposed."""

    name = "applied once"
    part = APPLIED

    def __init__(self) -> None:
        super().__init__()
        self._index: dict[tuple[int, int], int] = {}

    def stepped(self, node: int, protocol: Any, outputs: Outputs, now: int) -> None:
        for item in outputs[3]:
            if type(item) is not RaftApplied or item.verdict != "apply":
                continue
            entry = item.entry
            if entry.kind != "command" or entry.session == 0:
                continue
            first = self._index.setdefault((entry.session, entry.sequence), entry.index)
            self.checks += 1
            if first != entry.index:
                self.fail(
                    f"command {entry.sequence} of session {entry.session} took effect at index"
                    f" {first} and again at {entry.index}"
                )


class InnerRelations(Invariant):
    """The core's own check of its structures."""

    name = "inner relations"

    def stepped(self, node: int, protocol: Any, outputs: Outputs, now: int) -> None:
        self.checks += 1
        if not _core(protocol).valid():
            self.fail(f"node {node}'s structures contradict each other")


def raft_invariants() -> tuple[Invariant, ...]:
    """A fresh set of all of them, for one simulation."""
    applied = StateMachineSafety()
    return (
        ElectionSafety(),
        LogMatching(),
        applied,
        LeaderCompleteness(applied),
        AppliedOnce(),
        InnerRelations(),
    )
