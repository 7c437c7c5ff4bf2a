"""A directory of checkpoints: two generations, each a chain of files, that survive a kill anywhere.

    00000007.full        a whole checkpoint            00000008.delta     what changed since
    00000008.json        the manifest: which files make number 8, oldest first, and their sizes
    lock                 flock: one writer of the directory at a time

A checkpoint is written under a new name, synced, and becomes true by the renaming of its manifest,
which comes last. Never touched are the files of the two newest manifests and, while both build on
one whole checkpoint, of the newest that builds on another; all else goes afterwards. So a kill at
any step leaves the checkpoint before, and one that was complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dsm_native._native.checkpoint import Cut
from dsm_native._native.frames import hash64
from dsm_native._native.handle import Handle
from dsm_native.checkpoint import Before, CheckpointReport, report_of, write_checkpoint
from dsm_native.checkpoint_arrays import SavedArray
from dsm_native.checkpoint_file import CheckpointFile, write_all
from dsm_native.checkpoint_frames import ARRAY, END, FORMAT, GENS, TILES, FrameReader
from dsm_native.exceptions import CorruptError, LockTimeoutError, UsageError

GENERATIONS = 2
LOCK_PAUSE_S = 0.005
CHAIN_FILES = (
    16  # then a whole one again, or when the changes are half as large as what they change
)
MANIFEST_BYTES_MAX = 1 << 20
MANIFEST = re.compile(r"(\d{8,})\.json")
OURS = re.compile(r"\d{8,}\.(?:full|delta|json|json\.new)")


@dataclass(frozen=True)
class ChainFile:
    """One file of a chain, as its manifest tells."""

    name: str
    bytes: int
    file: str
    state_offset: int


@dataclass(frozen=True)
class Manifest:
    """Which files make one checkpoint, oldest first."""

    number: int
    cluster: str
    stripes: int
    files: tuple[ChainFile, ...]


def encode_manifest(manifest: Manifest) -> bytes:
    """One line of JSON, and a line with its hash."""
    body = json.dumps({"format": FORMAT} | asdict(manifest)).encode()
    return body + b"\n" + f"{hash64(body):016x}\n".encode()


def read_manifest(path: str) -> Manifest:
    """CorruptError if it is not what was written."""
    with open(path, "rb") as file:
        text = file.read(MANIFEST_BYTES_MAX + 1)
    body, _, check = text.partition(b"\n")
    if check != f"{hash64(body):016x}\n".encode():
        raise CorruptError(f"{path}: the manifest's checksum differs at offset {len(body):,}")
    try:
        content = json.loads(body)
        files = tuple(ChainFile(**entry) for entry in content["files"])
        names = all(
            OURS.fullmatch(entry.name)
            and type(entry.bytes) is type(entry.state_offset) is int
            and 0 <= entry.state_offset <= entry.bytes
            and int(entry.file, 16) < 1 << 64
            for entry in files
        )
        found = Manifest(content["number"], content["cluster"], content["stripes"], files)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{path}: the manifest makes no sense ({error!r}) at offset 0") from None
    if content["format"] != FORMAT:
        raise CorruptError(f"{path}: format {content['format']}, this package reads {FORMAT}")
    if os.path.basename(path) != f"{found.number:08d}.json":
        raise CorruptError(f"{path}: this is the manifest of number {found.number}, at offset 0")
    if not names or not files:
        raise CorruptError(f"{path}: the manifest names no files of a checkpoint, at offset 0")
    return found


def manifests(path: str) -> list[tuple[int, str]]:
    """(number, path) of all manifests, the newest first."""
    found = []
    for name in os.listdir(path):
        match = MANIFEST.fullmatch(name)
        if match:
            found.append((int(match[1]), os.path.join(path, name)))
    return sorted(found, reverse=True)


def sync_directory(path: str) -> None:
    """The names in it are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_of(source: Any) -> str:
    """The path that a caller gave, as a str."""
    try:
        return os.fsdecode(source)
    except TypeError:
        raise UsageError(
            f"a checkpoint is a path, or an object with write() or read(), so not {source!r}"
        ) from None


