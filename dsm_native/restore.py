"""Restoring a cluster from a checkpoint, and verifying one without a cluster.

A restored cluster has the hashes and stripes of the saved one, so objects keep their stripes and
their versions, and no version is given twice; how many nodes and copies there are is chosen anew.
Every frame is verified before anything in it is used; nothing is unpickled here at all. Nobody can
attach before all is there, and a restoration that fails leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsm_native._native.frames import record_at, sorted_marks
from dsm_native._native.handle import Handle
from dsm_native._native.reload import Reloader
from dsm_native.checkpoint_chain import each_opened, opened
from dsm_native.checkpoint_directory import manifests, path_of
from dsm_native.checkpoint_frames import (
    ARRAY,
    BEGIN,
    END,
    GENS,
    LIVE,
    OBJECTS,
    REGIONS,
    TILE,
    TILES,
    VALUE,
    Frame,
    FrameReader,
    begin_of,
)
from dsm_native.cluster import Cluster
from dsm_native.exceptions import CorruptError, DSMError, UsageError
from dsm_native.restore_arrays import ArrayLoader

REGIONS_MAX = 256


class Loader:
    """Fills a new, empty cluster from the files of a chain, the newest first."""

    def __init__(self, readers: list[FrameReader]) -> None:
        self._readers = readers
        self._first = readers[0].next()
        self.began = begin_of(readers[0], self._first)
        self._marks: dict[int, bytearray] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._fresh: dict[int, bytearray] = {}
        self._gens = bytearray()
        self._value: bytearray | None = None
        self._head = b""
        self._reloader: Reloader | None = None

    def fill(self, handle: Handle) -> None:
        """All of it, or an error."""
        self._handle = handle
        arrays = ArrayLoader(handle, self.began["replicas"])
        before = ""
        for index, reader in enumerate(self._readers):
            content = begin_of(reader, reader.next()) if index else self.began
            if content["cluster"] != self.began["cluster"] or content["seed"] != self.began["seed"]:
                raise reader.damaged("a file of another cluster, before the one")
            if index and before != f"{reader.file:016x}":
                raise reader.damaged(f"not the file {before!r} that a newer one builds on, before")
            before = content["before"]
            arrays.next_file(reader)
            for frame in reader.all():
                self._take(reader, frame, index, arrays)
            for stripe, marks in self._fresh.items():
                self._marks.setdefault(stripe, marks)
            self._fresh = {}
        if before:
            raise self._readers[-1].damaged(f"file {before!r}, on which this builds, is not given")
        if self._reloader is None:
            raise self._readers[0].damaged("no table of regions; the file ends")
        self._reloader.raise_generations(self._gens)
        arrays.finish()

    def _take(self, reader: FrameReader, frame: Frame, index: int, arrays: ArrayLoader) -> None:
        kind = frame.kind
        if kind in (OBJECTS, VALUE, LIVE):
            if self._reloader is None:
                raise reader.damaged("an object before the table of regions, before the one")
            try:
                self._take_objects(self._reloader, reader, frame)
            except CorruptError as error:
                raise CorruptError(f"{reader.name}: {error}, at offset {frame.offset:,}") from None
        elif kind == REGIONS and index == 0:
            self._make_regions(reader, frame)
        elif kind == GENS and index == 0:
            self._gens += frame.payload
        elif kind in (ARRAY, TILE, TILES):
            arrays.take(frame)
        elif kind == BEGIN:
            raise reader.damaged("a second beginning, before the one")
        elif kind not in (REGIONS, GENS, END):
            raise reader.damaged(f"a frame of kind {kind}, before the one")

    def _take_objects(self, reloader: Reloader, reader: FrameReader, frame: Frame) -> None:
        stripe = frame.subject
        if frame.kind == OBJECTS:
            reloader.put(stripe, frame.payload, self._marks.get(stripe))
        elif frame.kind == VALUE:
            self._take_value(reloader, frame)
        else:
            self._parts.setdefault(stripe, []).append(bytes(frame.payload))
            if frame.first:
                marks = sorted_marks(self._parts.pop(stripe))
                if marks is None:
                    raise CorruptError("a mark is cut")
                self._fresh[stripe] = marks

    def _take_value(self, reloader: Reloader, frame: Frame) -> None:
        found = record_at(frame.payload, 0, False)
        if found is None:
            raise CorruptError("a part of a value without its record")
        *_, start, size = found
        if frame.first == 0:
            self._value, self._head = bytearray(), bytes(frame.payload[:start])
        if (
            self._value is None
            or frame.first != len(self._value)
            or bytes(frame.payload[:start]) != self._head
            or frame.first + len(frame.payload) - start > size
        ):
            raise CorruptError("parts of a value do not follow each other")
        self._value += frame.payload[start:]
        if len(self._value) == size:
            reloader.put_value(
                frame.subject, self._head, self._value, self._marks.get(frame.subject)
            )
            self._value = None

    def _make_regions(self, reader: FrameReader, frame: Frame) -> None:
        table = reader.text(frame)
        if type(table) is not list or not 1 <= len(table) <= REGIONS_MAX or self._reloader:
            raise reader.damaged("the table of regions makes no sense, before the one")
        counts = []
        for number, entry in enumerate(table):
            name = reader.field(entry, "name", str)
            saved = reader.field(entry, "replicas", int, 1, 5)
            pickles = reader.field(entry, "allow_pickle", bool)
            replicas = replicas_of(saved, self.began["replicas"], self._handle.replicas)
            index, _, _ = self._handle.open_region(name, replicas, pickles, True)
            if index != number:
                raise reader.damaged(f"two regions {name!r}, before the one")
            counts.append(replicas)
        self._reloader = Reloader(self._handle, counts)


def replicas_of(saved: int, factor_then: int, factor_now: int) -> int:
    """What had as many copies as the cluster could give gets as many as it can now."""
    return factor_now if saved == factor_then else min(saved, factor_now)


def restore(
    source: Any,
    nodes: int | None = None,
    replication_factor: int | None = None,
    name: str | None = None,
    *,
    allow_previous: bool = False,
    **options: Any,
) -> Cluster:
    """Starts a cluster that holds what a checkpoint holds, versions included.

    source: a directory of `Cluster.checkpoint`, or a file or anything with read(size) that holds a
    stream; it need not be seekable. nodes, replication_factor: any; default: as saved. Regions and
    arrays that had the saved factor get the new one, others keep theirs, at most the new one.
    options: as for `Cluster`, but for `stripes`, which are the saved ones.

    CorruptError, which names file and offset, if anything does not verify: then no cluster is
    left. allow_previous: of a directory, the newest checkpoint before that restores is taken then.
    Blocks; about as long as reading the files takes.
    """
    if "stripes" in options:
        raise UsageError("stripes are those of the saved cluster, so that versions stay true")
    older = 0
    if allow_previous and not hasattr(source, "read") and os.path.isdir(path_of(source)):
        older = max(len(manifests(path_of(source))) - 1, 0)
    for skip in range(older):
        with contextlib.suppress(CorruptError, OSError):
            return _restore(source, skip, nodes, replication_factor, name, options)
    return _restore(source, older, nodes, replication_factor, name, options)


def _restore(
    source: Any,
    skip: int,
    nodes: int | None,
    replication_factor: int | None,
    name: str | None,
    options: dict[str, Any],
) -> Cluster:
    with opened(source, skip) as readers:
        loader = Loader(readers)
        began = loader.began
        count = began["nodes"] if nodes is None else nodes
        factor = replication_factor
        if factor is None:
            factor = min(began["replicas"], count) if isinstance(count, int) else None
        return Cluster(
            count, factor, name, stripes=began["stripes"], _seed=began["seed"],
            _fill=loader.fill, **options,
        )  # fmt: skip


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found: files and frames that were read, bytes, and every problem as a text."""

    files: int
    frames: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether everything verified."""
        return not self.problems


def verify(source: Any, tell: Callable[[str], object] | None = None) -> VerifyReport:
    """Reads a whole checkpoint and checks every byte of it, without a cluster.

    source: as for `restore`; of a directory, both generations. tell: is called with the name of
    each file before it is read. Problems are collected, not raised.
    """
    problems: list[str] = []
    totals = [0, 0, 0]
    seen: set[str] = set()
    try:
        with each_opened(source) as chains:
            if not chains:
                problems.append(f"{path_of(source)}: no checkpoint is in it")
            for readers in chains:
                if isinstance(readers, Exception):
                    problems.append(str(readers))
                    continue
                try:
                    _verify_chain(readers, seen, totals, problems, tell)
                except (DSMError, OSError) as error:
                    problems.append(str(error))
    except OSError as error:
        problems.append(str(error))
    return VerifyReport(totals[0], totals[1], totals[2], tuple(dict.fromkeys(problems)))


def _verify_chain(
    readers: list[FrameReader],
    seen: set[str],
    totals: list[int],
    problems: list[str],
    tell: Callable[[str], object] | None,
) -> None:
    before: str | None = None
    for reader in readers:
        first = reader.next()
        began = begin_of(reader, first)
        if before is not None and before != f"{reader.file:016x}":
            problems.append(f"{reader.name}: not the file {before!r} on which a newer one builds")
        before = began["before"]
        if reader.name in seen:
            continue
        seen.add(reader.name)
        if tell is not None:
            tell(reader.name)
        totals[0] += 1
        totals[1] += 1
        try:
            for frame in reader.all():
                totals[1] += 1
                if frame.kind == OBJECTS:
                    at: int = 0
                    while (record := record_at(frame.payload, at, True)) is not None:
                        at = record[0]
        except CorruptError as error:
            problems.append(str(error))
        totals[2] += reader.offset
    if before:
        problems.append(f"{readers[-1].name}: builds on file {before!r}, which is not there")
