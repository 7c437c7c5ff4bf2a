"""The file of a checkpoint while it is written: past the page cache where the file system lets us.

A checkpoint is written once, in order, and read after a disaster. Its pages in the cache would cost
a copy and their making, and push out memory that the cluster may need. So whole blocks go straight
from our aligned buffers to the disk; what does not fill a block, which is the end of the file, and
everything where that is refused (tmpfs, some network file systems), is written as usual.
Not for several threads at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

from dsm_native._native.frames import DISK_BLOCK_BYTES

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def write_all(descriptor: int, buffer: Any) -> None:
    """os.write, until all of it is written."""
    view = memoryview(buffer)
    while len(view):
        view = view[os.write(descriptor, view) :]


class CheckpointFile:
    """A new file, open for writing. direct: whether blocks go past the page cache."""

    def __init__(self, path: str) -> None:
        self.direct = True
        try:
            self._descriptor = os.open(path, FLAGS | os.O_DIRECT, 0o600)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.direct = False
            self._descriptor = os.open(path, FLAGS, 0o600)

    def write(self, buffer: Any) -> None:
        """Appends the buffer's bytes. Blocks."""
        view = memoryview(buffer)
        whole = len(view) - len(view) % DISK_BLOCK_BYTES
        while self.direct and whole:
            try:
                written = os.write(self._descriptor, view[:whole])
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._stop_direct()  # other blocks than ours
                break
            view, whole = view[written:], whole - written
        if len(view):
            self._stop_direct()
            write_all(self._descriptor, view)

    def _stop_direct(self) -> None:
        if self.direct:
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
            self.direct = False

    def sync(self) -> None:
        """Returns when all that was written is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
