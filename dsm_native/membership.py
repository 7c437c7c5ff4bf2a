"""What a cluster knows of its members: who lives, what happened to whom, and telling of it.

A part of `Cluster` in a file of its own.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.members import suspected, watching
from dsm_native._native.nodes import WEIGHT_ONE, node_table
from dsm_native._native.recovery import scrubbed
from dsm_native.detection import Detection, unpacked
from dsm_native.exceptions import UsageError
from dsm_native.failures import Failure, NodeEvent, failures_of, recorded
from dsm_native.injection import Faults
from dsm_native.reports import NodeInfo
from dsm_native.subscription import Subscription

_NOBODY: Any = {"pid": 0, "incarnation": 0, "alive": False, "unserved": True, "beat_age_s": 0.0}
_NOTHING: Any = {"objects": 0, "used_bytes": 0}


def _unheard(entries: list[Any], suspect_s: float) -> bool:
    """Whether nobody is left who could say of whom nothing is heard: all who would are silent."""
    judges = [entry for entry in entries if entry["kind"] in ("owner", "node") and entry["alive"]]
    return all(entry["beat_age_s"] >= suspect_s for entry in judges)


def _state_of(handle: Handle, node: int, state: str, entry: Any, unheard: bool) -> str:
    if state in ("draining", "lost"):
        return state
    if entry["unserved"]:  # its id may have had processes of a node before it
        return "joining"
    if not entry["alive"]:
        return "dead"
    return "suspected" if unheard or suspected(handle, node, entry["incarnation"]) else "alive"


class Membership:
    """The methods of `Cluster` that tell of its nodes."""

    _handle: Handle
    _subscriptions: weakref.WeakSet[Subscription]

    @property
    def nodes(self) -> list[NodeInfo]:
        """The nodes, by id, as of about now; see NodeInfo."""
        handle = self._handle
        table = node_table(handle)  # first: what is told of a node then is not of one before it
        members = handle.participants()
        unheard = _unheard(members, watching(handle)[1] / 1000)
        entries = {entry["node"]: entry for entry in members}
        found = []
        for node, (state, weight, _) in table.items():
            if state == "leaving":
                continue
            try:
                usage = _NOTHING if state == "lost" else handle.usage(node)
            except UsageError:  # it was removed just now
                continue
            entry = entries.get(node, _NOBODY)
            found.append(
                NodeInfo(
                    id=node,
                    pid=entry["pid"],
                    incarnation=entry["incarnation"],
                    state=_state_of(handle, node, state, entry, unheard),
                    heartbeat_age_s=entry["beat_age_s"],
                    objects=usage["objects"],
                    bytes=usage["used_bytes"],
                    weight=weight / WEIGHT_ONE,
                )
            )
        return found

    def _usages(self) -> dict[int, dict[str, object]]:
        """What each node has in use and what its scrubber did; not of one that goes meanwhile."""
        found = {}
        for info in self.nodes:
            with contextlib.suppress(UsageError):
                found[info.id] = self._handle.usage(info.id) | scrubbed(self._handle, info.id)
        return found

    @property
    def detection(self) -> Detection:
        """When a silent node counts as hung, as the cluster was made."""
        return unpacked(watching(self._handle))[0]

    @property
    def recovery(self) -> str:
        """What follows a node's death, as the cluster was made: "adopt", "rebuild" or "none"."""
        return unpacked(watching(self._handle))[1]

    def failures(self) -> list[Failure]:
        """Processes that have ended without leaving the cluster, in order; see Failure.

        As far back as the latest 1,023 events of the cluster go. Reads shared memory; blocks not.
        """
        return failures_of(recorded(self._handle))

    def events(self) -> list[NodeEvent]:
        """What happened to the members, in order, as far back as the latest 1,023 events go."""
        return list(recorded(self._handle))

    def subscribe(
        self, callback: Callable[[NodeEvent], object], *, since: int | None = None
    ) -> Subscription:
        """Calls `callback(event)` for each event from now on, in order, each exactly once.

        The calls come from a daemon thread of this process that sleeps meanwhile, normally within
        a millisecond of a death. An exception of the callback goes to `sys.unraisablehook`, and the
        next event is delivered. since: from that sequence number on, as far as it can be read. Who
        is so slow that events were overwritten gets one of kind "missed" in their place. Ends by
        `close()` of what is returned, or with the cluster. From any attached process; a forked
        child gets nothing of its parent's subscriptions and subscribes itself.
        """
        made = Subscription(self._handle, callback, since)
        self._subscriptions.add(made)
        return made

    @property
    def faults(self) -> Faults:
        """Kills, pauses and damages nodes on purpose; its calls need `faults=True`: UsageError."""
        return Faults(self._handle)
