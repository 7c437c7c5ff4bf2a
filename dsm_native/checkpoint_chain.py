"""Opening the files of a checkpoint, in a directory to which others may go on writing.

A manifest that is swept away between looking at it and opening its files is a `SweptError`: whoever
reads turns to those that are there now. Once its files are open they can be read to the end. Files
that are missing or are no files while the manifest is there are damage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from dsm_native.checkpoint_directory import ChainFile, manifests, path_of, read_manifest
from dsm_native.checkpoint_frames import FrameReader
from dsm_native.exceptions import CorruptError, UsageError

BUFFER_BYTES = 1 << 20


class SweptError(Exception):
    """The manifest is no longer there: newer checkpoints have taken its place."""


def open_chain(stack: ExitStack, manifest: str) -> list[tuple[IO[bytes], str, ChainFile]]:
    """(file, path, what the manifest tells of it), the newest first, for the stack to close."""
    files: list[tuple[IO[bytes], str, ChainFile]] = []
    try:
        for entry in reversed(read_manifest(manifest).files):
            name = os.path.join(os.path.dirname(manifest), entry.name)
            file = open(name, "rb", buffering=BUFFER_BYTES)  # noqa: SIM115
            stack.callback(file.close)
            files.append((file, name, entry))
            size = os.fstat(file.fileno()).st_size
            if size != entry.bytes:
                raise CorruptError(
                    f"{name}: {size:,} bytes, of which the manifest tells {entry.bytes:,}; the "
                    f"file differs from offset {min(size, entry.bytes):,} on"
                )
    except (FileNotFoundError, IsADirectoryError) as error:
        if not os.path.lexists(manifest):
            raise SweptError(manifest) from None
        why = "it is a directory" if isinstance(error, IsADirectoryError) else "it is gone"
        raise CorruptError(
            f"{error.filename}: a checkpoint needs this file, and {why}; missing at offset 0"
        ) from None
    return files


def open_latest(
    stack: ExitStack, path: str, skip: int = 0
) -> list[tuple[IO[bytes], str, ChainFile | None]]:
    """The same of a directory, but for so many newer ones, or of a single file."""
    if not os.path.isdir(path):
        return [(stack.enter_context(open(path, "rb", buffering=BUFFER_BYTES)), path, None)]
    while True:
        found = manifests(path)[skip:]
        if not found:
            raise UsageError(f"{path!r} holds no {'earlier ' if skip else ''}checkpoint")
        try:
            return [*open_chain(stack, found[0][1])]
        except SweptError:
            continue


def numbers_of(path: str) -> list[int]:
    """Numbers of the checkpoints in a directory, the newest first; [0] for a file."""
    if not os.path.isdir(path):
        return [0]
    return [number for number, _ in manifests(path)]


def open_numbered(
    stack: ExitStack, path: str, number: int
) -> list[tuple[IO[bytes], str, ChainFile | None]]:
    """The same of the checkpoint of that number; a file has one of any."""
    if not os.path.isdir(path):
        return open_latest(stack, path)
    for known, manifest in manifests(path):
        if known == number:
            try:
                return [*open_chain(stack, manifest)]
            except SweptError:
                break
    raise UsageError(f"{path!r} holds no checkpoint {number}")


def reader_of(file: IO[bytes], name: str, entry: ChainFile | None) -> FrameReader:
    """A reader of one file, which must be the one that the manifest means."""
    known = 0 if entry is None else int(entry.file, 16)
    return FrameReader(file.read, name, file=known, alone=True)


@contextmanager
def opened(source: Any, skip: int = 0) -> Iterator[list[FrameReader]]:
    """Readers of a checkpoint's files, newest first. skip: so many newer manifests."""
    if hasattr(source, "read"):
        yield [FrameReader(source.read, getattr(source, "name", None) or repr(source))]
        return
    with ExitStack() as stack:
        yield [reader_of(*file) for file in open_latest(stack, path_of(source), skip)]


@contextmanager
def each_opened(source: Any) -> Iterator[list[list[FrameReader] | CorruptError | OSError]]:
    """The same of all checkpoints of a directory, or why one cannot be opened; none, of none."""
    if hasattr(source, "read") or not os.path.isdir(path_of(source)):
        with opened(source) as readers:
            yield [readers]
        return
    found: list[list[FrameReader] | CorruptError | OSError] = []
    with ExitStack() as stack:
        for _, manifest in manifests(path_of(source)):
            try:
                found.append([reader_of(*file) for file in open_chain(stack, manifest)])
            except (CorruptError, OSError) as error:
                found.append(error)
            except SweptError:
                continue
        yield found
