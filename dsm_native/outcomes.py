"""How a task's exception travels: itself if it survives pickling, as text otherwise, and its trace.

The trace arrives as the exception's cause, as with the standard library's process pool.
"""

from __future__ import annotations

import pickle
import traceback

import cloudpickle  # type: ignore[import-untyped]


class RemoteTraceback(Exception):  # noqa: N818 - it is a cause, not an error of its own
    """The traceback of a task's exception on its node; the cause of the exception raised here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def failure(error: BaseException) -> tuple[bytes, str]:
    """The pickled exception, and its traceback as text."""
    trace = "".join(traceback.format_exception(error))
    try:
        data = bytes(cloudpickle.dumps(error, 5))
        pickle.loads(data)
    except Exception:  # an exception that does not survive pickling is told as text
        return pickle.dumps(RuntimeError(repr(error)), 5), trace
    return data, trace


def failure_of(data: bytes, trace: str) -> BaseException:
    """The exception again, with its trace as the cause."""
    error: BaseException
    try:
        told = pickle.loads(data)
        error = told if isinstance(told, BaseException) else RuntimeError(repr(told))
    except Exception as why:
        error = why
    error.__cause__ = RemoteTraceback(trace)
    return error
