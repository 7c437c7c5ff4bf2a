"""Nodes that are added and removed, and the rebalance that follows.

A part of `Cluster` in a file of its own. What is asked for is written into shared memory, and the
keeper of the cluster (its owner, else the living node with the lowest id) does it; so whoever asks
may go, or be killed, and all that is done here afterwards is to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.nodes import (
    WEIGHT_MAX,
    WEIGHT_ONE,
    add_node,
    balance_state,
    drain_node,
    node_state,
    node_table,
    set_pace,
    weigh_node,
)
from dsm_native.exceptions import NodeLostError, UsageError, WaitTimeoutError
from dsm_native.settings import START_TIMEOUT_S, check_count, check_seconds

LOOK_S = 0.005
PACE_MAX = 1 << 50
NO_STRIPE = (1 << 32) - 1


@dataclass(frozen=True)
class Rebalance:
    """How far the rebalance has come, since the nodes last changed."""

    done: bool
    stripes_left: int  # whose route is not yet what it is to be
    moved_stripes: int
    moved_objects: int
    moved_bytes: int
    blocked: int  # stripes that could not be moved now; they are tried again and again
    reason: str  # why, of one of them: which stripe, and which process has it


class Elastic:
    """The methods of `Cluster` that change which nodes there are."""

    _handle: Handle

    def add_node(self, weight: float = 1.0) -> int:
        """Starts one more node and gives it its share of all objects; returns its id.

        weight: its share in relation to other nodes, 0.001 to 65.5. Returns once the node's process
        runs tasks; objects move to it in the background, see `rebalance`. The id is the lowest that
        is free. From any attached process. Blocks for about as long as a Python process takes to
        start. LimitError beyond 63 nodes, StoreFullError, NodeLostError if it cannot be started.
        """
        handle = self._handle
        node = add_node(handle, _thousandths(weight))
        if not _wait(lambda: _serving(handle, node), START_TIMEOUT_S):
            drain_node(handle, node)
            raise NodeLostError(
                f"node {node} of cluster {handle.name!r} was not ready within "
                f"{START_TIMEOUT_S:g} s{_absent_keeper(handle)}; it is being removed"
            )
        return node

    def remove_node(self, node: int, *, timeout: float = 60.0) -> None:
        """Moves everything away from a node, lets its tasks finish, and ends it.

        It takes no new tasks from now on, and those that it has not begun run elsewhere. Objects
        are read and written all the while; views stay valid. Afterwards its id is free. From any
        attached process. Blocks, at most `timeout` seconds; then WaitTimeoutError says what it
        waits for, and the removal goes on by itself. UsageError for an id that is none, and if
        fewer nodes than replication_factor would be left.
        """
        handle = self._handle
        if type(node) is not int or node not in node_table(handle):
            raise UsageError(f"node must be one of {sorted(node_table(handle))}, not {node!r}")
        timeout = check_seconds("timeout", timeout)
        build = node_table(handle)[node][2]
        drain_node(handle, node)

        def gone() -> bool:
            entry = node_table(handle).get(node)
            return entry is None or entry[2] != build

        if not _wait(gone, timeout):
            state = node_state(handle, node)
            why = self.rebalancing.reason if state == "draining" else "its tasks have not ended"
            raise WaitTimeoutError(
                f"node {node} of cluster {handle.name!r} is {state} after {timeout:g} s: "
                f"{self.rebalancing.stripes_left} stripes are still to be moved"
                f"{'; ' + why if why else ''}{_absent_keeper(handle)}. The removal goes on"
            )

    def set_weight(self, node: int, weight: float) -> None:
        """Changes a node's share of the objects; they move in the background. UsageError."""
        check_count("node", node, 0, 62)
        weigh_node(self._handle, node, _thousandths(weight))

    def rebalance(
        self,
        *,
        progress: Callable[[int], None] | bool | None = None,
        bytes_per_s: int | None = None,
        timeout: float | None = None,
    ) -> Rebalance:
        """Waits until everything is where it is to be; returns what was moved.

        The rebalance itself begins with each change of the nodes, in the background. progress: True
        shows a bar on standard error; a function is called with the number of stripes that have
        come to their place since its last call. bytes_per_s: changes how much may be copied in a
        second, for this cluster from now on; 0 for the default, 100 MiB. timeout: seconds, then
        WaitTimeoutError, which names a stripe that is held up and by whom; what can be moved is.
        """
        if bytes_per_s is not None:
            set_pace(self._handle, check_count("bytes_per_s", bytes_per_s, 0, PACE_MAX))
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        if not (progress is None or type(progress) is bool or callable(progress)):
            raise UsageError(f"progress must be True, False or a function, not {progress!r}")
        if progress is not True:
            return self._wait_balanced(progress or None, timeout)
        from dsm_native.progress import Bar

        with Bar(self.rebalancing.stripes_left, "stripes") as bar:
            return self._wait_balanced(bar.advance, timeout)

    @property
    def rebalancing(self) -> Rebalance:
        """How far the rebalance has come, as of about now."""
        state = balance_state(self._handle)
        return Rebalance(
            done=state["done"],
            stripes_left=state["stripes_left"],
            moved_stripes=state["moved_stripes"],
            moved_objects=state["moved_objects"],
            moved_bytes=state["moved_bytes"],
            blocked=state["blocked"],
            reason=_reason(state),
        )

    def _wait_balanced(
        self, advance: Callable[[int], None] | None, timeout: float | None
    ) -> Rebalance:
        left = self.rebalancing.stripes_left

        def done() -> bool:
            nonlocal left
            now = self.rebalancing
            if advance is not None and now.stripes_left < left:
                advance(left - now.stripes_left)
            left = now.stripes_left
            return now.done

        if not _wait(done, timeout):
            now = self.rebalancing
            raise WaitTimeoutError(
                f"cluster {self._handle.name!r} is not balanced after {timeout:g} s: "
                f"{now.stripes_left} stripes are still to be moved"
                f"{'; ' + now.reason if now.reason else ''}{_absent_keeper(self._handle)}"
                f". It goes on"
            )
        return self.rebalancing


