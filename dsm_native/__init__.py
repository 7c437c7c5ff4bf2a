"""Objects in shared memory that processes of one machine read and write at memory speed.

A `Cluster` starts node processes and keeps named regions of objects, replicated over the nodes;
whatever was acknowledged survives the SIGKILL of any process at any instruction. Start with
`Cluster`, `attach` and `Region`; errors are in `dsm_native.exceptions`.
"""

from __future__ import annotations

from dsm_native.arrays import Array, Tile
from dsm_native.cluster import CheckReport, Cluster, NodeInfo, attach, current
from dsm_native.exceptions import (
    ClockOffsetError,
    ClockOverflowError,
    ClosedError,
    ClusterExistsError,
    ClusterNotFoundError,
    CorruptError,
    CounterOverflowError,
    DSMError,
    ForkedError,
    KeyNotFoundError,
    KeyTooLongError,
    KeyTypeError,
    LimitError,
    LockTimeoutError,
    NodeLostError,
    StoreFullError,
    SystemCallError,
    TornWriteError,
    TransactionAbortedError,
    UsageError,
    ValueTypeError,
    VersionConflictError,
    WaitTimeoutError,
    WorkerLostError,
)
from dsm_native.key_lock import KeyLock
from dsm_native.region import Region
from dsm_native.sweep import clean
from dsm_native.transaction import Transaction, TransactionRegion

__version__ = "0.1.0"

__all__ = [
    "Array",
    "CheckReport",
    "ClockOffsetError",
    "ClockOverflowError",
    "ClosedError",
    "Cluster",
    "ClusterExistsError",
    "ClusterNotFoundError",
    "CorruptError",
    "CounterOverflowError",
    "DSMError",
    "ForkedError",
    "KeyLock",
    "KeyNotFoundError",
    "KeyTooLongError",
    "KeyTypeError",
    "LimitError",
    "LockTimeoutError",
    "NodeInfo",
    "NodeLostError",
    "Region",
    "StoreFullError",
    "SystemCallError",
    "Tile",
    "TornWriteError",
    "Transaction",
    "TransactionAbortedError",
    "TransactionRegion",
    "UsageError",
    "ValueTypeError",
    "VersionConflictError",
    "WaitTimeoutError",
    "WorkerLostError",
    "attach",
    "clean",
    "current",
]
