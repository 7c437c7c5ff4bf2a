# Mirrors of csrc/mem/nodes.h, csrc/node/birth.h and csrc/node/balance.h.
from libc.stdint cimport uint32_t, uint64_t
from libcpp cimport bool as cbool
from dsm_native._native.core cimport dsm_call, dsm_os_process, dsm_space, dsm_status


cdef extern from "mem/nodes.h" nogil:
    ctypedef enum dsm_node_state:
        DSM_NODE_FREE
        DSM_NODE_UP
        DSM_NODE_DRAINING
        DSM_NODE_LEAVING
        DSM_NODE_LOST
    enum:
        DSM_NODE_WEIGHT_ONE
        DSM_NODE_WEIGHT_MAX
    ctypedef struct dsm_node_entry:
        dsm_node_state state
        uint32_t weight
        uint32_t build
    dsm_status dsm_nodes_read(dsm_call *call, unsigned node, dsm_node_entry *out) noexcept
    cbool dsm_nodes_catch_up(dsm_call *call) noexcept


cdef extern from "node/birth.h" nogil:
    dsm_status dsm_node_add(dsm_call *call, uint32_t weight, unsigned *node) noexcept
    dsm_status dsm_node_drain(dsm_call *call, unsigned node) noexcept
    dsm_status dsm_node_weigh(dsm_call *call, unsigned node, uint32_t weight) noexcept


cdef extern from "node/balance.h" nogil:
    ctypedef struct dsm_balance_report:
        cbool done
        uint64_t epoch
        uint64_t copies
        uint64_t stripes_left
        uint64_t moved_stripes
        uint64_t moved_objects
        uint64_t moved_bytes
        uint64_t blocked
        uint64_t blocked_stripe
        dsm_status blocked_status
        dsm_os_process blocked_by
    void dsm_balance_read(const dsm_space *space, dsm_balance_report *out) noexcept
    void dsm_balance_pace(const dsm_space *space, uint64_t bytes_per_s) noexcept