def _reason(state: dict[str, Any]) -> str:
    if not state["blocked"]:
        return ""
    stripe = state["blocked_stripe"]
    what = f"stripe {stripe}" if stripe < NO_STRIPE else "the node's memory or the registry"
    text = f"{what}: {state['blocked_why']}"
    if state["blocked_by"] is not None:
        pid, letter = state["blocked_by"]
        stopped = ", which is stopped" if letter in "Tt" else ""
        text += f", held by pid {pid} (state {letter}){stopped}"
    return text


def _absent_keeper(handle: Handle) -> str:
    """Who should do it and does not, for messages: a stopped owner is left alone."""
    for entry in handle.participants():
        if entry["kind"] == "owner" and entry["alive"]:
            letter = entry["process_state"]
            if letter in ("T", "t"):
                return f"; the owner, pid {entry['pid']}, is stopped (state {letter})"
    return ""


def _thousandths(weight: float) -> int:
    good = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not good or not 0.001 <= weight <= WEIGHT_MAX / WEIGHT_ONE:
        raise UsageError(
            f"weight must be a number from 0.001 to {WEIGHT_MAX / WEIGHT_ONE:g}, not {weight!r}"
        )
    return max(1, round(weight * WEIGHT_ONE))


def _serving(handle: Handle, node: int) -> bool:
    for entry in handle.participants():
        if entry["node"] == node:
            return bool(entry["alive"] and entry["ready"])
    return False


def _wait(done: Callable[[], bool], timeout: float | None) -> bool:
    """Looks again and again; False when the time is over. ClosedError once the cluster stops."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not done():
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_S)
    return True
