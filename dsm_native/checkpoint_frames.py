"""The stream of a checkpoint: frames into a file, and out of it again.

A writer fills buffers with frames and hands them on; for a file of our own a thread writes them, so
that filling and writing overlap, and all but the last are whole blocks of a disk. A reader takes
whole frames off a file and believes nothing that does not verify: whatever is cut, flipped or out
of its place ends in CorruptError, which names the file and the offset. docs/checkpoint-format.md
says what the frames hold.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dsm_native._native.checkpoint import Cut
from dsm_native._native.frames import (
    FRAME_HEAD_BYTES,
    FRAME_PAYLOAD_MAX,
    FrameBuffer,
    frame_head,
    frame_holds,
    frame_room,
    random_number,
)
from dsm_native.exceptions import CorruptError

FORMAT = 1
BUFFER_BYTES = 4 << 20
BUFFERS = 3
BEGIN, REGIONS, OBJECTS, VALUE, LIVE, ARRAY, TILE, GENS, TILES, END = range(1, 11)


class Frame(NamedTuple):
    """One verified frame. The payload is valid until the next one is read."""

    kind: int
    subject: int
    first: int
    second: int
    payload: memoryview
    offset: int


class FrameWriter:
    """Frames, in order, to `write(buffer)`. threaded: in a thread of its own."""

    def __init__(self, write: Callable[[Any], Any], threaded: bool) -> None:
        self.file: int = random_number()
        self._write = write
        self._free: queue.SimpleQueue[FrameBuffer] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[FrameBuffer | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._buffer = FrameBuffer(BUFFER_BYTES, self.file)
        if threaded:
            for _ in range(BUFFERS - 1):
                self._free.put(FrameBuffer(BUFFER_BYTES, self.file))
            self._thread = threading.Thread(target=self._run, name="dsm-checkpoint", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (buffer := self._full.get()) is not None:
            if self._error is None:
                try:
                    self._write(buffer)
                except BaseException as error:
                    self._error = error
            self._free.put(buffer)

    def _turn(self) -> None:
        if self._thread is None:
            self._write(self._buffer)
            self._buffer.reset(self._buffer.end)
            return
        fresh = self._free.get()
        if self._error is not None:
            raise self._error
        fresh.follow(self._buffer)
        self._full.put(self._buffer)
        self._buffer = fresh

    @property
    def offset(self) -> int:
        """Where the next frame will stand."""
        return int(self._buffer.end)

    def add(self, kind: int, payload: Any, subject: int = 0, first: int = 0) -> None:
        """One frame."""
        if not self._buffer.add(kind, payload, subject, first):
            self._turn()
            if not self._buffer.add(kind, payload, subject, first):
                raise ValueError(f"{len(payload)} bytes are too many for a frame")

    def add_text(self, kind: int, content: Any, subject: int = 0) -> None:
        """One frame whose payload is JSON."""
        self.add(kind, json.dumps(content, separators=(",", ":")).encode(), subject)

    def add_words(self, kind: int, words: bytes, subject: int = 0) -> None:
        """64-bit words, in as many frames as they need; `first`: the number of the first word."""
        step = FRAME_PAYLOAD_MAX
        for start in range(0, max(len(words), 1), step):
            self.add(kind, words[start : start + step], subject, start // 8)

    def walk(self, cut: Cut) -> None:
        """All stripes."""
        while not cut.fill(self._buffer):
            self._turn()

    def finish(self) -> None:
        """Writes what is left."""
        if self._thread is None:
            self._turn()
        else:
            self._full.put(self._buffer)
            self.stop()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends the thread. Idempotent."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None


class FrameReader:
    """Frames off `read(size)`. name: for messages; offset, file: of the first one, if known.

    alone: nothing may follow the last one.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        name: str,
        offset: int = 0,
        file: int = 0,
        *,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self._read = read
        self.name = name
        self.offset = offset
        self.file = file
        self.begins = offset == 0

    def damaged(self, what: str) -> CorruptError:
        """The error that names file and offset."""
        return CorruptError(f"{self.name}: {what} at offset {self.offset:,}")

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) == size or not data:
            return data or b""
        parts = [data]
        size -= len(data)
        while size > 0 and (data := self._read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def next(self) -> Frame:
        """The next frame, verified."""
        head = self._exactly(FRAME_HEAD_BYTES)
        if len(head) < FRAME_HEAD_BYTES:
            raise self.damaged(f"the file ends after {len(head)} of a frame's bytes")
        found = frame_head(head, self.offset, self.file)
        if found is None:
            raise self.damaged("no frame of this file")
        kind, size, subject, first, second, file = found
        room = frame_room(size) - FRAME_HEAD_BYTES
        rest = self._exactly(room)
        if len(rest) < room:
            raise self.damaged(f"the file ends within a frame of {room:,} bytes")
        whole = head + rest
        if not frame_holds(whole):
            raise self.damaged("a frame's checksum differs")
        if (kind == BEGIN) != self.begins:
            raise self.damaged("the first frame is not where it belongs")
        self.begins = False
        self.file = file
        payload = memoryview(whole)[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + size]
        frame = Frame(kind, subject, first, second, payload, self.offset)
        self.offset += len(whole)
        return frame

    def all(self) -> Iterator[Frame]:
        """All frames up to the last, which it includes."""
        while True:
            frame = self.next()
            if frame.kind == END and self._alone and self._read(1):
                raise self.damaged("more bytes after the last frame,")
            yield frame
            if frame.kind == END:
                return

    def text(self, frame: Frame) -> Any:
        """The JSON of a frame."""
        try:
            return json.loads(bytes(frame.payload))
        except ValueError as error:
            raise self.damaged(f"a frame is no JSON ({error}), before the one") from None

    def field(self, content: Any, key: str, kind: type, low: int = 0, high: int = 1 << 64) -> Any:
        """A field of such a frame, if it is of that kind and, an int, within these bounds."""
        value: Any = content.get(key) if isinstance(content, dict) else None
        good = type(value) is kind
        if good and kind is int:
            good = low <= value <= high
        if not good:
            raise self.damaged(f"{key!r} is {value!r}, in the frame before the one")
        return value


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
