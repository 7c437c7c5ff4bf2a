"""Checking all objects, and waiting for what only the keeper can mend."""

from __future__ import annotations

import time

from dsm_native._native.handle import Handle

PAUSE_S = 0.05


def check_objects(
    handle: Handle, repair: bool, replaces: bool
) -> tuple[int, int, int, int, int, list[str]]:
    """(stripes, objects, value bytes, problems, repaired, texts); see `Cluster.check`.

    replaces: whether the cluster has segments replaced that are beyond mending. If some are and
    `repair`, waits for that, at most lock_timeout, and mends what remains.
    """
    stripes, objects, value_bytes, problems, repaired, texts, broken = handle.check(repair)
    if broken and repair and replaces:
        deadline = time.monotonic() + handle.lock_timeout
        left = broken
        while left and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
            left = handle.check(False)[6]
        stripes, objects, value_bytes, _, rest, _, left = handle.check(True)
        repaired += rest + max(broken - left, 0)
    return stripes, objects, value_bytes, problems, repaired, texts
