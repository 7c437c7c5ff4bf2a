"""A cluster: node processes, their segments, and the regions in them.

The owner (who calls `Cluster(...)`) creates the segments and starts the nodes; the nodes end with
it. Other processes join by `attach(name)` or by unpickling a handle. All of them read and write the
segments directly; the node processes serve as workers, watch for deaths and settle checksums.

The class is the package's public face; most of its methods come by kind, from files of their own.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dsm_native import sweep
from dsm_native._native.handle import Handle, end_with_interpreter
from dsm_native._native.nodes import node_table, set_pace
from dsm_native._native.recovery import counters
from dsm_native.arrays import Array
from dsm_native.detection import Detection, check_detection, check_recovery, packed
from dsm_native.elastic import PACE_MAX, Elastic
from dsm_native.exceptions import (
    ClusterNotFoundError,
    UsageError,
)
from dsm_native.named import NamedObjects
from dsm_native.region import Region
from dsm_native.safekeeping import Safekeeping
from dsm_native.settings import (
    NODES_MAX,
    SCRUB_BYTES_PER_S,
    STRIPES,
    check_count,
    check_flag,
    check_interval,
    check_lock_timeout,
    check_name,
    check_recover_from,
    scrub_pace,
)
from dsm_native.tasks import Tasks

if TYPE_CHECKING:
    from dsm_native.checkpoint_timer import CheckpointTimer
    from dsm_native.executor import ClusterExecutor
    from dsm_native.filling import LossFiller
    from dsm_native.requester import Requester
    from dsm_native.scheduler import Scheduler
    from dsm_native.subscription import Subscription

DEFAULT_REGION = "default"

_attached: weakref.WeakValueDictionary[str, Cluster]
_current: Cluster | None = None


class Cluster(NamedObjects, Elastic, Tasks, Safekeeping):
    """Starts `nodes` node processes and keeps replicated objects in shared memory.

    nodes: 1 to 63, default: the number of processors. replication_factor: copies of each object on
    distinct nodes, 1 to 5 and at most `nodes`, default 2 (1 with one node). name: others attach by
    it; default: a random one. stripes: partitions of the key space, a power of two up to 65,536;
    more of them mean less contention and more memory. segment_bytes: address space reserved per
    node (memory is taken as needed), default: as much as /dev/shm can hold. lock_timeout: seconds
    that a change may wait for a stripe. detach: the cluster outlives this process and is ended by
    `dsm stop NAME`. recovery: what follows the death of a node: "adopt" (a new process takes its
    segment, repaired), "rebuild" (its segment counts as lost), "none" (it is reported). detection:
    when a silent node counts as hung and is killed: "default" (after 3 s), "fast" (0.4 s),
    "relaxed" (20 s) or a `Detection`. faults: `cluster.faults` may do harm on purpose.
    scrub_bytes_per_s: what each node looks at for damage in a second (16 MiB), 0: never.
    rebalance_bytes_per_s: what may be copied in a second when nodes come or go; 0: 100 MiB.
    checkpoint_interval, checkpoint_path: a checkpoint to that directory every so many seconds, and
    at close(), by a thread of this process; what fails is warned of. recover_from: objects of which
    no replica is left may be taken, as older copies, from that checkpoint (the path of a directory
    or file, or "checkpoint" for the checkpoint_path) as soon as their loss is found; see
    `recover_from` for what is. By default they stay lost until somebody says what is to become of
    them.

    Raises ClusterExistsError, StoreFullError, UsageError, NodeLostError. Use it as a context
    manager: leaving the block ends the nodes and removes everything from /dev/shm.
    """

    _scheduler: Scheduler | Requester | None
    _timer: CheckpointTimer | None
    _filler: LossFiller | None

    def __init__(
        self,
        nodes: int | None = None,
        replication_factor: int | None = None,
        name: str | None = None,
        *,
        stripes: int = STRIPES,
        segment_bytes: int = 0,
        lock_timeout: float = 10.0,
        detach: bool = False,
        recovery: str = "adopt",
        detection: str | Detection = "default",
        faults: bool = False,
        scrub_bytes_per_s: int = SCRUB_BYTES_PER_S,
        rebalance_bytes_per_s: int = 0,
        checkpoint_interval: float | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        recover_from: str | os.PathLike[str] | None = None,
        _seed: int = 0,
        _fill: Callable[[Handle], None] | None = None,
    ) -> None:
        if nodes is None:
            nodes = min(os.cpu_count() or 1, NODES_MAX)
        check_count("nodes", nodes, 1, NODES_MAX)
        if replication_factor is None:
            replication_factor = min(2, nodes)
        check_count("replication_factor", replication_factor, 1, min(5, nodes))
        check_count("stripes", stripes, 1, 65536)
        if stripes & (stripes - 1):
            raise UsageError(f"stripes must be a power of two, not {stripes}")
        check_count("segment_bytes", segment_bytes, 0, 1 << 40)
        check_count("rebalance_bytes_per_s", rebalance_bytes_per_s, 0, PACE_MAX)
        lock_timeout = check_lock_timeout(lock_timeout)
        if detach and name is None:
            raise UsageError("a detached cluster needs a name, by which `dsm stop` can end it")
        watching = packed(
            *(check_detection(detection), check_recovery(recovery), check_flag("faults", faults))
        )
        sizes = (nodes, replication_factor, stripes, segment_bytes)
        pace = scrub_pace(scrub_bytes_per_s)
        interval = check_interval(checkpoint_interval, checkpoint_path)
        source = check_recover_from(recover_from, checkpoint_path, recovery)
        name = check_name(name if name is not None else f"anon.{os.urandom(6).hex()}")
        sweep.clean()
        handle = Handle.create(name, *sizes, watching, _seed, pace)
        if _fill is not None:
            handle.lock_timeout = lock_timeout
            fill_concealed(handle, _fill)
        self._set_up(handle, lock_timeout)
        set_pace(handle, rebalance_bytes_per_s)
        self._detached = detach
        try:
            handle.start_service()
            from dsm_native.scheduler import Scheduler as Started

            options = () if source is None else ("--recover-from", source)
            self._scheduler = Started(handle, nodes, recovery != "none", *options)
            if detach:
                handle.detach()
            self._start_threads(interval, checkpoint_path, source)
        except BaseException:
            self._shut_down()
            raise

    def _start_threads(self, interval: float | None, path: Any, source: str | None) -> None:
        if source is not None:
            from dsm_native.filling import LossFiller

            self._filler = LossFiller(self._handle, source)
        if interval is not None and path is not None:
            from dsm_native.checkpoint_timer import CheckpointTimer

            self._timer = CheckpointTimer(self, interval, os.path.abspath(os.fsdecode(path)))

    def _set_up(self, handle: Handle, lock_timeout: float) -> None:
        self._timer = None
        self._filler = None
        handle.lock_timeout = lock_timeout
        self._handle = handle
        self._owner_pid = os.getpid() if handle.owner else 0
        self._detached = False
        self._scheduler = None
        self._pools: dict[Any, ClusterExecutor] = {}
        self._regions: dict[str, Region] = {}
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        _attached[handle.name] = self
        try:
            self.default = self.region(DEFAULT_REGION)
        except BaseException:
            self._shut_down()
            raise

    @classmethod
    def _of(cls, handle: Handle, lock_timeout: float) -> Cluster:
        self = cls.__new__(cls)
        self._set_up(handle, lock_timeout)
        return self

    # ---- state ----------------------------------------------------------------------------------

    @property
    def node_count(self) -> int:
        """How many nodes there are, those that are being removed not counted."""
        return sum(state == "up" for state, _, _ in node_table(self._handle).values())

    def stats(self) -> dict[str, Any]:
        """Sizes and counts, as plain data: per node, per region, attached processes."""
        handle = self._handle
        return {
            "name": handle.name,
            "stripes": handle.stripes,
            "replication_factor": handle.replicas,
            "nodes": self._usages(),
            "regions": {name: len(self.region(name)) for name in self.regions},
            "arrays": {array.name: array.stats() for array in self._each_array()},
            "participants": handle.participants(),
            "recovery": counters(handle),
        }

    @property
    def closed(self) -> bool:
        """Whether this handle was closed or the cluster has stopped."""
        return self._handle.closed

    def _shut_down(self) -> None:
        mine = self._handle.owner and os.getpid() == self._owner_pid
        timer, self._timer = self._timer, None
        filler, self._filler = self._filler, None
        try:
            if filler is not None and mine:
                filler.close()
            if timer is not None and mine:
                timer.close()
        finally:  # an interrupt, or a warning that is an error, keeps no cluster open
            self._leave(mine)

    def _leave(self, mine: bool) -> None:
        handle = self._handle
        if self._scheduler is not None and mine:
            self._scheduler.stop()
        if mine and not self._detached:
            handle.stop()
        if self._scheduler is not None and mine:
            self._scheduler.close(wait=not self._detached)
        self._scheduler = None
        if mine and not self._detached:
            handle.unlink()
        for subscription in list(self._subscriptions):
            subscription.close()
        handle.close()

    def close(self) -> None:
        """Leaves the cluster; the owner's close also ends its nodes and removes the segments.

        Views stay valid, everything else raises ClosedError afterwards. Idempotent.
        """
        self._shut_down()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Cluster {self._handle.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return reattach, (self._handle.name,)


def fill_concealed(handle: Handle, fill: Callable[[Handle], None]) -> None:
    """Fills a cluster to which nobody can attach yet; if that fails, nothing of it is left."""
    try:
        fill(handle)
        handle.reveal()
    except BaseException:
        handle.stop()
        handle.unlink()
        handle.close()
        raise


_attached = weakref.WeakValueDictionary()


def owned() -> list[Cluster]:
    """The open clusters that this process has started."""
    mine = os.getpid()
    return [known for known in _attached.values() if known._owner_pid == mine and not known.closed]


def attach(name: str, *, lock_timeout: float = 10.0) -> Cluster:
    """Joins the running cluster of that name, from any process of the same user.

    Raises ClusterNotFoundError, CorruptError, and LimitError beyond 192 of them at once.
    """
    lock_timeout = check_lock_timeout(lock_timeout)
    handle = Handle.attach(check_name(name))
    if not any(entry["alive"] for entry in handle.participants() if entry["kind"] != "client"):
        handle.close()
        raise ClusterNotFoundError(
            f"the owner and the nodes of cluster {name!r} were all killed; Cluster(name={name!r}) "
            f"begins a new one, `dsm clean` removes what they left"
        )
    return Cluster._of(handle, lock_timeout)


def reattach(name: str) -> Cluster:
    """Where a pickled handle arrives: this process's attachment to the cluster, or a new one."""
    known = _attached.get(name)
    if known is not None and not known.closed:
        return known
    return attach(name)


def reattach_region(cluster: str, region: str) -> Region:
    """Where a pickled region arrives."""
    # The region holds the handle only; the cluster's object must outlive the unpickling.
    _kept_alive[cluster] = reattach(cluster)
    return _kept_alive[cluster].region(region)


def reattach_array(cluster: str, array: str) -> Array:
    """Where a pickled array arrives."""
    _kept_alive[cluster] = reattach(cluster)
    return _kept_alive[cluster].array(array)


def reattach_object(cluster: str, kind: str, *arguments: Any) -> Any:
    """Where a pickled lock, queue or the like arrives."""
    _kept_alive[cluster] = reattach(cluster)
    return getattr(_kept_alive[cluster], kind)(*arguments)


_kept_alive: dict[str, Cluster] = {}


def current() -> Cluster:
    """In a function that runs on a node: the node's cluster. UsageError elsewhere."""
    if _current is None:
        raise UsageError("current() is for functions that run on a node of a cluster")
    return _current


def set_current(cluster: Cluster) -> None:
    """For the node's main program."""
    global _current
    _current = cluster


def _close_all() -> None:
    end_with_interpreter()
    for cluster in list(_attached.values()):
        cluster.close()


atexit.register(_close_all)
