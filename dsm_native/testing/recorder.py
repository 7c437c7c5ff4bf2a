"""Recording a history from several processes that may be killed at any instant.

One append-only file per session in a directory that all sessions share. Before an operation the
recorder writes an *invoked* record, after it a *returned* record, each by one unbuffered write(2):
a SIGKILL leaves at worst a torn last line. A torn invoked record belongs to an operation that had
not begun; a torn returned record leaves its operation open. Both are what ``merge`` makes of them.

Laws. A file has one writer, ever: a successor of a killed session takes a new name. Every written
record begins before the call it announces, and a returned record follows the call it reports, so
recorded intervals contain the true ones and a correct store is never accused. Times are
CLOCK_MONOTONIC in ns, the same for all processes of the host since boot.

A Recorder belongs to one thread of one process. ``merge`` may run while others still record.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from dsm_native.testing.history import (
    KINDS,
    HistoryError,
    Operation,
    Plain,
    Session,
    decode_plain,
    encode_plain,
    history,
)

_SUFFIX = ".session.jsonl"


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Outcome:
    """What an operation under ``Recorder.recording`` gave; its user fills it in.

    Set ``value`` to what a get read and ``result`` as ``Operation`` says. ``refuse()`` says that
    the store reported an error that guarantees no effect: the operation leaves the history.
    """

    __slots__ = ("is_refused", "result", "value")

    def __init__(self) -> None:
        self.value: Plain = None
        self.result: Plain = None
        self.is_refused = False

    def refuse(self) -> None:
        """Say that the operation failed and is known to have had no effect."""
        self.is_refused = True


class Recorder:
    """Writes the history of one session to ``directory/<session>.session.jsonl``.

    The directory must exist. Raises FileExistsError when a session of that name was already
    recorded there. Not safe for several threads; a copy inherited by fork refuses to write.
    """

    def __init__(self, directory: str | os.PathLike[str], session: Session) -> None:
        name = str(session)
        if not name or "/" in name or name.startswith("."):
            raise HistoryError(f"the session name {name!r} is not usable as a file name")
        self.path = Path(directory) / f"{name}{_SUFFIX}"
        self._session = session
        self._pid = os.getpid()
        self._serial = 0
        self._last_ns = 0
        self._pending: dict[str, Plain] | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o600)
        self._write({"session": encode_plain(session)})

    def invoke(self, kind: str, key: Plain, value: Plain = None, expected: Plain = None) -> None:
        """Announce an operation; call it directly before the operation itself.

        An operation that was announced before and neither returned nor was refused stays open,
        and the session goes on as a new one, whose name has a suffix.
        """
        if kind not in KINDS:
            raise HistoryError(f"the kind {kind!r} is none of {KINDS}")
        self._serial += 1
        record = {"serial": self._serial, "kind": kind, "key": encode_plain(key)}
        record |= {"value": encode_plain(value), "expected": encode_plain(expected)}
        record["invoked"] = self._tick()
        self._write(record)
        # The call begins after the write, so the later time is the tighter bound; it is used
        # when the operation returns, and an operation that never does keeps the earlier one.
        self._pending = {"kind": kind, "invoked": self._tick()}

    def returned(self, value: Plain = None, result: Plain = None) -> None:
        """Report that the announced operation returned; ``value`` is what a get read."""
        returned = self._tick()
        pending = self._take_pending()
        record = {"serial": self._serial, "invoked": pending["invoked"], "returned": returned}
        record["result"] = encode_plain(result)
        if pending["kind"] == "get":
            record["value"] = encode_plain(value)
        self._write(record)

    def refused(self) -> None:
        """Report that the announced operation failed and is known to have had no effect."""
        self._take_pending()
        self._write({"serial": self._serial, "refused": True})

    @contextmanager
    def recording(
        self, kind: str, key: Plain, value: Plain = None, expected: Plain = None
    ) -> Iterator[Outcome]:
        """The three calls above around a block.

        ``with recorder.recording("put", "x", 3) as outcome: outcome.result = region.put("x", 3)``

        An exception that leaves the block leaves the operation open, unless ``refuse`` was called.
        """
        outcome = Outcome()
        self.invoke(kind, key, value, expected)
        try:
            yield outcome
        except BaseException:
            if outcome.is_refused:
                self.refused()
            raise
        if outcome.is_refused:
            self.refused()
        else:
            self.returned(outcome.value, outcome.result)

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _take_pending(self) -> dict[str, Plain]:
        if self._pending is None:
            raise HistoryError("an outcome was reported, but no operation is announced")
        pending, self._pending = self._pending, None
        return pending

    def _tick(self) -> int:
        """Now, and strictly later than the last answer: a session's times never tie."""
        self._last_ns = max(_now_ns(), self._last_ns + 1)
        return self._last_ns

    def _write(self, record: dict[str, Plain]) -> None:
        if os.getpid() != self._pid:
            raise HistoryError(
                f"the recorder of session {self._session!r} belongs to process {self._pid}, not "
                f"to its forked child {os.getpid()}; a child opens its own"
            )
        line = json.dumps(record).encode() + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes went to {self.path}")


def merge(directory: str | os.PathLike[str]) -> list[Operation]:
    """The history of all sessions recorded in ``directory``, sorted by invocation.

    A torn last line of a file is dropped; damage anywhere else raises HistoryError.
    """
    operations: list[Operation] = []
    for path in sorted(Path(directory).glob(f"*{_SUFFIX}")):
        operations.extend(_read_session(path))
    return history(operations)


def _read_session(path: Path) -> list[Operation]:
    # What follows the last newline is a record that a kill tore, or nothing.
    lines = path.read_bytes().split(b"\n")[:-1]
    session: Session | None = None
    invoked: dict[int, Operation] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = {name: decode_plain(value) for name, value in json.loads(line).items()}
            if "session" in record:
                session = record["session"]
            elif "kind" in record:
                serial = record.pop("serial")
                invoked[serial] = _announced(session, record)
            elif "refused" in record:
                del invoked[record["serial"]]
            else:
                serial = record.pop("serial")
                invoked[serial] = invoked[serial]._replace(**record)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise HistoryError(f"{path}, line {number}: {error!r}") from error
    return _split_at_open(list(invoked.values()))


def _announced(session: Session | None, record: dict[str, Plain]) -> Operation:
    if session is None:
        raise HistoryError("an operation precedes the name of its session")
    return Operation(session=session, returned=None, **record)


def _split_at_open(operations: list[Operation]) -> list[Operation]:
    """Let a session that went on after an open operation go on under a new name.

    That drops the order between the two parts, which can only excuse more; the open operation
    itself may take effect after later ones of its thread, so keeping it would accuse falsely.
    """
    part = 1
    renamed = []
    for operation in operations:
        suffix = f"~{part}" if part > 1 else ""
        name = f"{operation.session}{suffix}" if suffix else operation.session
        renamed.append(operation._replace(session=name))
        part += operation.is_open
    return renamed