@contextlib.contextmanager
def locked(path: str, deadline: float) -> Iterator[None]:
    """Keeps all others from writing to the directory, this cluster's too. A kill lets go."""
    descriptor = os.open(
        os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockTimeoutError(
                        f"another checkpoint is being written to {path}; one at a time may"
                    ) from None
            time.sleep(LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def sound_manifests(path: str) -> Iterator[Manifest]:
    """Those that verify and whose files have their sizes, the newest first."""
    for _, name in manifests(path):
        with contextlib.suppress(CorruptError, OSError):
            found = read_manifest(name)
            files = [(os.path.join(path, entry.name), entry.bytes) for entry in found.files]
            if all(os.path.isfile(file) and os.path.getsize(file) == size for file, size in files):
                yield found


def read_state(path: str, entry: ChainFile) -> Before:
    """What the last file of a chain knows of every stripe and array."""
    name = os.path.join(path, entry.name)
    words = bytearray()
    versions: dict[int, bytearray] = {}
    arrays: dict[str, SavedArray] = {}
    described: dict[int, dict[str, Any]] = {}
    with open(name, "rb", buffering=1 << 20) as file:
        file.seek(entry.state_offset)
        reader = FrameReader(file.read, name, entry.state_offset, int(entry.file, 16))
        for frame in reader.all():
            if frame.kind == GENS:
                words += frame.payload
            elif frame.kind == TILES:
                versions.setdefault(frame.subject, bytearray()).extend(frame.payload)
            elif frame.kind == ARRAY:
                described[frame.subject] = reader.text(frame)
            elif frame.kind != END:
                raise reader.damaged("a frame that is no state, before the one")
        for number, content in described.items():
            label = reader.field(content, "name", str)
            build = reader.field(content, "build", int)
            arrays[label] = SavedArray(build, bytes(versions.get(number, b"")))
    return Before(int(entry.file, 16), bytes(words), arrays)


def basis(path: str, last: Manifest | None, cluster: str, stripes: int) -> Before | None:
    """What an incremental checkpoint may build on; None if it must be a whole one."""
    if last is None or last.cluster != cluster or last.stripes != stripes:
        return None
    changes = sum(entry.bytes for entry in last.files[1:])
    if len(last.files) >= CHAIN_FILES or changes > last.files[0].bytes // 2:
        return None
    try:
        before = read_state(path, last.files[-1])
    except (CorruptError, OSError):
        return None
    return before if len(before.generations) == 8 * stripes else None


def write_synced(path: str, data: bytes) -> None:
    """A new file whose bytes are on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_names(path: str) -> set[str]:
    """Files of the two newest sound manifests; if both build on one whole checkpoint, those of the
    newest that builds on another, too: damage of one file must not take all there is."""
    kept: set[str] = set()
    bases: set[str] = set()
    generations = 0
    for manifest in sound_manifests(path):
        files = [entry.name for entry in manifest.files]
        if generations >= GENERATIONS and (len(bases) > 1 or files[0] in bases):
            continue
        generations += 1
        bases.add(files[0])
        kept.update(files, [f"{manifest.number:08d}.json"])
    return kept


def sweep(path: str) -> None:
    """Removes what is not kept."""
    kept = kept_names(path)
    # Manifests first, so that none of them names what is gone.
    for name in sorted(os.listdir(path), key=lambda name: (not MANIFEST.fullmatch(name), name)):
        if OURS.fullmatch(name) and name not in kept:
            with contextlib.suppress(OSError):  # the checkpoint is there; what is no file stays
                os.unlink(os.path.join(path, name))


def directory_checkpoint(
    handle: Handle, path: str, full: bool, timeout: float | None
) -> CheckpointReport:
    """A checkpoint in a directory, which is made if need be; see `Cluster.checkpoint`."""
    started = time.perf_counter()
    deadline = time.monotonic() + (handle.lock_timeout if timeout is None else timeout)
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"{path!r} is no directory; a checkpoint needs one of its own, or a file")
    cut = Cut(handle)
    cut.begin(timeout)
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        with locked(path, deadline):
            return _write_generation(handle, cut, path, full, started)
    finally:
        cut.end()


def _write_generation(
    handle: Handle, cut: Cut, path: str, full: bool, started: float
) -> CheckpointReport:
    cluster = f"{cut.identity[0]:016x}"
    last = next(sound_manifests(path), None)
    before = None if full else basis(path, last, cluster, handle.stripes)
    number = 1 + max([number for number, _ in manifests(path)], default=0)
    name = f"{number:08d}.{'delta' if before else 'full'}"
    file = CheckpointFile(os.path.join(path, name))
    try:
        taken = write_checkpoint(handle, cut, file.write, before, number, True)
        cut.end()  # nothing is kept any longer than the walk needs it
        file.sync()
    except BaseException:  # what is cut is of no use, and a full disk is to be full no longer
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, name))
        raise
    finally:
        file.close()
    sync_directory(path)
    files = last.files if before is not None and last is not None else ()
    entry = ChainFile(name, taken.bytes, f"{taken.file:016x}", taken.state_offset)
    manifest = Manifest(number, cluster, handle.stripes, (*files, entry))
    final = os.path.join(path, f"{number:08d}.json")
    write_synced(final + ".new", encode_manifest(manifest))
    os.rename(final + ".new", final)
    sync_directory(path)
    sweep(path)
    return report_of(taken, number, before is not None, started)
