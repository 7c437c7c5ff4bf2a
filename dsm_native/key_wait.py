"""Waiting for a change of one key, blocking or in asyncio.

The writer rings the bell of the key's stripe if somebody waits (csrc/store/bell.h). All waits are
sliced to 50 ms, after which the key is looked at in any case.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from dsm_native._native.waiting import version_of, wait_version
from dsm_native.exceptions import KeyNotFoundError, UsageError, WaitTimeoutError

if TYPE_CHECKING:
    from dsm_native.region import Region

_SLICE_S = 0.05


def _start(region: Region, key: Any, newer_than: int | None, timeout: float | None) -> int:
    if timeout is not None and not timeout >= 0:
        raise UsageError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")
    if newer_than is None:
        return version_of(region, key)
    if type(newer_than) is not int or not 0 <= newer_than < 1 << 44:
        raise UsageError(f"newer_than must be a version, or 0, not {newer_than!r}")
    return newer_than


def _outcome(region: Region, key: Any, newer_than: int) -> tuple[Any, int] | None:
    """What a wait returns; None if it must go on, since the key came and went."""
    try:
        return region.get_versioned(key)
    except KeyNotFoundError:
        return (None, 0) if newer_than else None


def _late(region: Region, key: Any, newer_than: int, timeout: float | None) -> WaitTimeoutError:
    return WaitTimeoutError(
        f"{key!r} of region {region.name!r} had no version above {newer_than} within {timeout} s"
    )


def wait_for(
    region: Region, key: Any, newer_than: int | None, timeout: float | None
) -> tuple[Any, int]:
    """See Region.wait."""
    base = _start(region, key, newer_than, timeout)
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        version = wait_version(region, key, base, max(0.0, end - time.monotonic()))
        if version is None:
            raise _late(region, key, base, timeout)
        found = _outcome(region, key, base)
        if found is not None:
            return found


async def wait_for_async(
    region: Region, key: Any, newer_than: int | None, timeout: float | None
) -> tuple[Any, int]:
    """See Region.wait_async. A thread of the loop's executor sleeps, for one slice at a time."""
    import asyncio  # here, so that whoever never awaits does not pay for it

    base = _start(region, key, newer_than, timeout)
    loop = asyncio.get_running_loop()
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        slice_s = max(0.0, min(_SLICE_S, left))
        version = await loop.run_in_executor(None, wait_version, region, key, base, slice_s)
        if version is not None:
            found = _outcome(region, key, base)
            if found is not None:
                return found
        elif left <= slice_s:
            raise _late(region, key, base, timeout)
