"""Looking single objects up in a checkpoint, and putting lost ones back into a running cluster.

A checkpoint is opened by reading the heads of its frames; a look-up then reads and verifies the
frames of one stripe. Nothing is unpickled but the value that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from dsm_native._native.frames import FRAME_HEAD_BYTES, frame_head, frame_room, record_at
from dsm_native._native.frames import sorted_marks as sort_marks
from dsm_native._native.handle import Handle
from dsm_native._native.reload import Reloader, key_of, place_of, seed_of, value_of
from dsm_native.checkpoint_chain import open_latest, open_numbered, reader_of
from dsm_native.checkpoint_directory import ChainFile, path_of
from dsm_native.checkpoint_frames import (
    END,
    LIVE,
    OBJECTS,
    REGIONS,
    VALUE,
    Frame,
    FrameReader,
    begin_of,
    marked,
)
from dsm_native.exceptions import CorruptError, KeyNotFoundError, UsageError
from dsm_native.settings import OWN_REGIONS

if TYPE_CHECKING:
    from dsm_native.cluster import Cluster


class SavedObject(NamedTuple):
    """One object as it was saved; `value` decodes it."""

    region: str
    key: Any
    version: int
    codec: int
    data: bytes

    @property
    def value(self) -> Any:
        """The value; unpickled, if it was pickled."""
        return value_of(self.codec, bytearray(self.data))


class _File:
    """One file of a chain: where the frames of each stripe stand."""

    def __init__(self, file: IO[bytes], name: str, entry: ChainFile | None) -> None:
        self.file, self.name = file, name
        self.places: dict[int, list[int]] = {}
        reader = reader_of(file, name, entry)
        self.began = begin_of(reader, reader.next())
        self.number = reader.file
        self.regions: list[dict[str, Any]] = []
        self.lost = 0
        offset = reader.offset
        while True:
            file.seek(offset)
            head = frame_head(file.read(FRAME_HEAD_BYTES), offset, self.number)
            if head is None:
                raise CorruptError(f"{name}: no frame of this file at offset {offset:,}")
            kind, size, subject = head[:3]
            if kind in (OBJECTS, VALUE, LIVE):
                self.places.setdefault(subject, []).append(offset)
            elif kind == REGIONS:
                self.regions = reader.text(self.frame(offset))
            elif kind == END:
                self.lost = int(reader.text(self.frame(offset)).get("lost", "0"), 16)
                return
            offset += frame_room(size)

    def frame(self, offset: int) -> Frame:
        """The verified frame that stands there."""
        self.file.seek(offset)
        return FrameReader(self.file.read, self.name, offset, self.number).next()


class SavedCheckpoint:
    """A checkpoint in a directory, or in a seekable file, opened for reading. Close it, or `with`.

    number: which one of the directory; default: the newest. CorruptError, which names file and
    offset, as soon as something that is needed does not verify; UsageError if there is none.
    """

    def __init__(self, path: str | os.PathLike[str], number: int | None = None) -> None:
        with ExitStack() as stack:
            source = path_of(path)
            if number is None:
                files = open_latest(stack, source)
            else:
                files = open_numbered(stack, source, number)
            self._files = [_File(file, name, entry) for file, name, entry in files]
            self._stack = stack.pop_all()
        self._began = self._files[0].began
        self._names = [entry["name"] for entry in self._files[0].regions]

    @property
    def regions(self) -> list[str]:
        """Names of the regions whose objects are saved."""
        return [name for name in self._names if not name.startswith(OWN_REGIONS)]

    @property
    def stripes(self) -> int:
        """Number of stripes."""
        return int(self._began["stripes"])

    @property
    def number(self) -> int:
        """Its number in its directory, 0 for a stream."""
        return int(self._began["number"])

    @property
    def taken_at(self) -> float:
        """When it was begun, in seconds since the epoch."""
        return float(self._began["taken_at"])

    def lacks(self, stripe: int) -> bool:
        """Whether objects of the stripe were lost, and not accepted as lost, when it was taken."""
        return bool(self._files[0].lost >> stripe & 1)

    def find(self, region: str, key: Any) -> SavedObject:
        """The object of that key. KeyNotFoundError if it was absent at the checkpoint's instant."""
        if region not in self._names:
            raise KeyNotFoundError(key)
        index = self._names.index(region)
        stripe, _, kind, encoded = place_of(key, index, self._began["seed"], self.stripes)
        for version, place, codec, data in self._records(stripe, (index, kind, encoded)):
            return SavedObject(region, key_of(place[1], place[2]), version, codec, data)
        raise KeyNotFoundError(key)

    def objects(self, stripe: int) -> Iterator[SavedObject]:
        """All objects of a stripe, each once."""
        seen = set()
        for version, place, codec, data in self._records(stripe, None):
            if place not in seen:
                seen.add(place)
                key = key_of(place[1], place[2])
                yield SavedObject(self._names[place[0]], key, version, codec, data)

    def _sections(self, stripe: int) -> Iterator[tuple[list[Frame], bytearray | None]]:
        """Frames with objects of the stripe, the newest file first, and the marks that count."""
        marks: bytearray | None = None
        for file in self._files:
            frames = [file.frame(offset) for offset in file.places.get(stripe, [])]
            yield [frame for frame in frames if frame.kind != LIVE], marks
            own = [bytes(frame.payload) for frame in frames if frame.kind == LIVE]
            if own and marks is None:
                marks = sort_marks(own)

    def _records(
        self, stripe: int, wanted: tuple[int, int, bytes] | None
    ) -> Iterator[tuple[int, tuple[int, int, bytes], int, bytes]]:
        """(version, (region, kind, key), codec, value bytes), the newest first."""
        for frames, marks in self._sections(stripe):
            large = bytearray()
            for frame in frames:
                at = 0
                while (found := record_at(frame.payload, at, frame.kind == OBJECTS)) is not None:
                    after, version, region, kind, codec, key, start, size = found
                    at = after if frame.kind == OBJECTS else len(frame.payload)
                    place = (region, kind, key)
                    if region >= len(self._names):
                        raise CorruptError(
                            f"region {region} is unknown, at offset {frame.offset:,}"
                        )
                    if wanted not in (None, place) or not self._lives(marks, version, place):
                        continue
                    data = bytes(frame.payload[start : start + size])
                    if frame.kind == VALUE:
                        large = bytearray() if frame.first == 0 else large
                        large += data
                        if len(large) < size:
                            continue
                        data = bytes(large)
                    yield version, place, codec, data

    def _lives(self, marks: bytearray | None, version: int, place: tuple[int, int, bytes]) -> bool:
        if marks is None:
            return True
        key = key_of(place[1], place[2])
        hashed = place_of(key, place[0], self._began["seed"], self.stripes)[1]
        return marked(marks, version, hashed)

    def recover(self, cluster: Cluster, stripes: Iterable[int] | None = None) -> int:
        """Puts back what the cluster does not have; how many objects that were.

        stripes: only of these, default: all. The cluster must be the one that was saved, or be
        restored from this checkpoint. What was deleted since comes back as well, so this is for
        stripes whose objects were lost. Each object is put like a new one: only if its key is
        absent, and with a new version, since others may have seen a later one of the lost.
        """
        reloader = self.reloader(cluster._handle, anew=True)
        for stripe in range(self.stripes) if stripes is None else stripes:
            self.put_back(reloader, stripe)
        return int(reloader.objects)

    def reloader(self, handle: Handle, *, anew: bool = False, lost: bool = False) -> Reloader:
        """What puts objects back into a cluster. UsageError if it is not the one that was saved."""
        names = handle.region_names()
        if names[: len(self._names)] != self._names or handle.stripes != self.stripes:
            raise UsageError(f"cluster {handle.name!r} has other regions or stripes than the saved")
        if seed_of(handle) != self._began["seed"]:
            raise UsageError(
                f"cluster {handle.name!r} is neither the one that was saved nor restored from it"
            )
        replicas = [handle.open_region(name, 1, True, False)[1] for name in self._names]
        return Reloader(handle, replicas, anew, lost)

    def put_back(self, reloader: Reloader, stripe: int) -> None:
        """All objects of a stripe, as far as the reloader takes them."""
        for frames, marks in self._sections(stripe):
            self._put(reloader, stripe, frames, marks)

    def _put(
        self, reloader: Reloader, stripe: int, frames: list[Frame], marks: bytearray | None
    ) -> None:
        value = bytearray()
        for frame in frames:
            if frame.kind == OBJECTS:
                reloader.put(stripe, frame.payload, marks)
                continue
            found = record_at(frame.payload, 0, False)
            assert found is not None  # a VALUE frame that verified
            *_, start, size = found
            value = bytearray() if frame.first == 0 else value
            value += frame.payload[start:]
            if len(value) == size:
                reloader.put_value(stripe, frame.payload[:start], value, marks)

    def close(self) -> None:
        """Closes the files. Idempotent."""
        self._stack.close()

    def __enter__(self) -> SavedCheckpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
