"""Recording what a store did under fire, and judging whether it was allowed to.

``Recorder`` writes down the operations of many processes, some of which are killed on the way;
``merge`` turns the files into one history; a checker gives a ``Verdict`` and, for a bad history,
the few operations that prove it. Nothing here imports the native extension: histories of any
store, recorded anywhere, can be judged.

    with Recorder(directory, "reader-1") as recorder:
        with recorder.recording("get", "x") as outcome:
            outcome.value = region.get("x")
    print(check_linearizable(merge(directory)))
"""

from dsm_native.testing.causal import check_causal
from dsm_native.testing.eventual import check_eventual, last_write_wins
from dsm_native.testing.history import (
    HistoryError,
    Operation,
    history,
    read_history,
    write_history,
)
from dsm_native.testing.linearizability import check_linearizable
from dsm_native.testing.recorder import Outcome, Recorder, merge
from dsm_native.testing.sequential import check_sequential
from dsm_native.testing.serializable import (
    SerialVerdict,
    TransactionRecord,
    check_strictly_serializable,
)
from dsm_native.testing.verdict import UndecidedError, Verdict, Violation

__all__ = [
    "HistoryError",
    "Operation",
    "Outcome",
    "Recorder",
    "SerialVerdict",
    "TransactionRecord",
    "UndecidedError",
    "Verdict",
    "Violation",
    "check_causal",
    "check_eventual",
    "check_linearizable",
    "check_sequential",
    "check_strictly_serializable",
    "history",
    "last_write_wins",
    "merge",
    "read_history",
    "write_history",
]
