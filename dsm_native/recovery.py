"""What a cluster has lost: listing it, and accepting it.

An object of which no replica was left stays as a key without a value, which reading reports by
NoReplicasAvailableError. Objects whose keys are gone as well are counted per stripe, and make every
absent key of the stripe suspect. Both last until the loss is accepted or the key is put.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native._native.recovery import accept_losses, counters, unknown_losses
from dsm_native.exceptions import KeyNotFoundError, NoReplicasAvailableError
from dsm_native.region import Region


@dataclass(frozen=True)
class LossReport:
    """What is lost: (region, key) of each known key; per stripe, objects lost with their keys."""

    keys: list[tuple[str, Any]]
    unknown: dict[int, int]

    def __bool__(self) -> bool:
        """Whether anything is lost."""
        return bool(self.keys or self.unknown)


def find_lost(handle: Handle, regions: Iterable[Region]) -> LossReport:
    """Looks at every key if anything was ever lost. Takes no lock."""
    keys: list[tuple[str, Any]] = []
    if counters(handle)["objects_lost"]:
        for region in regions:
            keys += [(region.name, key) for key in region if _is_lost(region, key)]
    return LossReport(keys, unknown_losses(handle))


def accept_lost(handle: Handle, regions: Iterable[Region]) -> LossReport:
    """Deletes the keys that are lost, and forgets those that are not known."""
    regions = list(regions)
    report = find_lost(handle, regions)
    named = {region.name: region for region in regions}
    for name, key in report.keys:
        with contextlib.suppress(KeyNotFoundError):
            if _is_lost(named[name], key):
                named[name].delete(key)
    for stripe in report.unknown:
        accept_losses(handle, stripe)
    return report


def _is_lost(region: Region, key: Any) -> bool:
    try:
        region.get_versioned(key)
    except NoReplicasAvailableError:
        return True
    except KeyNotFoundError:
        pass
    return False
