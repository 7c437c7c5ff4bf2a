# Which nodes there are, adding and removing them, and how far a rebalance has come. The rules are
# csrc/mem/nodes.h, csrc/node/birth.h and csrc/node/balance.h; dsm_native/elastic.py waits.
#
# All functions take a Handle and block for at most the registry lock.
from dsm_native._native.core cimport (
    DSM_NODES_MAX, DSM_OK, DSM_USAGE, dsm_call, dsm_call_make, dsm_os_process_state, dsm_status,
    dsm_status_name, uint32_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.mailbox cimport dsm_doorbell_ring_second, dsm_space_mailboxes

from dsm_native.exceptions import UsageError

WEIGHT_ONE = DSM_NODE_WEIGHT_ONE
WEIGHT_MAX = DSM_NODE_WEIGHT_MAX

cdef dict NAMES = {DSM_NODE_UP: "up", DSM_NODE_DRAINING: "draining", DSM_NODE_LEAVING: "leaving",
                   DSM_NODE_LOST: "lost"}


cdef dsm_call call_of(Handle handle) except *:
    handle_ready(handle)
    return dsm_call_make(handle.space, <uint32_t>(handle.lock_timeout * 1000))


def node_table(Handle handle):
    """The nodes that there are: {id: (state, weight in thousandths, build)}; maps what is new."""
    cdef dsm_call call = call_of(handle)
    cdef dsm_node_entry entry
    cdef dsm_status status
    cdef unsigned node
    dsm_nodes_catch_up(&call)
    found = {}
    for node in range(DSM_NODES_MAX):
        status = dsm_nodes_read(&call, node, &entry)
        if status != DSM_OK:
            raise fault_error(status, &call.fault, handle.name, 0)
        if entry.state != DSM_NODE_FREE:
            found[node] = (NAMES[entry.state], entry.weight, entry.build)
    return found


def node_state(Handle handle, int node):
    """State of one node: "up", "draining", "leaving", "lost", or "" if there is none."""
    cdef dsm_call call = call_of(handle)
    cdef dsm_node_entry entry
    if not 0 <= node < DSM_NODES_MAX:
        return ""
    if dsm_nodes_read(&call, <unsigned>node, &entry) != DSM_OK:
        return ""
    return NAMES.get(entry.state, "")


def add_node(Handle handle, uint32_t weight):
    """Gives a free id a segment and a place on the ring; the id."""
    cdef dsm_call call = call_of(handle)
    cdef unsigned node = 0
    cdef dsm_status status
    with nogil:
        status = dsm_node_add(&call, weight, &node)
    if status != DSM_OK:
        raise fault_error(status, &call.fault, handle.name, handle.lock_timeout)
    dsm_doorbell_ring_second(&dsm_space_mailboxes(handle.space).bell)
    return node


def drain_node(Handle handle, unsigned node):
    """Takes the node off the ring; whoever rebalances moves everything away from it."""
    cdef dsm_call call = call_of(handle)
    cdef dsm_status status
    with nogil:
        status = dsm_node_drain(&call, node)
    if status == DSM_USAGE:
        if call.fault.right == 0:
            raise UsageError(f"cluster {handle.name!r} has no node {node}")
        raise UsageError(
            f"without node {node} cluster {handle.name!r} would have fewer nodes, "
            f"{call.fault.left}, than replication_factor={call.fault.right}; add one first")
    if status != DSM_OK:
        raise fault_error(status, &call.fault, handle.name, handle.lock_timeout)
    dsm_doorbell_ring_second(&dsm_space_mailboxes(handle.space).bell)


def weigh_node(Handle handle, unsigned node, uint32_t weight):
    """Changes the share of a node that is on the ring."""
    cdef dsm_call call = call_of(handle)
    cdef dsm_status status
    with nogil:
        status = dsm_node_weigh(&call, node, weight)
    if status == DSM_USAGE:
        raise UsageError(
            f"cluster {handle.name!r} has no node {node}, or it is being removed and has no share")
    if status != DSM_OK:
        raise fault_error(status, &call.fault, handle.name, handle.lock_timeout)


def balance_state(Handle handle):
    """How far the rebalance has come, as a dict; see dsm_balance_report."""
    handle_ready(handle)
    cdef dsm_balance_report report
    dsm_balance_read(handle.space, &report)
    blocked_by = None
    if report.blocked and report.blocked_by.pid:
        blocked_by = (report.blocked_by.pid, chr(dsm_os_process_state(&report.blocked_by)))
    return {
        "done": bool(report.done), "epoch": report.epoch, "copies": report.copies,
        "stripes_left": report.stripes_left, "moved_stripes": report.moved_stripes,
        "moved_objects": report.moved_objects, "moved_bytes": report.moved_bytes,
        "blocked": report.blocked, "blocked_stripe": report.blocked_stripe,
        "blocked_why": dsm_status_name(report.blocked_status).decode() if report.blocked else "",
        "blocked_by": blocked_by,
    }


def set_pace(Handle handle, bytes_per_s):
    """Limits what a rebalance copies in a second; 0: the default."""
    handle_ready(handle)
    dsm_balance_pace(handle.space, bytes_per_s)
