"""Running a protocol under faults, recording what a store did, and judging whether it was allowed.

Two halves, which meet in the middle; docs/testing.md shows both at work.

*Simulator*: `Simulation` runs a `Protocol` (any class with `step` and `tick`) on some nodes in
virtual time, from one seed, under a plan of `Fault`s. An `Invariant` looks at every step;
`shortest_failure` makes a failing plan small and tells its story.

*Histories*: a `Recorder` writes down the operations of many processes, some of which are killed on
the way, `merge` turns the files into one history, and a checker gives a `Verdict` and, for a bad
history, the few operations that prove it. Nothing here imports the native extension.

    with Recorder(directory, "reader-1") as recorder:
        with recorder.recording("get", "x") as outcome:
            outcome.value = region.get("x")
    print(check_linearizable(merge(directory)))
"""

from dsm_native.testing.causal import check_causal
from dsm_native.testing.eventual import check_eventual, last_write_wins
from dsm_native.testing.faults import KINDS as FAULT_KINDS
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.history import (
    HistoryError,
    Operation,
    history,
    read_history,
    write_history,
)
from dsm_native.testing.invariants import Invariant, InvariantError
from dsm_native.testing.linearizability import check_linearizable
from dsm_native.testing.network import Conditions
from dsm_native.testing.node_script import NodeScript
from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs, Protocol
from dsm_native.testing.recorder import Outcome, Recorder, merge
from dsm_native.testing.scenario import rewritten
from dsm_native.testing.sequential import check_sequential
from dsm_native.testing.serializable import (
    SerialVerdict,
    TransactionRecord,
    check_strictly_serializable,
)
from dsm_native.testing.shrink_plan import shortest_failure
from dsm_native.testing.simulator import Counts, Simulation
from dsm_native.testing.verdict import UndecidedError, Verdict, Violation

__all__ = [
    "CLIENT",
    "FAULT_KINDS",
    "NOTHING",
    "Conditions",
    "Counts",
    "Fault",
    "HistoryError",
    "Invariant",
    "InvariantError",
    "Message",
    "NodeScript",
    "Operation",
    "Outcome",
    "Outputs",
    "Protocol",
    "Recorder",
    "SerialVerdict",
    "Simulation",
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
    "random_plan",
    "read_history",
    "rewritten",
    "shortest_failure",
    "write_history",
]
