"""What a cluster holds: regions of objects, shared arrays, and transactions over the objects.

A part of `Cluster` in a file of its own. Item access on the cluster is item access on its region
`default`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from dsm_native._native.handle import Handle
from dsm_native.arrays import Array, array_names, open_array
from dsm_native.exceptions import (
    CorruptError,
    KeyNotFoundError,
    NoReplicasAvailableError,
    UsageError,
)
from dsm_native.region import Region
from dsm_native.settings import OWN_REGIONS, check_count, check_region_name
from dsm_native.transaction import Result, Transaction


class Contents:
    """The methods of `Cluster` that open regions and arrays and reach the objects."""

    _handle: Handle
    _regions: dict[str, Region]
    default: Region

    @property
    def name(self) -> str:
        """The name by which other processes attach."""
        return self._handle.name

    def region(
        self,
        name: str,
        *,
        consistency: str = "strong",
        replication_factor: int | None = None,
        allow_pickle: bool | None = None,
    ) -> Region:
        """Opens the region of that name, or creates it.

        consistency: "strong", the one level of this version. replication_factor: at most the
        cluster's, which is the default. allow_pickle: whether values of other types than `None`,
        `bool`, `int`, `float`, `str`, `bytes` and arrays are accepted (default True). Settings that
        differ from those of the existing region raise UsageError; left out, they are taken from it.
        """
        if consistency != "strong":
            raise UsageError(f"consistency must be 'strong', not {consistency!r}")
        check_region_name(name)
        replicas = self._handle.replicas
        known = self._regions.get(name)
        if known is not None and replication_factor is None and allow_pickle is None:
            return known
        if replication_factor is not None:
            check_count("replication_factor", replication_factor, 1, replicas)
        index, actual, pickles = self._handle.open_region(
            name,
            replicas if replication_factor is None else replication_factor,
            allow_pickle is not False,
            False,
        )
        for label, asked, has in (
            ("replication_factor", replication_factor, actual),
            ("allow_pickle", allow_pickle, pickles),
        ):
            if asked is not None and asked != has:
                raise UsageError(f"region {name!r} exists with {label}={has}, not {asked}")
        region = Region(self._handle, name, index, actual, pickles)
        self._regions[name] = region
        return region

    def array(
        self,
        name: str,
        shape: int | Iterable[int] | None = None,
        dtype: Any = None,
        *,
        order: str | None = None,
        tile_rows: int | None = None,
        replication_factor: int | None = None,
        undo: bool | None = None,
    ) -> Array:
        """Opens the shared array of that name, or creates it, zeroed, if a shape is given.

        shape: an int or a tuple of ints, which may be empty or hold zeros. dtype: any numpy dtype
        of fixed size, structured ones included (default "f8"). order: "C" (default) or "F".
        tile_rows: rows of a tile, the unit of locking; default: as many as make about 256 KiB.
        replication_factor: copies, at most the cluster's, which is the default. undo: whether a
        kill of a writer restores (default) or leaves its tiles torn. Settings that differ from
        those of the existing array raise UsageError; left out, they are taken from it. All memory
        is taken at once: StoreFullError. Waits while another process makes or resizes it.
        """
        check_region_name(name, "an array")
        if order not in (None, "C", "F"):
            raise UsageError(f"order must be 'C' or 'F', not {order!r}")
        if tile_rows is not None:
            check_count("tile_rows", tile_rows, 1, 1 << 40)
        replicas = self._handle.replicas
        if replication_factor is not None:
            check_count("replication_factor", replication_factor, 1, replicas)
        settings = {
            "order": order,
            "tile_rows": tile_rows,
            "replication_factor": replication_factor,
            "undo": undo,
        }
        return open_array(self._handle, replicas, name, shape, dtype, settings)

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays, sorted."""
        return array_names(self._handle)

    def _each_array(self) -> Iterable[Array]:
        for name in self.arrays:
            # It was deleted meanwhile, or it is damaged, which is for check() to tell.
            with contextlib.suppress(KeyNotFoundError, CorruptError, NoReplicasAvailableError):
                yield self.array(name)

    @property
    def regions(self) -> list[str]:
        """Names of the regions, in order of creation."""
        names = self._handle.region_names()
        return [name for name in names if not name.startswith(OWN_REGIONS)]

    def __getitem__(self, key: Any) -> Any:
        return self.default[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.default[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.default[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.default

    __iter__ = None  # item access alone would make a cluster look iterable

    def transaction(self, *, timeout: float | None = None) -> Transaction:
        """One over `default` and, by its `region(other)`, over all. See Region.transaction."""
        return self.default.transaction(timeout=timeout)

    def transact(self, function: Callable[[Transaction], Result], **options: Any) -> Result:
        """Runs function(transaction) and commits, again if it must. See Region.transact."""
        return self.default.transact(function, **options)

    def _all_regions(self) -> list[Region]:
        return [self.region(name) for name in self.regions]
