"""How a task's exception travels: itself if it survives pickling, as text otherwise, and its trace.

One whose class wants other arguments than its `args` is made again without its `__init__`.

The trace arrives as the exception's cause, as with the standard library's process pool.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]


class RemoteTraceback(Exception):  # noqa: N818 - it is a cause, not an error of its own
    """The traceback of a task's exception on its node; the cause of the exception raised here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Made:
    """Stands for an exception whose class cannot be called with its `args` alone.

    Unpickles as the exception itself, made without its `__init__`, as it was when it was raised.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self.error), self.error.args, dict(self.error.__dict__))


def _made(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def failure(error: BaseException) -> tuple[bytes, str]:
    """The pickled exception, and its traceback as text. Whatever the exception is, never raises."""
    trace = "".join(_told(traceback.format_exception, error))
    for form in (error, _Made(error)):
        try:
            data = bytes(cloudpickle.dumps(form, 5))
            if isinstance(pickle.loads(data), BaseException):
                return data, trace
        except BaseException:  # it runs code of the exception's own, which may even want to exit
            continue
    # An exception that does not survive pickling is told as text.
    return pickle.dumps(RuntimeError("".join(_told(repr, error))), 5), trace


def _told(teller: Callable[[BaseException], Iterable[str]], error: BaseException) -> Iterable[str]:
    try:
        return list(teller(error))
    except BaseException as why:
        return [f"{type(error).__qualname__}, which cannot be told: {type(why).__qualname__}\n"]


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
