"""What can be done to a cluster: one function per kind of fault, each says what it did.

An injury draws its victim from what is there. It returns None if there is nothing that it may hurt
now: chaos goes up to what the cluster promises to survive and not beyond. So memory is damaged only
while no other damage is unhealed (two copies of a key are two; a third is not promised), and a node
is removed only while enough are left.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dsm_native.chaos.plan import Plan
from dsm_native.cluster import Cluster
from dsm_native.exceptions import NodeLostError, UsageError
from dsm_native.reports import NodeInfo

PAUSE_S = (0.02, 0.4)  # a short pause is to be forgiven, a long one to be found
BYTES_FLIPPED = (1, 64)
NODES_ADDED_MAX = 4


@dataclass(frozen=True)
class Pause:
    """A stopped process: the node's incarnation, and when it is to go on (CLOCK_MONOTONIC)."""

    incarnation: int
    until: float


@dataclass
class Victim:
    """The cluster under trial, and what was done to it so far that matters for the next injury."""

    cluster: Cluster
    draw: random.Random
    kill_client: Callable[[random.Random], int]  # and start its successor; pid of the killed
    nodes_at_first: int
    is_damaged: bool = False
    paused: dict[int, Pause] = field(default_factory=dict)  # by node

    def is_owned(self) -> bool:
        """Whether the owner lives: it finds whoever is stopped."""
        entries = self.cluster._handle.participants()
        return any(entry["kind"] == "owner" and entry["alive"] for entry in entries)

    def alive(self) -> list[NodeInfo]:
        """Nodes whose process lives and was not stopped by us."""
        return [
            node
            for node in self.cluster.nodes
            if node.state == "alive" and node.id not in self.paused
        ]


Injury = Callable[[Victim], str | None]


def check_promise(plan: Plan, cluster: Cluster) -> None:
    """UsageError if the plan goes beyond what the cluster promises: that would prove nothing."""
    copies = cluster.stats()["replication_factor"]
    if "corrupt" in plan.kinds and copies < 2:
        raise UsageError(
            f"cluster {cluster.name!r} keeps one copy of each object, and damage loses some, as "
            f"documented; choose replication_factor=2 or leave corrupt out"
        )
    ends = [kind for kind in ("kill", "stop") if kind in plan.kinds]
    if cluster.recovery == "none" and ends:
        raise UsageError(
            f"cluster {cluster.name!r} was made with recovery='none' and replaces no node; leave "
            f"{' and '.join(ends)} out"
        )


def kill(victim: Victim) -> str | None:
    """SIGKILL of a node, of several at once, or of a client."""
    nodes = victim.alive()
    if not nodes or victim.draw.random() < 0.4:
        return f"killed client {victim.kill_client(victim.draw)}"
    count = min(len(nodes), victim.draw.choice([1, 1, 1, 2]))
    chosen = victim.draw.sample(nodes, count)
    for node in chosen:
        victim.cluster.faults.kill(node.id)
    return "killed " + ", ".join(f"node {node.id} (pid {node.pid})" for node in chosen)


def stop(victim: Victim) -> str | None:
    """SIGSTOP of a node: for a moment, or until the cluster finds it."""
    nodes = victim.alive()
    if len(nodes) < (1 if victim.is_owned() else 2):  # somebody must be left to find it
        return None
    node = victim.draw.choice(nodes)
    seconds = victim.draw.uniform(*PAUSE_S) if victim.draw.random() < 0.5 else math.inf
    victim.cluster.faults.pause(node.id)
    victim.paused[node.id] = Pause(node.incarnation, time.monotonic() + seconds)
    until = f"for {seconds * 1000:.0f} ms" if seconds < math.inf else "until it is found"
    return f"stopped node {node.id} (pid {node.pid}) {until}"


def corrupt(victim: Victim) -> str | None:
    """Flipped bits, or a stretch of zeros, in a node's segment."""
    nodes = victim.alive()
    if victim.is_damaged or not nodes:
        return None
    node = victim.draw.choice(nodes)
    count = victim.draw.randint(*BYTES_FLIPPED)
    victim.is_damaged = True
    victim.cluster.faults.corrupt(node.id, flips=count, seed=victim.draw.randrange(1 << 31))
    return f"flipped {count} bits in the segment of node {node.id}"


def unlink(victim: Victim) -> str | None:
    """The file of a node's segment is removed."""
    nodes = victim.alive()
    if victim.is_damaged or len(nodes) < 2:  # the only segment stays as it is
        return None
    node = victim.draw.choice(nodes)
    try:
        victim.cluster.faults.unlink(node.id)
    except NodeLostError:  # the segment before has not been replaced yet
        return None
    victim.is_damaged = True
    return f"unlinked the segment of node {node.id}"


def add(victim: Victim) -> str | None:
    """A node more."""
    if len(victim.cluster.nodes) >= victim.nodes_at_first + NODES_ADDED_MAX:
        return None
    return f"added node {victim.cluster.add_node(weight=victim.draw.choice([0.5, 1.0, 2.0]))}"


def remove(victim: Victim) -> str | None:
    """A node less, or another one in its place; its objects move away first."""
    nodes = victim.alive()
    if len(nodes) < len(victim.cluster.nodes):
        return None
    node = victim.draw.choice(nodes)
    added = ""
    if len(nodes) <= victim.nodes_at_first:
        added = f", after adding node {victim.cluster.add_node()} in its place"
    victim.cluster.remove_node(node.id)
    return f"removed node {node.id}{added}"


INJURIES: dict[str, Injury] = {
    "kill": kill,
    "stop": stop,
    "corrupt": corrupt,
    "unlink": unlink,
    "add": add,
    "remove": remove,
}
