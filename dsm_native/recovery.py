"""What a cluster has lost: listing it, and accepting it.

An object of which no replica was left stays as a key without a value, which reading reports by
NoReplicasAvailableError. Objects whose keys are gone as well are counted per stripe, and make every
absent key of the stripe suspect. Both last until the loss is accepted or the key is put. An array
of which no copy is left raises the same, until the loss is accepted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dsm_native._native.array_directory import array_is_lost, array_names, give_up_array
from dsm_native._native.handle import Handle
from dsm_native._native.recovery import accept_losses, counters, unknown_losses
from dsm_native.exceptions import KeyNotFoundError, NoReplicasAvailableError
from dsm_native.region import Region


@dataclass(frozen=True)
class LossReport:
    """What is lost: (region, key) of each known key; per stripe, objects lost with their keys; the
    names of arrays of which no copy is left."""

    keys: list[tuple[str, Any]]
    unknown: dict[int, int]
    arrays: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything is lost."""
        return bool(self.keys or self.unknown or self.arrays)


def find_lost(handle: Handle, regions: Iterable[Region]) -> LossReport:
    """Looks at every key if anything was ever lost, and at the files of every array."""
    keys: list[tuple[str, Any]] = []
    if counters(handle)["objects_lost"]:
        for region in regions:
            keys += [(region.name, key) for key in region if _is_lost(region, key)]
    arrays = [name for name in array_names(handle) if array_is_lost(handle, name)]
    return LossReport(keys, unknown_losses(handle), arrays)


def accept_lost(handle: Handle, regions: Iterable[Region]) -> LossReport:
    """Deletes the keys and arrays that are lost, and forgets the keys that are not known."""
    regions = list(regions)
    report = find_lost(handle, regions)
    named = {region.name: region for region in regions}
    for name, key in report.keys:
        with contextlib.suppress(KeyNotFoundError):
            if _is_lost(named[name], key):
                named[name].delete(key)
    for stripe in report.unknown:
        accept_losses(handle, stripe)
    for name in report.arrays:
        give_up_array(handle, name)
    return report


def _is_lost(region: Region, key: Any) -> bool:
    try:
        region.get_versioned(key)
    except NoReplicasAvailableError:
        return True
    except KeyNotFoundError:
        pass
    return False
