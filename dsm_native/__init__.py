"""Objects in shared memory that processes of one machine read and write at memory speed.

A `Cluster` starts node processes and keeps named regions of objects, replicated over the nodes;
whatever was acknowledged survives the SIGKILL of any process at any instruction. Start with
`Cluster`, `attach` and `Region`; errors are in `dsm_native.exceptions`.
"""

from __future__ import annotations

from dsm_native.arrays import Array, Tile
from dsm_native.atomics import AtomicArray, Counter
from dsm_native.barriers import Barrier
from dsm_native.checkpoint import CheckpointReport
from dsm_native.cluster import Cluster, attach, current
from dsm_native.detection import Detection
from dsm_native.exceptions import (
    BrokenBarrierError,
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
    NoReplicasAvailableError,
    NotOwnerError,
    QueueEmptyError,
    QueueFullError,
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
from dsm_native.failures import Failure, NodeEvent
from dsm_native.filling import FillReport
from dsm_native.injection import Damage
from dsm_native.key_lock import KeyLock
from dsm_native.queues import Delivery, Queue
from dsm_native.region import Region
from dsm_native.reports import CheckReport, NodeInfo
from dsm_native.restore import VerifyReport, restore, verify
from dsm_native.saved import SavedCheckpoint, SavedObject
from dsm_native.subscription import Subscription
from dsm_native.sweep import clean
from dsm_native.sync import Condition, Event, Holder, Lock, Semaphore
from dsm_native.transaction import Transaction, TransactionRegion

__version__ = "0.1.0"

__all__ = [
    "Array",
    "AtomicArray",
    "Barrier",
    "BrokenBarrierError",
    "CheckReport",
    "CheckpointReport",
    "ClockOffsetError",
    "ClockOverflowError",
    "ClosedError",
    "Cluster",
    "ClusterExistsError",
    "ClusterNotFoundError",
    "Condition",
    "CorruptError",
    "Counter",
    "CounterOverflowError",
    "DSMError",
    "Damage",
    "Delivery",
    "Detection",
    "Event",
    "Failure",
    "FillReport",
    "ForkedError",
    "Holder",
    "InitializerError",
    "KeyLock",
    "KeyNotFoundError",
    "KeyTooLongError",
    "KeyTypeError",
    "LimitError",
    "Lock",
    "LockTimeoutError",
    "NoReplicasAvailableError",
    "NodeEvent",
    "NodeInfo",
    "NodeLostError",
    "NotOwnerError",
    "Queue",
    "QueueEmptyError",
    "QueueFullError",
    "Region",
    "SavedCheckpoint",
    "SavedObject",
    "Semaphore",
    "StoreFullError",
    "Subscription",
    "SystemCallError",
    "Tile",
    "TornWriteError",
    "Transaction",
    "TransactionAbortedError",
    "TransactionRegion",
    "UsageError",
    "ValueTypeError",
    "VerifyReport",
    "VersionConflictError",
    "WaitTimeoutError",
    "WorkerLostError",
    "attach",
    "clean",
    "current",
    "restore",
    "verify",
]
