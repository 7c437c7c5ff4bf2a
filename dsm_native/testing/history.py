"""Histories as plain data: what was called, when it was called, when it returned, what it said.

An ``Operation`` is a tuple of plain values, so a history can be written by hand, kept in a file of
JSON lines and compared with ``==``. The checkers of this package read nothing else.

Laws. A session is one thread of control: its next operation is invoked strictly after the last one
returned. An operation cut off by a kill stays *open* (``returned`` is None): it may have happened
at any instant after ``invoked``, or never, and it is the last of its session. ``None`` as a value
means that the key is absent, so it is never written. Times are integers of one clock that all
sessions share (the recorder uses CLOCK_MONOTONIC, in ns); ``a`` precedes ``b`` in real time when
``a.returned < b.invoked``.

All functions are pure or touch only the file they are given; they may be called from any thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from dsm_native.exceptions import DSMError

Plain: TypeAlias = Any  # None, bool, int, float, str, bytes, or a tuple of these
Session: TypeAlias = str | int

KINDS = ("get", "put", "delete", "add", "cas", "put_if_version")
WRITING_KINDS = frozenset(KINDS) - {"get"}


class HistoryError(DSMError, ValueError):
    """The history breaks one of the laws above, so no checker can judge it."""


class Operation(NamedTuple):
    """One call on one key.

    ====================  =====================  ====================  ==========================
    kind                  value                  expected              result
    ====================  =====================  ====================  ==========================
    get                   what was read          --                    its version, or None
    put                   what was written       --                    its version, or None
    delete                None                   --                    was it there? or None; at
                                                                       weak levels a timestamp
    add                   the summand            --                    the new sum, or None
    cas                   what was to be written the value asked for   True: written; False: not
    put_if_version        what was to be written the version asked     the new version; False: not
                                                 for; 0: if absent     written
    ====================  =====================  ====================  ==========================

    ``None`` as a result means that it was not recorded. A completed cas or put_if_version must
    have one. An open operation has neither a result nor, for a get, a value.
    """

    session: Session
    kind: str
    key: Plain
    value: Plain
    invoked: int
    returned: int | None
    result: Plain = None
    expected: Plain = None

    @property
    def is_open(self) -> bool:
        return self.returned is None

    @property
    def is_failed_condition(self) -> bool:
        """Whether a conditional write reported that it wrote nothing."""
        return self.result is False and self.kind in ("cas", "put_if_version")

    @property
    def may_write(self) -> bool:
        return self.kind in WRITING_KINDS and not self.is_failed_condition

    def precedes(self, other: Operation) -> bool:
        """Real-time order: this operation returned before the other one was invoked."""
        return self.returned is not None and self.returned < other.invoked

    def describe(self) -> str:
        """The call and its outcome in a few characters, such as ``put(x, 3)``."""
        arguments = [str(self.key)]
        if self.expected is not None:
            arguments.append(f"if {self.expected!r}")
        if self.kind not in ("get", "delete"):
            arguments.append(repr(self.value))
        outcome = self.value if self.kind == "get" else self.result
        shown = "" if self.is_open or (outcome is None and self.kind != "get") else f"={outcome!r}"
        return f"{self.kind}({', '.join(arguments)}){shown}"


History: TypeAlias = Sequence[Operation]


def _operation(row: Sequence[Plain] | Mapping[str, Plain]) -> Operation:
    if type(row) is Operation:
        return row
    try:
        return Operation(**row) if isinstance(row, Mapping) else Operation(*row)
    except TypeError as error:
        raise HistoryError(
            f"{row!r} is no operation; it has the fields {', '.join(Operation._fields)}, of which "
            f"the last two may be left out"
        ) from error


def history(operations: Iterable[Sequence[Plain] | Mapping[str, Plain]]) -> list[Operation]:
    """Checked copy of ``operations``, sorted by invocation.

    Each is a tuple of six to eight fields, or a mapping with their names.

    Raises HistoryError, naming the operations, when they break a law of this module.
    """
    ordered = [_operation(row) for row in operations]
    for operation in ordered:
        _check_plain(operation)
    ordered.sort(key=lambda operation: operation.invoked)
    last_of_session: dict[Session, Operation] = {}
    for operation in ordered:
        _check_fields(operation)
        before = last_of_session.get(operation.session)
        if before is not None:
            if before.returned is None:
                raise HistoryError(
                    f"session {operation.session!r} goes on with {operation} after the open "
                    f"operation {before}; let it go on under a new name"
                )
            if operation.invoked <= before.returned:
                raise HistoryError(
                    f"session {operation.session!r} invokes {operation} at {operation.invoked}, "
                    f"not after its previous operation {before} returned at {before.returned}"
                )
        last_of_session[operation.session] = operation
    return ordered


def _check_plain(operation: Operation) -> None:
    """Times are numbers, and what is compared can be hashed."""
    returned = operation.returned
    if not isinstance(operation.invoked, int | float) or not isinstance(
        operation.invoked if returned is None else returned, int | float
    ):
        raise HistoryError(f"{operation} has a time that is no number")
    try:
        hash(operation)
    except TypeError as error:
        raise HistoryError(f"{operation} holds what is not plain: {error}") from error


def _check_fields(operation: Operation) -> None:
    kind, value, result = operation.kind, operation.value, operation.result
    if kind not in KINDS:
        raise HistoryError(f"{operation} has the kind {kind!r}, which is none of {KINDS}")
    if operation.returned is None:
        if result is not None or (kind == "get" and value is not None):
            raise HistoryError(f"{operation} is open and yet has an outcome")
    elif operation.returned < operation.invoked:
        raise HistoryError(f"{operation} returned before it was invoked")
    if value != value or operation.expected != operation.expected:
        raise HistoryError(f"{operation} holds a value that is not equal to itself")
    if kind in ("put", "cas", "put_if_version") and value is None:
        raise HistoryError(f"{operation} writes None, which stands for an absent key")
    if kind == "add" and not isinstance(value, int | float):
        raise HistoryError(f"{operation} adds {value!r}, which is not a number")
    if kind in ("cas", "put_if_version") and operation.returned is not None and result is None:
        raise HistoryError(f"{operation} returned, but does not say whether it wrote")
    if kind == "put_if_version" and type(operation.expected) is not int:
        raise HistoryError(f"{operation} does not say which version it asked for")


def encode_plain(value: Plain) -> Plain:
    """JSON form of a value: bytes become ``{"bytes": hex}``, tuples ``{"tuple": [...]}``."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return {"tuple": [encode_plain(item) for item in value]}
    raise TypeError(
        f"a history holds None, bool, int, float, str, bytes and tuples of them, "
        f"not {type(value).__name__}; record a checksum or a serial number instead"
    )


