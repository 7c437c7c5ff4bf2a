"""A cluster: node processes, their segments, and the regions in them.

The owner (who calls `Cluster(...)`) creates the segments and starts the nodes; the nodes end with
it. Other processes join by `attach(name)` or by unpickling a handle. All of them read and write the
segments directly; the node processes serve as workers, watch for deaths and settle checksums.

Longer than 400 lines: one class, the package's public face.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from dsm_native import sweep
from dsm_native._native.handle import Handle, end_with_interpreter
from dsm_native._native.nodes import node_table, set_pace
from dsm_native._native.recovery import counters
from dsm_native.arrays import Array, array_names, check_array, open_array
from dsm_native.checking import check_objects, check_synchronisation
from dsm_native.detection import Detection, check_detection, check_recovery, packed
from dsm_native.elastic import PACE_MAX, Elastic
from dsm_native.exceptions import (
    ClosedError,
    ClusterNotFoundError,
    CorruptError,
    ForkedError,
    KeyNotFoundError,
    NoReplicasAvailableError,
    UsageError,
)
from dsm_native.membership import Membership
from dsm_native.named import NamedObjects
from dsm_native.recovery import LossReport, accept_lost, find_lost
from dsm_native.region import Region
from dsm_native.reports import CheckReport
from dsm_native.settings import (
    NODES_MAX,
    OWN_REGIONS,
    SCRUB_BYTES_PER_S,
    STRIPES,
    check_count,
    check_flag,
    check_interval,
    check_lock_timeout,
    check_name,
    check_recover_from,
    check_region_name,
    scrub_pace,
)
from dsm_native.transaction import Result, Transaction

if TYPE_CHECKING:
    from dsm_native.checkpoint import CheckpointReport
    from dsm_native.checkpoint_timer import CheckpointTimer
    from dsm_native.executor import ClusterExecutor, TaskFuture
    from dsm_native.filling import FillReport, LossFiller
    from dsm_native.requester import Requester
    from dsm_native.scheduler import Scheduler
    from dsm_native.subscription import Subscription

DEFAULT_REGION = "default"

_attached: weakref.WeakValueDictionary[str, Cluster]
_current: Cluster | None = None


class Cluster(NamedObjects, Membership, Elastic):
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

    # ---- objects --------------------------------------------------------------------------------

    def region(
        self,
        name: str,
        *,
        consistency: str = "strong",
        replication_factor: int | None = None,
        allow_pickle: bool | None = None,
    ) -> Region:
        """Opens the region of that name, or creates it.

        consistency: "strong", the one level of this version. replication_factor: at most the
        cluster's, which is the default. allow_pickle: whether values of other types than `None`,
        `bool`, `int`, `float`, `str`, `bytes` and arrays are accepted (default True). Settings that
        differ from those of the existing region raise UsageError; left out, they are taken from it.
        """
        if consistency != "strong":
            raise UsageError(f"consistency must be 'strong', not {consistency!r}")
        check_region_name(name)
        replicas = self._handle.replicas
        known = self._regions.get(name)
        if known is not None and replication_factor is None and allow_pickle is None:
            return known
        if replication_factor is not None:
            check_count("replication_factor", replication_factor, 1, replicas)
        index, actual, pickles = self._handle.open_region(
            name,
            replicas if replication_factor is None else replication_factor,
            allow_pickle is not False,
            False,
        )
        for label, asked, has in (
            ("replication_factor", replication_factor, actual),
            ("allow_pickle", allow_pickle, pickles),
        ):
            if asked is not None and asked != has:
                raise UsageError(f"region {name!r} exists with {label}={has}, not {asked}")
        region = Region(self._handle, name, index, actual, pickles)
        self._regions[name] = region
        return region

    def array(
        self,
        name: str,
        shape: int | Iterable[int] | None = None,
        dtype: Any = None,
        *,
        order: str | None = None,
        tile_rows: int | None = None,
        replication_factor: int | None = None,
        undo: bool | None = None,
    ) -> Array:
        """Opens the shared array of that name, or creates it, zeroed, if a shape is given.

        shape: an int or a tuple of ints, which may be empty or hold zeros. dtype: any numpy dtype
        of fixed size, structured ones included (default "f8"). order: "C" (default) or "F".
        tile_rows: rows of a tile, the unit of locking; default: as many as make about 256 KiB.
        replication_factor: copies, at most the cluster's, which is the default. undo: whether a
        kill of a writer restores (default) or leaves its tiles torn. Settings that differ from
        those of the existing array raise UsageError; left out, they are taken from it. All memory
        is taken at once: StoreFullError. Waits while another process makes or resizes it.
        """
        check_region_name(name, "an array")
        if order not in (None, "C", "F"):
            raise UsageError(f"order must be 'C' or 'F', not {order!r}")
        if tile_rows is not None:
            check_count("tile_rows", tile_rows, 1, 1 << 40)
        replicas = self._handle.replicas
        if replication_factor is not None:
            check_count("replication_factor", replication_factor, 1, replicas)
        settings = {
            "order": order,
            "tile_rows": tile_rows,
            "replication_factor": replication_factor,
            "undo": undo,
        }
        return open_array(self._handle, replicas, name, shape, dtype, settings)

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays, sorted."""
        return array_names(self._handle)

    def _each_array(self) -> Iterable[Array]:
        for name in self.arrays:
            # It was deleted meanwhile, or it is damaged, which is for check() to tell.
            with contextlib.suppress(KeyNotFoundError, CorruptError, NoReplicasAvailableError):
                yield self.array(name)

    @property
    def regions(self) -> list[str]:
        """Names of the regions, in order of creation."""
        names = self._handle.region_names()
        return [name for name in names if not name.startswith(OWN_REGIONS)]

    def __getitem__(self, key: Any) -> Any:
        return self.default[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.default[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.default[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.default

    __iter__ = None  # item access alone would make a cluster look iterable

    def transaction(self, *, timeout: float | None = None) -> Transaction:
        """One over `default` and, by its `region(other)`, over all. See Region.transaction."""
        return self.default.transaction(timeout=timeout)

    def transact(self, function: Callable[[Transaction], Result], **options: Any) -> Result:
        """Runs function(transaction) and commits, again if it must. See Region.transact."""
        return self.default.transact(function, **options)

    # ---- work -----------------------------------------------------------------------------------

    def executor(
        self,
        *,
        retries: int = 1,
        task_timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> ClusterExecutor:
        """A `concurrent.futures.Executor` on the nodes; any number of them at once.

        retries: how often a task runs again whose worker was lost; 0 for tasks that must not
        repeat. task_timeout: seconds after which a task's worker is killed and replaced.
        initializer(*initargs) runs once in each worker before the executor's first task there.
        """
        from dsm_native.executor import ClusterExecutor

        backend = self._backend("executor()")
        own = partial(_check_owner, self._owner_pid)
        return ClusterExecutor(backend, own, retries, task_timeout, initializer, initargs)

    def submit(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        node: int | None = None,
        near: Any = None,
        region: Region | None = None,
        retries: int = 1,
        task_timeout: float | None = None,
        **kwargs: Any,
    ) -> TaskFuture:
        """Schedules function(*args, **kwargs) on a node; returns a `concurrent.futures.Future`.

        node: on that node. near: on the node that holds the primary of that key, of the region
        `region` (default: the cluster's default region). retries, task_timeout: see executor().
        For keyword arguments of these names, use executor().
        """
        pool = self._pool("submit()", retries, task_timeout)
        if near is not None and region is None:
            region = self.default
        return pool.submit_to(pool._backend.place(node, near, region), function, args, kwargs)

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        retries: int = 1,
        progress: Callable[[int], None] | bool | None = None,
        task_timeout: float | None = None,
    ) -> list[Any]:
        """Runs function(item) for each item on the nodes; returns the results in order.

        Functions travel by cloudpickle, so lambdas and functions of `__main__` work; in them,
        `dsm_native.current()` is this cluster. An exception of a task is raised here, with the
        remote traceback as its cause. If a worker is killed, it is replaced, and what it was
        running runs again, up to `retries` times, then WorkerLostError: tasks should be idempotent.
        `progress` is called with 1 for each finished task; True shows a bar on standard error.
        task_timeout: see executor(). Blocks. Only the owner and tasks on nodes can run tasks.
        """
        from dsm_native.executor import run_map
        from dsm_native.progress import Bar

        pool = self._pool("map()", retries, task_timeout)
        items = list(items)
        if progress is not True:
            return run_map(pool, function, items, progress or None)
        with Bar(len(items)) as bar:
            return run_map(pool, function, items, bar.advance)

    def _backend(self, what: str) -> Scheduler | Requester:
        _check_owner(self._owner_pid, what)
        if self._handle.closed:
            raise ClosedError(f"cluster {self.name!r} is closed")
        if self._scheduler is None:
            raise UsageError(
                f"{what} is for the process that started the cluster and for tasks on its nodes; "
                f"this process has attached itself"
            )
        return self._scheduler

    def _pool(self, what: str, retries: int, task_timeout: float | None) -> ClusterExecutor:
        backend = self._backend(what)
        pool = self._pools.get((retries, task_timeout))
        if pool is None:
            from dsm_native.executor import ClusterExecutor

            own = partial(_check_owner, self._owner_pid)
            pool = ClusterExecutor(backend, own, retries, task_timeout, at_exit=False)
            self._pools[retries, task_timeout] = pool
        return pool

    # ---- state ----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name by which other processes attach."""
        return self._handle.name

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

    def check(self, repair: bool = False) -> CheckReport:
        """Verifies everything in the segments, while they are used; see CheckReport. Objects of
        synchronisation by name too, but for bare numbers (counters, atomic arrays, owners of locks).

        repair: mend what replicas still tell: damaged objects and tables are taken from a replica
        that validates, counts are recomputed, memory that nothing refers to is freed, and a segment
        that is beyond mending is replaced, for which it waits, at most lock_timeout. Blocks for one
        stripe at a time; LockTimeoutError if a stopped process holds one.
        """
        report = check_objects(self._handle, repair, self.recovery != "none")
        report = report.joined(*check_synchronisation(self._handle, repair))
        for name in self.arrays:
            report = report.joined(*check_array(self._handle, name, repair))
        return report

    def lost(self) -> LossReport:
        """What no replica has any more; see LossReport. Looks at every key if there is anything.

        Reading a lost key raises NoReplicasAvailableError until it is put, deleted or accepted;
        so does reading an absent key of a stripe that has lost keys which nobody knows.
        """
        return find_lost(self._handle, self._all_regions())

    def accept_loss(self) -> LossReport:
        """Lets what is lost be absent from now on, and returns what that was.

        Blocks for one stripe at a time; LockTimeoutError.
        """
        return accept_lost(self._handle, self._all_regions())

    def recover_from(self, path: str | os.PathLike[str]) -> FillReport:
        """Puts an older copy, from a checkpoint, in the place of each object that is lost.

        path: a directory of `checkpoint`, or a file. Only what `lost` tells comes back, with new
        versions: keys that are known to be lost, and in stripes with unknown losses all keys that
        are absent, so also ones that were deleted since the checkpoint. What was put meanwhile
        stays. What is in no checkpoint stays lost, until it is put or accepted. Recorded as an
        event "filled" (see `failures`). Arrays are not touched.

        From any attached process; may be called again, also after a kill. Blocks for as long as the
        saved stripes take to be read. CorruptError or OSError of a checkpoint that was needed,
        after the ones before it were tried; UsageError if it is not of this cluster;
        LockTimeoutError, StoreFullError.
        """
        from dsm_native.checkpoint_directory import path_of
        from dsm_native.filling import fill_now

        return fill_now(self._handle, os.path.abspath(path_of(path)))

    def _fill_first(self) -> None:
        """Before a checkpoint: it should not lack what an earlier one could have given back."""
        if self._filler is not None:
            self._filler.attempt()

    def _all_regions(self) -> list[Region]:
        return [self.region(name) for name in self.regions]

    def checkpoint(
        self, path_or_file: Any, *, full: bool = False, timeout: float | None = None
    ) -> CheckpointReport:
        """Saves all objects and arrays as they are at one instant, while everybody goes on.

        path_or_file: a directory (made if need be), which then keeps the two latest checkpoints
        (and the latest that shares no file with them, if they share one), and into which only
        changes are written when it can be (full: not even then); or anything with write(bytes),
        which gets the whole as a stream. `dsm_native.restore` makes a cluster of
        either. From any participant; one at a time: timeout, default lock_timeout, is how long to
        wait for another one, then LockTimeoutError.

        Writers of objects do not wait; writers of arrays do, while the latest changes are copied,
        for milliseconds. Not saved: locks, queues, counters and the like by name. StoreFullError if
        /dev/shm has no room for what is replaced meanwhile; OSError of the disk; TornWriteError and
        CorruptError for what is damaged: the checkpoints before stay as they were.
        """
        check_flag("full", full)
        if timeout is not None:
            timeout = check_lock_timeout(timeout, "timeout")
        if hasattr(path_or_file, "write"):
            from dsm_native.checkpoint import stream_checkpoint

            return stream_checkpoint(self._handle, path_or_file, timeout)
        from dsm_native.checkpoint_directory import directory_checkpoint, path_of

        return directory_checkpoint(self._handle, path_of(path_or_file), full, timeout)

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


def _check_owner(owner_pid: int, what: str) -> None:
    if owner_pid and os.getpid() != owner_pid:
        raise ForkedError(
            f"{what} is for process {owner_pid}, which started the cluster; this is its forked "
            f"child {os.getpid()}"
        )


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
