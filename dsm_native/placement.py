"""Which node a task asks for: by number, or by the key that it works on."""

from __future__ import annotations

from typing import Any

from dsm_native._native.parcel import primary_node
from dsm_native.exceptions import UsageError
from dsm_native.region import Region
from dsm_native.settings import check_count


def node_of(count: int, node: int | None, near: Any, region: Region | None) -> int:
    """The node that is asked for by number or by key; -1 for any."""
    if node is not None:
        if near is not None:
            raise UsageError("node= and near= exclude each other")
        return check_count("node", node, 0, count - 1)
    if near is None:
        return -1
    if region is None:
        raise UsageError("near= needs region=, the region of the key")
    return int(primary_node(region.handle, region.index, near))
