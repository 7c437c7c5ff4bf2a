"""Checking all objects, and waiting for what only the keeper can mend."""

from __future__ import annotations

import time

from dsm_native._native.check import check_segments
from dsm_native._native.handle import Handle
from dsm_native._native.sync import check_named
from dsm_native.reports import CheckReport

PAUSE_S = 0.05


def check_objects(handle: Handle, repair: bool, replaces: bool) -> CheckReport:
    """What lies in the nodes' segments; see `Cluster.check`.

    replaces: whether the cluster has segments replaced that are beyond mending. If some are and
    `repair`, waits for that, at most lock_timeout, and mends what remains.
    """
    stripes, objects, value_bytes, problems, repaired, texts, repairs, broken = check_segments(
        handle, repair
    )
    if broken and repair and replaces:
        deadline = time.monotonic() + handle.lock_timeout
        left = broken
        while left and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
            left = check_segments(handle, False)[7]
        stripes, objects, value_bytes, _, rest, _, more, left = check_segments(handle, True)
        gone = max(broken - left, 0)
        repaired += rest + gone
        repairs += more + [f"segment beyond mending was replaced ({gone} in all)"] * (gone > 0)
    return CheckReport(stripes, objects, value_bytes, problems, repaired, texts, repairs)


def check_synchronisation(handle: Handle, repair: bool) -> tuple[int, int, list[str], list[str]]:
    """(problems, repaired, texts, texts of repairs) of locks, queues and their like."""
    texts, repairs = check_named(handle, repair)
    return len(texts), len(repairs), texts, repairs
