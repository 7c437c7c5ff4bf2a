"""Which files make a checkpoint, and what the newest of them says of the older ones.

Reads names, manifests and first frames; makes and changes nothing.
"""

from __future__ import annotations

import os
from typing import Any

from dsm_native.checkpoint_directory import Manifest, manifests, read_manifest
from dsm_native.checkpoint_frames import FORMAT, Frame, FrameReader
from dsm_native.exceptions import CorruptError, UsageError


def numbers_of(path: str) -> list[int]:
    """Numbers of the checkpoints in a directory, the newest first; [0] for a file."""
    if not os.path.isdir(path):
        return [0]
    return [number for number, _ in manifests(path)]


def files_of(path: str, skip: int = 0, number: int | None = None) -> list[tuple[str, int | None]]:
    """(path, size) of the files of a checkpoint, newest first: of that number, or skipping some."""
    if not os.path.isdir(path):
        return [(path, None)]
    found = [entry for entry in manifests(path) if number in (None, entry[0])][skip:]
    if not found:
        what = "earlier checkpoint" if skip else f"checkpoint {'' if number is None else number}"
        raise UsageError(f"{path!r} holds no {what.rstrip()}")
    manifest: Manifest = read_manifest(found[0][1])
    files = [(os.path.join(path, entry.name), entry.bytes) for entry in manifest.files]
    for name, _ in files:
        if not os.path.exists(name):
            raise CorruptError(
                f"{name}: the manifest names it, and it is gone; missing at offset 0"
            )
    return [*reversed(files)]


def begin_of(reader: FrameReader, frame: Frame) -> dict[str, Any]:
    """What the first frame of a file tells, checked."""
    content: dict[str, Any] = reader.text(frame)
    if reader.field(content, "format", int) != FORMAT:
        raise reader.damaged(f"format {content['format']}, this package reads {FORMAT}")
    stripes = reader.field(content, "stripes", int, 1, 1 << 16)
    nodes = reader.field(content, "nodes", int, 1, 63)
    reader.field(content, "replicas", int, 1, min(5, nodes))
    reader.field(content, "cluster", str)
    reader.field(content, "before", str)
    try:
        seed = int(reader.field(content, "seed", str), 16)
    except ValueError:
        seed = 0
    if not 0 < seed < 1 << 64 or stripes & (stripes - 1):
        raise reader.damaged("the first frame makes no sense, before the one")
    return content | {"seed": seed}


def marked(marks: bytearray, version: int, key_hash: int) -> bool:
    """Whether a sorted table of marks has that one."""
    words = memoryview(marks).cast("Q")
    low, high = 0, len(words) // 2
    while low < high:
        middle = (low + high) // 2
        if (words[2 * middle], words[2 * middle + 1]) < (version, key_hash):
            low = middle + 1
        else:
            high = middle
    return 2 * low < len(words) and (words[2 * low], words[2 * low + 1]) == (version, key_hash)