def decode_plain(value: Plain) -> Plain:
    """Inverse of ``encode_plain``; HistoryError on a JSON value that it never writes."""
    if not isinstance(value, dict | list):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((form, content),) = value.items()
        if form == "bytes" and isinstance(content, str):
            return bytes.fromhex(content)
        if form == "tuple" and isinstance(content, list):
            return tuple(decode_plain(item) for item in content)
    raise HistoryError(f"{value!r} is not the JSON form of a value in a history")


def write_history(path: str | os.PathLike[str], operations: Iterable[Operation]) -> None:
    """Write one JSON object per operation and line, replacing the file."""
    with open(path, "w", encoding="utf-8") as lines:
        for operation in operations:
            fields = {
                name: encode_plain(value)
                for name, value in zip(Operation._fields, operation, strict=True)
                if value is not None or name in ("value", "returned")
            }
            lines.write(json.dumps(fields) + "\n")


def read_history(path: str | os.PathLike[str]) -> list[Operation]:
    """Read what ``write_history`` wrote; HistoryError names the line that cannot be read."""
    operations = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                fields = {name: decode_plain(value) for name, value in json.loads(line).items()}
                operations.append(Operation(**fields))
            except (ValueError, TypeError, AttributeError) as error:
                raise HistoryError(f"{os.fspath(path)}, line {number}: {error}") from error
    return history(operations)
