# What happened to the members of a cluster, and doing it to them. The rules are csrc/node/event.h,
# report.h and starter.h; dsm_native/membership.py gives the records names.
#
# Reading takes no lock. A Reader holds the mapping and not the handle, so that a subscription whose
# cluster was dropped ends by itself; in a forked child it reads nothing more.
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, DSM_NODES_MAX, DSM_OK, DSM_PARTICIPANT_NODE, dsm_call, dsm_call_make,
    dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_cluster_running,
    dsm_os_process, dsm_participant_info, dsm_participant_read, dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.handle cimport Handle, handle_ready
from libc.stdlib cimport calloc, free

import os
import weakref

from dsm_native.exceptions import NodeLostError, UsageError


cdef extern from "os/os.h" nogil:
    void dsm_os_thread_prompt()

cdef object readers = weakref.WeakSet()


cdef class Reader:
    """The events of a cluster from some sequence number on, each once, in order."""

    cdef dsm_cluster *cluster
    cdef readonly uint64_t next  # sequence of the next event
    cdef public bint over        # waits are to end, and the next ones at once
    cdef object __weakref__

    def __cinit__(self, Handle handle, since=None):
        """since: the first sequence number wanted; by default that of the next event."""
        handle_ready(handle)
        self.cluster = handle.cluster
        dsm_cluster_hold(self.cluster)
        self.next = dsm_event_latest(&self.cluster.space) + 1 if since is None else since
        readers.add(self)

    def __dealloc__(self):
        self.release()

    def release(self):
        """Lets go of the mapping; nothing can be read any more."""
        cdef dsm_cluster *cluster = self.cluster
        self.cluster = NULL
        if cluster != NULL:
            dsm_cluster_drop(cluster)

    def take(self):
        """The next event as a tuple (see EVENT_FIELDS); an int: so many are gone; None: not yet."""
        cdef dsm_event event
        cdef dsm_event_outcome outcome
        cdef uint64_t oldest
        if self.cluster == NULL:
            return None
        outcome = dsm_event_read(&self.cluster.space, self.next, &event)
        if outcome == DSM_EVENT_NONE_YET:
            return None
        if outcome == DSM_EVENT_OVERWRITTEN:
            oldest = dsm_event_oldest(&self.cluster.space)
            missed = oldest - self.next
            self.next = oldest
            return int(missed)
        self.next += 1
        if outcome == DSM_EVENT_DAMAGED:
            return 1
        return (event.sequence, event.realtime_ns, event.monotonic_ns, event.kind,
                None if event.node < 0 else event.node, event.incarnation, event.pid, event.found,
                None if event.status == DSM_STATUS_UNKNOWN else event.status, event.amount,
                event.bytes, event.detection_ns, event.recovery_ns, event.stripes, event.checkpoint,
                event.checkpoint_ns)

    def begin(self):
        """By the thread that will wait here: it is to run soon after it is woken."""
        dsm_os_thread_prompt()

    def wait(self):
        """Sleeps until there is a next event; False once the cluster has stopped or `over` is set.
        """
        cdef dsm_cluster *cluster = self.cluster
        cdef bint running
        if cluster == NULL:
            return False
        dsm_cluster_hold(cluster)  # release() may come meanwhile
        with nogil:
            while (not self.over and dsm_cluster_running(cluster)
                    and dsm_event_latest(&cluster.space) < self.next):
                # In slices: a poster may have been killed between record and wake.
                dsm_event_wait(&cluster.space, self.next - 1, DSM_LOCK_SLICE_MS * 1000)
            running = dsm_cluster_running(cluster)
            dsm_cluster_drop(cluster)
        return not self.over and bool(running)


EVENT_FIELDS = ("sequence", "realtime_ns", "monotonic_ns", "kind", "node", "incarnation", "pid",
                "found", "exitcode", "amount", "bytes", "detection_ns", "recovery_ns", "stripes",
                "checkpoint", "checkpoint_ns")


def _release_all():
    for reader in list(readers):
        reader.release()


os.register_at_fork(after_in_child=_release_all)


def oldest(Handle handle):
    """Sequence number of the oldest event that can still be read."""
    handle_ready(handle)
    return dsm_event_oldest(handle.space)


def suspected(Handle handle, uint32_t node, uint32_t incarnation):
    """Whether that incarnation of a node is silent for longer than it should."""
    handle_ready(handle)
    return bool(dsm_report_suspected(handle.space, 1 + node, incarnation))


