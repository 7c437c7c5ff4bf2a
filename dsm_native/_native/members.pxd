# Mirrors of csrc/node/event.h, report.h and starter.h.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from dsm_native._native.core cimport (
    dsm_call, dsm_cluster, dsm_detection_shm, dsm_os_process, dsm_space, dsm_status,
)


cdef extern from "os/os.h" nogil:
    ctypedef enum dsm_os_signal:
        DSM_OS_SIGNAL_KILL
        DSM_OS_SIGNAL_STOP
        DSM_OS_SIGNAL_CONTINUE
    int dsm_os_process_watch(const dsm_os_process *process) noexcept
    void dsm_os_process_unwatch(int descriptor) noexcept
    cbool dsm_os_process_signal(int descriptor, dsm_os_signal signal) noexcept


cdef extern from "mem/layout.h" nogil:
    ctypedef struct dsm_layout:
        uint64_t node_unsettled
        uint64_t node_routes
        uint64_t subs
        uint64_t pages
        uint64_t data
        uint64_t node_bytes


cdef extern from *:
    """
    #include "mem/space.h"
    static inline const dsm_detection_shm *dsm__watching(const dsm_space *space) {
      return &space->config.detection;
    }
    static inline const dsm_layout *dsm__layout(const dsm_space *space) { return &space->layout; }
    """
    const dsm_detection_shm *dsm__watching(const dsm_space *space) noexcept nogil
    const dsm_layout *dsm__layout(const dsm_space *space) noexcept nogil


cdef extern from "node/event.h" nogil:
    ctypedef enum dsm_event_outcome:
        DSM_EVENT_READ
        DSM_EVENT_NONE_YET
        DSM_EVENT_OVERWRITTEN
        DSM_EVENT_DAMAGED
    ctypedef enum dsm_finding:
        DSM_FINDING_PARENT
        DSM_FINDING_INJECTED
    ctypedef struct dsm_event:
        uint64_t sequence
        uint64_t realtime_ns
        uint64_t monotonic_ns
        uint32_t kind
        int32_t node
        uint32_t incarnation
        uint32_t pid
        uint32_t found
        int32_t status
        uint32_t stripes
        uint64_t amount
        uint64_t bytes
        uint64_t detection_ns
        uint64_t recovery_ns
        uint64_t checkpoint
        uint64_t checkpoint_ns
    int32_t DSM_STATUS_UNKNOWN
    uint64_t dsm_event_latest(const dsm_space *space) noexcept
    uint64_t dsm_event_oldest(const dsm_space *space) noexcept
    dsm_event_outcome dsm_event_read(const dsm_space *space, uint64_t sequence,
                                     dsm_event *out) noexcept
    void dsm_event_wait(const dsm_space *space, uint64_t sequence, uint32_t wait_us) noexcept


cdef extern from "node/report.h" nogil:
    dsm_status dsm_report_exit(dsm_call *call, uint32_t node, uint32_t pid,
                               int32_t status) noexcept
    dsm_status dsm_report_filled(dsm_call *call, int node, uint32_t stripes, uint64_t bytes,
                                 uint64_t checkpoint, uint64_t checkpoint_ns) noexcept
    dsm_status dsm_report_unfilled(dsm_call *call, int node, uint32_t stripes) noexcept
    void dsm_report_strike(const dsm_space *space, uint32_t participant,
                           dsm_finding why) noexcept
    cbool dsm_report_suspected(const dsm_space *space, uint32_t participant,
                               uint32_t incarnation) noexcept


cdef extern from "node/starter.h" nogil:
    dsm_status dsm_starter_set(dsm_cluster *cluster, const char *const *command,
                               const char *const *environment) noexcept
