"""Which node a task asks for: by number, or by the key that it works on."""

from __future__ import annotations

from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.nodes import node_state, node_table
from dsm_native._native.parcel import primary_node
from dsm_native.exceptions import UsageError
from dsm_native.region import Region


def node_of(handle: Handle, node: int | None, near: Any, region: Region | None) -> int:
    """The node that is asked for by number or by key; -1 for any.

    A node that is being removed takes no more tasks: asked for by number it is an error, and what
    is near to a key that it still holds may run anywhere.
    """
    if node is not None:
        if near is not None:
            raise UsageError("node= and near= exclude each other")
        if type(node) is not int or node_state(handle, node) not in ("up", "lost"):
            table = node_table(handle)
            serving = sorted(known for known, entry in table.items() if entry[0] in ("up", "lost"))
            parting = ", which is being removed" if type(node) is int and node in table else ""
            raise UsageError(f"node must be one of {serving}, not {node!r}{parting}")
        return node
    if near is None:
        return -1
    if region is None:
        raise UsageError("near= needs region=, the region of the key")
    found = int(primary_node(region.handle, region.index, near))
    return found if node_state(handle, found) == "up" else -1
