# A process's handle on a cluster: create, attach, close, fork, and what the segments tell of it.
#
# The handle holds one reference on the C cluster; views hold others, so mappings outlive close().
# All methods run under the GIL but for waits; a handle may be used by any number of threads.
from dsm_native._native.core cimport (
    DSM_ARENA_PAGE_BYTES, DSM_CLUSTER_NAME_BYTES, DSM_CORRUPT, DSM_NOBODY, DSM_OK,
    DSM_PARTICIPANTS_MAX,
    DSM_PARTICIPANT_DEAD, DSM_PARTICIPANT_FORKING, DSM_PARTICIPANT_NODE, DSM_PARTICIPANT_OWNER,
    DSM_REGIONS_MAX, DSM_REGION_NAME_BYTES, dsm_arena_usage, dsm_arena_usage_read, dsm_call,
    dsm_call_make, dsm_cluster, dsm_cluster_attach,
    dsm_cluster_create, dsm_cluster_detach, dsm_cluster_drop, dsm_cluster_fork_adopt,
    dsm_cluster_fork_prepare, dsm_cluster_forked, dsm_cluster_ready,
    dsm_cluster_reveal,
    dsm_cluster_running, dsm_cluster_stop, dsm_cluster_stopping, dsm_cluster_unlink_own,
    DSM_NODES_MAX, dsm_fault, dsm_node_objects, dsm_nodes_catch_up, dsm_nodes_epoch,
    dsm_options, dsm_os_monotonic_ns, dsm_os_process, dsm_space_present, dsm_os_process_alive,
    dsm_os_process_state, dsm_os_room_bytes, dsm_os_segment_alone,
    dsm_os_segment_sweep, dsm_os_user, dsm_participant_info, dsm_participant_read,
    dsm_region_name, dsm_region_open, dsm_region_settings, dsm_service_start, dsm_service_stop,
    dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from libc.string cimport memset
from libcpp cimport bool as cbool

import os
import threading
import time
import weakref

from dsm_native.exceptions import ClosedError, CorruptError, UsageError

cdef object handles = weakref.WeakSet()

cdef bint ending = False


def end_with_interpreter():
    """From now on daemon threads that still use a closed handle are held, not told."""
    global ending
    ending = True


cdef int hold_daemon() except -1:
    # Python freezes daemon threads when it ends; handles are closed a little earlier, and a thread
    # that meets one then would print a traceback into an orderly exit.
    # Our own threads end by themselves, and are waited for.
    cdef object thread = threading.current_thread()
    while ending and thread.daemon and not getattr(thread, "ends_with_cluster", False):
        time.sleep(1)
    return 0


cdef class Handle:
    """A process's attachment to one cluster. Use `dsm_native.Cluster` and `attach` instead."""

    def __cinit__(self):
        self.cluster = NULL
        self.fork_slot = DSM_NOBODY
        self.lock_timeout = 10.0

    def __dealloc__(self):
        if self.cluster == NULL:
            return
        # An owner that forgot to close, or was interrupted before it could, ends its cluster.
        if self.owner and not dsm_cluster_forked(self.cluster) and not self.detached:
            dsm_cluster_stop(self.cluster)
            dsm_cluster_unlink_own(self.cluster)
        dsm_cluster_drop(self.cluster)

    @staticmethod
    def create(str name, uint32_t nodes, uint32_t replicas, uint32_t stripes,
               uint64_t segment_bytes, watching, uint64_t hash_seed=0, uint32_t scrub_kib_per_s=0):
        """Creates all segments; the caller becomes the owner. Blocks for some milliseconds.

        watching: the numbers of dsm_detection_shm (csrc/mem/layout.h), in order. With the seed of
        an earlier cluster, nobody can attach until `reveal`.

        """
        cdef Handle self = Handle()
        cdef dsm_options options
        cdef dsm_fault fault
        cdef dsm_status status
        encoded = name.encode()
        options.name = encoded
        options.node_count = nodes
        options.replicas = replicas
        options.stripe_count = stripes
        options.node_segment_bytes = segment_bytes
        options.hash_seed = hash_seed
        options.scrub_kib_per_s = scrub_kib_per_s
        (options.detection.heartbeat_ms, options.detection.suspect_ms,
         options.detection.timeout_ms, options.detection.accrual,
         options.detection.phi_suspect_milli, options.detection.phi_dead_milli,
         options.detection.pause_ms, options.detection.recovery,
         options.detection.faults) = watching
        options.detection.reserved = 0
        with nogil:
            status = dsm_cluster_create(&options, &self.cluster, &fault)
        if status != DSM_OK:
            self.cluster = NULL
            raise fault_error(status, &fault, name, 0)
        self.owner = True
        self.settle_in(name)
        return self

    @staticmethod
    def attach(str name, int node=-1):
        """Maps the segments of a running cluster; node >= 0 for that node's own process."""
        cdef Handle self = Handle()
        cdef dsm_fault fault
        cdef dsm_status status
        encoded = name.encode()
        cdef const char *text = encoded
        with nogil:
            status = dsm_cluster_attach(text, node, &self.cluster, &fault)
        if status != DSM_OK:
            self.cluster = NULL
            raise fault_error(status, &fault, name, 2.0)
        self.settle_in(name)
        return self

    def settle_in(self, str name):
        self.name = name
        self.space = &self.cluster.space
        handles.add(self)

    cdef int refuse(self) except -1:
        if self.cluster == NULL or not dsm_cluster_running(self.cluster):
            hold_daemon()
        if self.cluster == NULL:
            raise ClosedError(f"cluster {self.name!r} is closed in this process")
        if dsm_cluster_forked(self.cluster):
            self.adopt()
        if dsm_cluster_stopping(self.cluster):
            raise ClosedError(f"cluster {self.name!r} has stopped")
        if not dsm_cluster_running(self.cluster):
            raise CorruptError(
                f"cluster {self.name!r} is neither running nor stopping: its control segment is "
                f"damaged; close it where it was started, and begin anew")
        return 0

    def adopt(self):
        """In a forked child: joins with an identity of its own, on the inherited mappings."""
        cdef dsm_fault fault
        cdef uint32_t slot = self.fork_slot
        if self.cluster == NULL or not dsm_cluster_forked(self.cluster):
            return
        self.fork_slot = DSM_NOBODY
        self.owner = False
        cdef dsm_status status = dsm_cluster_fork_adopt(self.cluster, slot, &fault)
        if status != DSM_OK:
            raise fault_error(status, &fault, self.name, 2.0)

    def prepare_fork(self):
        if self.cluster != NULL:
            self.fork_slot = dsm_cluster_fork_prepare(self.cluster)

    def adopt_pins(self):
        if self.fork_slot != DSM_NOBODY:
            self.adopt()

    def forget_fork(self):
        self.fork_slot = DSM_NOBODY

    def close(self):
        """Leaves the cluster. Views that were taken stay valid. Idempotent."""
        cdef dsm_cluster *cluster = self.cluster
        if cluster == NULL:
            return
        self.cluster = NULL
        handles.discard(self)
        with nogil:
            dsm_service_stop(cluster)
            dsm_cluster_drop(cluster)

    @property
    def closed(self):
        return self.cluster == NULL or dsm_cluster_stopping(self.cluster)

    @property
    def node_count(self):
        self.refuse()
        return self.space.node_count

    @property
    def epoch(self):
        """Number of the node table: grows by one with each change."""
        self.refuse()
        return dsm_nodes_epoch(self.space)

    @property
    def replicas(self):
        self.refuse()
        return self.space.replicas

    @property
    def stripes(self):
        self.refuse()
        return self.space.stripe_count

    @property
    def forked(self):
        """Whether this handle was inherited by fork and not yet used here."""
        return self.cluster != NULL and dsm_cluster_forked(self.cluster)

    def start_service(self, int node=-1):
        """Starts the native service thread; returns a descriptor that tells when to stop."""
        cdef int stopping = -1
        cdef dsm_fault fault
        cdef dsm_status status = dsm_service_start(self.cluster, node, &stopping)
        if status != DSM_OK:
            fault = dsm_call_make(self.space, 0).fault
            raise fault_error(status, &fault, self.name, 0)
        return stopping

    def ready(self):
        dsm_cluster_ready(self.cluster)

    def reveal(self):
        """From now on others can attach."""
        self.refuse()
        dsm_cluster_reveal(self.cluster)

    def stop(self):
        if self.cluster != NULL:
            dsm_cluster_stop(self.cluster)

    def detach(self):
        self.refuse()
        dsm_cluster_detach(self.cluster)
        self.detached = True

    def unlink(self):
        if self.cluster != NULL:
            dsm_cluster_unlink_own(self.cluster)

    def open_region(self, str name, uint32_t replicas, bint allow_pickle, bint match):
        """Opens or creates a region: (index, replicas, allow_pickle)."""
        self.refuse()
        cdef dsm_call call = dsm_call_make(self.space, <uint32_t>(self.lock_timeout * 1000))
        cdef dsm_region_settings settings, actual
        cdef uint32_t region = 0
        cdef dsm_status status
        encoded = name.encode()
        cdef const char *text = encoded
        cdef uint32_t length = <uint32_t>len(encoded)
        settings.replicas = replicas
        settings.allow_pickle = allow_pickle
        with nogil:
            status = dsm_region_open(&call, text, length, &settings, match, &region, &actual)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, name, self.lock_timeout)
        return region, actual.replicas, bool(actual.allow_pickle)

    def region_names(self):
        """Names of all regions, in order of creation."""
        self.refuse()
        cdef char text[64]
        cdef uint32_t length = 0, i
        names = []
        for i in range(DSM_REGIONS_MAX):
            if not dsm_region_name(self.space, i, text, &length):
                break
            names.append(text[:length].decode())
        return names

    def participants(self):
        """One dict per attached process: index, kind, node, pid, incarnation, alive, …"""
        self.refuse()
        cdef dsm_participant_info info
        cdef dsm_os_process process
        cdef uint32_t i
        cdef uint64_t now = dsm_os_monotonic_ns()
        kinds = {DSM_PARTICIPANT_OWNER: "owner", DSM_PARTICIPANT_NODE: "node",
                 DSM_PARTICIPANT_FORKING: "client", DSM_PARTICIPANT_DEAD: "dead"}
        found = []
        for i in range(DSM_PARTICIPANTS_MAX):
            if not dsm_participant_read(self.space, i, &info):
                continue
            process.pid = info.pid
            process.start_ticks = info.start_ticks
            kind = kinds.get(info.kind, "client")
            if kind == "dead":
                kind = "owner" if i == 0 else "node"
            found.append({
                "index": i, "kind": kind, "pid": info.pid, "incarnation": info.incarnation,
                "node": info.node if kind == "node" else None,
                "alive": info.kind != DSM_PARTICIPANT_DEAD and bool(dsm_os_process_alive(&process)),
                "process_state": chr(dsm_os_process_state(&process)), "pins": info.pins,
                "ready": bool(info.ready), "unserved": not info.ready and info.died_ns == 0,
                "beat_age_s": max(0, <double>now - <double>info.beat_ns) / 1e9,
            })
        return found

    def usage(self, uint32_t node):
        """Objects and bytes of one node's segment, as of about now."""
        self.refuse()
        cdef dsm_call call = dsm_call_make(self.space, 0)
        cdef dsm_arena_usage pages
        dsm_nodes_catch_up(&call)
        if node >= DSM_NODES_MAX or not dsm_space_present(self.space, node):
            raise UsageError(f"cluster {self.name!r} has no node {node}")
        cdef dsm_status status = dsm_arena_usage_read(&call, node, &pages)
        if status == DSM_CORRUPT:  # until it is mended or replaced
            memset(&pages, 0, sizeof(pages))
        elif status != DSM_OK:
            raise fault_error(status, &call.fault, self.name, 0)
        used = pages.total_pages - pages.free_pages - pages.unbacked_pages
        return {"objects": dsm_node_objects(self.space, node),
                "used_bytes": used * DSM_ARENA_PAGE_BYTES,
                "free_bytes": pages.free_pages * DSM_ARENA_PAGE_BYTES,
                "limbo_bytes": pages.limbo_pages * DSM_ARENA_PAGE_BYTES,
                "reserved_bytes": pages.total_pages * DSM_ARENA_PAGE_BYTES}


def segment_alone(str segment):
    """Whether nobody holds the presence lock of a segment ("/dsm-…"); None if it is gone."""
    cdef cbool alone = False
    encoded = os.fsencode(segment)
    cdef dsm_status status = dsm_os_segment_alone(encoded, &alone)
    return bool(alone) if status == DSM_OK else None


def segment_sweep(str segment):
    """Removes a segment that nobody holds; returns whether it did."""
    cdef cbool removed = False
    encoded = os.fsencode(segment)
    dsm_os_segment_sweep(encoded, &removed)
    return bool(removed)


def room_bytes():
    """Bytes that /dev/shm and the memory limits leave."""
    return dsm_os_room_bytes()


def user_number():
    return dsm_os_user()


NAME_BYTES_MAX = DSM_CLUSTER_NAME_BYTES - 1
REGION_NAME_BYTES_MAX = DSM_REGION_NAME_BYTES


def _before_fork():
    for handle in list(handles):
        handle.prepare_fork()


def _after_fork_in_child():
    for handle in list(handles):
        handle.adopt_pins()


def _after_fork_in_parent():
    for handle in list(handles):
        handle.forget_fork()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child,
                    after_in_parent=_after_fork_in_parent)