def watching(Handle handle):
    """What the cluster was made with: the numbers of dsm_detection_shm, in order."""
    handle_ready(handle)
    cdef const dsm_detection_shm *chosen = dsm__watching(handle.space)
    return (chosen.heartbeat_ms, chosen.suspect_ms, chosen.timeout_ms, chosen.accrual,
            chosen.phi_suspect_milli, chosen.phi_dead_milli, chosen.pause_ms, chosen.recovery,
            chosen.faults)


def areas(Handle handle):
    """Where the areas of a node's segment begin: name to byte offset, in order, "end" last."""
    handle_ready(handle)
    cdef const dsm_layout *layout = dsm__layout(handle.space)
    return {"header": 0, "unsettled": layout.node_unsettled, "routes": layout.node_routes,
            "subs": layout.subs, "pages": layout.pages, "data": layout.data,
            "end": layout.node_bytes}


def report_exit(Handle handle, uint32_t node, uint32_t pid, int status):
    """By the parent: how a node's process ended; minus the signal, or the exit status."""
    handle_ready(handle)
    cdef dsm_call call = dsm_call_make(handle.space, DSM_LOCK_SLICE_MS)
    with nogil:
        dsm_report_exit(&call, node, pid, status)


def report_filled(Handle handle, int node, uint32_t stripes, uint64_t value_bytes,
                  uint64_t checkpoint, uint64_t checkpoint_ns):
    """What has come from that checkpoint since it was last told, of so many stripes."""
    handle_ready(handle)
    cdef dsm_call call = dsm_call_make(handle.space, DSM_LOCK_SLICE_MS)
    with nogil:
        dsm_report_filled(&call, node, stripes, value_bytes, checkpoint, checkpoint_ns)


def report_unfilled(Handle handle, int node, uint32_t stripes):
    """So many stripes have objects that are lost and that no checkpoint gave back."""
    handle_ready(handle)
    cdef dsm_call call = dsm_call_make(handle.space, DSM_LOCK_SLICE_MS)
    with nogil:
        dsm_report_unfilled(&call, node, stripes)


def report_strike(Handle handle, uint32_t node):
    """By the parent, before it kills a node's process."""
    handle_ready(handle)
    dsm_report_strike(handle.space, 1 + node, DSM_FINDING_PARENT)


def signal_node(Handle handle, node, str what):
    """Sends "kill", "stop" or "continue" to a node's process; its pid. NodeLostError if it is gone.
    """
    handle_ready(handle)
    cdef dsm_participant_info info
    cdef dsm_os_process process
    cdef dsm_os_signal number = {"kill": DSM_OS_SIGNAL_KILL, "stop": DSM_OS_SIGNAL_STOP,
                                 "continue": DSM_OS_SIGNAL_CONTINUE}[what]
    if type(node) is not int or not 0 <= node < DSM_NODES_MAX:
        raise UsageError(f"a node is an int from 0 to {DSM_NODES_MAX - 1}, not {node!r}")
    if (not dsm_participant_read(handle.space, 1 + node, &info)
            or info.kind != DSM_PARTICIPANT_NODE):
        raise NodeLostError(f"node {node} has no living process to {what}")
    process.pid = info.pid
    process.start_ticks = info.start_ticks
    cdef int descriptor = dsm_os_process_watch(&process)
    if number == DSM_OS_SIGNAL_KILL:
        dsm_report_strike(handle.space, 1 + node, DSM_FINDING_INJECTED)
    cdef bint sent = descriptor >= 0 and dsm_os_process_signal(descriptor, number)
    dsm_os_process_unwatch(descriptor)
    if not sent:
        raise NodeLostError(f"node {node}: pid {info.pid} has ended before it got the signal")
    return info.pid


cdef const char **list_of(entries) except NULL:
    cdef const char **found = <const char **>calloc(len(entries) + 1, sizeof(char *))
    cdef Py_ssize_t i
    if found == NULL:
        raise MemoryError
    for i in range(len(entries)):
        found[i] = entries[i]
    return found


def set_starter(Handle handle, command, environment):
    """Notes how this process would start a node: lists of bytes; see csrc/node/starter.h."""
    handle_ready(handle)
    cdef const char **words = list_of(command)
    cdef const char **settings = NULL
    cdef dsm_status status
    try:
        settings = list_of(environment)
        status = dsm_starter_set(handle.cluster, words, settings)
    finally:
        free(words)
        free(settings)
    if status != DSM_OK:
        raise MemoryError
