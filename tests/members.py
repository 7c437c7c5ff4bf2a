"""What tests of membership ask of a cluster: who lives, what was recorded of whom."""

from __future__ import annotations

from collections.abc import Iterable

import dsm_native as dsm

HASTY = dsm.Detection(heartbeat_ms=20, suspect_ms=200, timeout_ms=600)


def kinds(events: Iterable[dsm.NodeEvent], node: int | None = None) -> list[str]:
    """Kinds of the events (of a node), in order."""
    return [event.kind for event in events if node is None or event.node == node]


def node_of(cluster: dsm.Cluster, node: int) -> dsm.NodeInfo:
    """What the cluster tells of a node."""
    return next(info for info in cluster.nodes if info.id == node)


def serving(cluster: dsm.Cluster, node: int, incarnation: int) -> bool:
    """Whether that incarnation of the node, or a later one, has said that it serves."""
    told = ("joined", "replaced")
    return any(
        event.kind in told and event.node == node and event.incarnation >= incarnation
        for event in cluster.events()
    )
