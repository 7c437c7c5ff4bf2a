"""The one list of outcomes against the table of exceptions, and what each class is good for."""

from __future__ import annotations

import inspect
import pickle
import queue
import threading
from concurrent.futures import BrokenExecutor

import pytest

import dsm_native as dsm
from dsm_native import exceptions
from dsm_native._native.faults import status_table
from dsm_native._native.raft import RaftRefusedError
from dsm_native.testing import HistoryError, UndecidedError
from dsm_native.testing.invariants import InvariantError

CLASSES = {
    name: value
    for name, value in vars(exceptions).items()
    if inspect.isclass(value) and value.__module__ == exceptions.__name__
}
# Raised above the core, so no status stands for them.
ABOVE_THE_CORE = {
    *("DSMError", "InitializerError", "KeyTypeError", "NodeLostError", "WorkerLostError"),
    *("QueueEmptyError", "QueueFullError", "WaitTimeoutError"),
}


def test_every_status_has_a_class_and_every_class_a_status():
    table = status_table()
    assert table[0] == ("OK", "", "success")
    named = {exception for _, exception, _ in table[1:]}
    assert named <= set(CLASSES)
    assert set(CLASSES) - named <= ABOVE_THE_CORE
    assert len({name for name, _, _ in table}) == len(table)
    assert all(message and not message.endswith(".") for _, _, message in table)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_public_documented_and_named_as_an_error(name):
    found = CLASSES[name]
    assert name.endswith("Error")
    assert issubclass(found, dsm.DSMError)
    assert getattr(dsm, name) is found
    assert name in dsm.__all__
    assert found.__doc__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("UsageError", ValueError),
        ("ClosedError", ValueError),
        ("KeyNotFoundError", KeyError),
        ("KeyTypeError", TypeError),
        ("ValueTypeError", TypeError),
        ("CounterOverflowError", OverflowError),
        ("ClockOffsetError", ValueError),
        ("ClockOverflowError", OverflowError),
        ("LockTimeoutError", TimeoutError),
        ("WaitTimeoutError", TimeoutError),
        ("StoreFullError", MemoryError),
        ("ClusterExistsError", FileExistsError),
        ("ClusterNotFoundError", FileNotFoundError),
        ("InitializerError", BrokenExecutor),
        ("SystemCallError", OSError),
        ("NotOwnerError", RuntimeError),
        ("BrokenBarrierError", threading.BrokenBarrierError),
        ("QueueEmptyError", queue.Empty),
        ("QueueFullError", queue.Full),
    ],
)
def test_where_python_has_a_fitting_class_ours_derives_from_it(name, builtin):
    assert issubclass(CLASSES[name], builtin)


@pytest.mark.parametrize("name", CLASSES)
def test_exceptions_travel_between_processes(name):
    error = CLASSES[name]("the message")
    error.__notes__ = ["a note"]
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert back.args == error.args
    conflict = pickle.loads(pickle.dumps(exceptions.VersionConflictError("moved on", 7)))
    assert (str(conflict), conflict.version) == ("moved on", 7)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (HistoryError("a law is broken"), ValueError),
        (UndecidedError("too many orders"), RuntimeError),
        (InvariantError("two leaders"), AssertionError),
        (RaftRefusedError("it does not lead", 2, True), RuntimeError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_cores_and_checkers_raise_errors_of_the_same_family(error, builtin):
    assert isinstance(error, dsm.DSMError)
    assert isinstance(error, builtin)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), vars(back)) == (str(error), vars(error))


def test_all_is_sorted_and_complete():
    assert dsm.__all__ == sorted(dsm.__all__)
    public = {name for name in vars(dsm) if not name.startswith("_")}
    modules = {name for name in public if inspect.ismodule(getattr(dsm, name))}
    assert public - modules - {"annotations"} == set(dsm.__all__)
