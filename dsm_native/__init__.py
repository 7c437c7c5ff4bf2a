"""Objects in shared memory that processes of one machine read and write at memory speed.

A `Cluster` starts node processes and keeps named regions of objects, replicated over the nodes;
whatever was acknowledged survives the SIGKILL of any process at any instruction. Start with
`Cluster`, `attach` and `Region`; errors are in `dsm_native.exceptions`.
"""

from __future__ import annotations

from dsm_native.cluster import Cluster, attach, current
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
    InitializerError,
    KeyNotFoundError,
    KeyTooLongError,
    KeyTypeError,
    LimitError,
    LockTimeoutError,
    NodeLostError,
    StoreFullError,
    SystemCallError,
    UsageError,
    ValueTypeError,
    VersionConflictError,
    WorkerLostError,
)
from dsm_native.region import Region
from dsm_native.reports import CheckReport, NodeInfo
from dsm_native.sweep import clean

__version__ = "0.1.0"

__all__ = [
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
    "InitializerError",
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
    "UsageError",
    "ValueTypeError",
    "VersionConflictError",
    "WorkerLostError",
    "attach",
    "clean",
    "current",
]
